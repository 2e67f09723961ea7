"""docker-compose.yaml is valid, keeps its secrets, and runs commands that this Airflow has."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
FILE = PROJECT / "docker-compose.yaml"
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
PINNED = re.compile(r"[a-z/]+:(slim-)?\d+\.\d+[\w.-]*")
SECRET = re.compile(r"PASSWORD|SECRET|FERNET|_KEY\b")
OF_AIRFLOW = {name for name, service in SERVICES.items() if "build" in service} - {"sandbox"}

# What a person may put into .env: of each kind one, and all that this file has a default for.
OWN = {
    name: f"my-{name}"
    for name in (
        *("AIRFLOW_CONN_BESITOS_DEFAULT", "AIRFLOW_CONN_BATCH_IOS_DEFAULT", "AIRFLOW_CONN_DSAR_SOURCE"),
        *("AIRFLOW_VAR_DSAR_AGE_RECIPIENT", "AIRFLOW_VAR_DSAR_HASH_KEY", "AIRFLOW__SECRETS__BACKEND"),
        *("AIRFLOW__METRICS__STATSD_ON", "AIRFLOW__CORE__TEST_CONNECTION", "AWS_REGION"),
        *re.findall(r"\$\{(AIRFLOW_\w+):-", FILE.read_text()),
    )
}
# What holds the services together, and is not for .env.
WIRED = {
    "AIRFLOW__CORE__EXECUTOR",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "AIRFLOW__CELERY__RESULT_BACKEND",
    "AIRFLOW__CELERY__BROKER_URL",
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
    "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK",
    "AIRFLOW_ADMIN_PASSWORD",
}


def images() -> dict[str, str]:
    """Image of each service; that of our own is the one that the Dockerfile begins with."""
    base = re.findall(r"^FROM (\S+)", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    found = {name: service["image"] for name, service in SERVICES.items() if "build" not in service}
    return found | dict.fromkeys(["Dockerfile"], *base)


def required() -> dict[str, str]:
    """What .env must hold, with a value for each."""
    return {name: f"secret-{name}" for name in re.findall(r"\$\{(\w+):\?", FILE.read_text())}


def container(service: str, env: dict[str, str]) -> dict[str, str]:
    """The environment of that service where .env holds `env`: env_file first, `environment` over it."""
    files = {"${ENV_FILE_PATH:-.env}": env}
    given = [files[file] for file in SERVICES[service].get("env_file", ())]
    return {name: value for file in given for name, value in file.items()} | {
        name: interpolated(value, env) for name, value in SERVICES[service]["environment"].items()
    }


def interpolated(text: str, env: dict[str, str]) -> str:
    """As Docker Compose does it, the innermost first: ${NAME:?told where absent}, ${NAME:-default}."""
    while match := re.search(r"\$\{(\w+):([?-])([^${}]*)\}", text):
        name, sign, default = match.groups()
        value = env[name] if sign == "?" else env.get(name) or default
        text = text[: match.start()] + value + text[match.end() :]
    return text


def airflow_commands() -> set[tuple[str, ...]]:
    """What the services' containers and their health checks have Airflow do."""
    commands = set()
    for service in SERVICES.values():
        if "build" not in service:
            continue
        if "entrypoint" not in service:
            commands.add(tuple(service["command"].split()))
        script = " ".join([*service.get("command", [])[-1:], *service.get("healthcheck", {}).get("test", [])])
        commands |= {
            tuple(found.split()) for found in re.findall(r"(?<![\w.-])airflow ([a-z-]+ [a-z]+)", script)
        }
    return commands


def test_the_file_follows_the_compose_specification():
    """Checked against the specification's own schema."""
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_refuses_what_is_wrong(tmp_path):
    """The check above can fail."""
    broken = tmp_path / "docker-compose.yaml"
    broken.write_text(FILE.read_text().replace("depends_on:", "dependson:"))
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(broken)]
    assert subprocess.run(check, capture_output=True).returncode == 1


def test_all_parts_of_airflow_are_there():
    """One service for each part of Airflow with the Celery executor, and the demo's two."""
    parts = {"apiserver", "scheduler", "dag-processor", "triggerer", "worker", "init", "cli"}
    assert {f"airflow-{part}" for part in parts} | {"postgres", "redis", "sandbox", "demo-data"} == set(
        SERVICES
    )
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["demo"]} == {
        "sandbox",
        "demo-data",
    }


def test_every_image_is_pinned():
    """No tag that means another image tomorrow."""
    assert len(images()) == 3
    assert [image for image in images().values() if not PINNED.fullmatch(image)] == []


def test_airflow_is_the_locked_one():
    """The image's Airflow and the lock file's are the same version."""
    version = re.search(r"^apache-airflow==(\S+)", (PROJECT / "requirements.lock").read_text(), re.MULTILINE)
    assert version
    assert f":slim-{version[1]}-python" in images()["Dockerfile"]


def test_every_secret_is_required():
    """A secret comes from outside, and compose stops where it is missing."""
    used = re.findall(r"\$\{([A-Z0-9_]+)([^}]*)", FILE.read_text())
    secrets = {name: rest for name, rest in used if SECRET.search(name)}
    assert len(secrets) == 6
    assert [name for name, rest in secrets.items() if not rest.startswith(":?")] == []
    # ... and none is written down.
    assert re.findall(r"://[^:\s]*:(?!\$\{)[^@\s]+@", FILE.read_text()) == []


def test_the_head_says_how_to_make_all_secrets(tmp_path):
    """Its commands, run as they stand: none is missing, only the owner reads them, each is long enough."""
    head = FILE.read_text().partition("\n---\n")[0]
    recipe = re.search(r"^#   (umask .*?\.env)$", head, re.MULTILINE | re.DOTALL)
    assert recipe
    subprocess.run(["sh", "-euc", re.sub(r"\n# *", "\n", recipe[1])], cwd=tmp_path, check=True)
    file = tmp_path / ".env"
    made = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert made.keys() == required().keys()
    assert file.stat().st_mode & 0o077 == 0
    # PyJWT warns below the length of the hash of HS512.
    assert len(made["AIRFLOW_JWT_SECRET"].encode()) >= 64
    # Nothing that would have to be quoted, there or in a URL.
    assert [
        name for name, value in made.items() if shlex.quote(value) != value and name[-10:] != "FERNET_KEY"
    ] == []


@pytest.mark.parametrize("service", sorted(OF_AIRFLOW))
def test_whatever_stands_in_env_reaches_every_service_of_airflow(service):
    """Connections, variables, a secrets backend, metrics, and what the file has a default for."""
    env = required() | OWN
    given = container(service, env)
    assert {name: given.get(name) for name in OWN} == OWN
    own = {"DUMB_INIT_SETSID", "HOME", "CONNECTION_CHECK_MAX_COUNT", "DSAR_DEMO_LEDGER"}
    fixed = {name for name in SERVICES[service]["environment"] if name not in OWN}
    assert fixed - own == WIRED


@pytest.mark.parametrize("service", sorted(OF_AIRFLOW))
def test_no_account_is_connected_by_the_file(service):
    """The environment would win over a connection made in the UI. The ledger alone has one."""
    connections = {name for name in container(service, required()) if name.startswith("AIRFLOW_CONN_")}
    assert connections == {"AIRFLOW_CONN_DSAR_DB"}


def test_the_demo_fills_the_ledger_of_this_file_only():
    """demo-data is told which that is, and sees where it is another."""
    given = container("demo-data", required())
    assert given["DSAR_DEMO_LEDGER"] == given["AIRFLOW_CONN_DSAR_DB"]
    own = container("demo-data", required() | OWN)
    assert own["DSAR_DEMO_LEDGER"] == given["DSAR_DEMO_LEDGER"] != own["AIRFLOW_CONN_DSAR_DB"]


def test_the_sandbox_starts_only_after_the_demos_check():
    """It closes whatever it gets; and it does not come back by itself."""
    sandbox = SERVICES["sandbox"]
    assert sandbox["depends_on"] == {"demo-data": {"condition": "service_completed_successfully"}}
    assert "restart" not in sandbox
    # Connections go into a database that is up to date.
    waits = SERVICES["demo-data"]["depends_on"]
    assert waits["airflow-init"] == {"condition": "service_completed_successfully"}


def test_the_admins_password_is_only_where_it_is_needed():
    """Its file in the API server, itself in airflow-init, which writes the file."""
    mounting = {name for name, one in SERVICES.items() if "airflow-auth" in str(one.get("volumes"))}
    assert mounting == {"airflow-apiserver", "airflow-init"}
    env = required()
    holding = {one for one in OF_AIRFLOW if env["AIRFLOW_ADMIN_PASSWORD"] in container(one, env).values()}
    assert holding == {"airflow-init"}


def test_nothing_listens_outside():
    """Every published port is one of 127.0.0.1."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8080:8080"]


def test_no_service_of_ours_runs_as_root():
    """Only the one that gives the volumes their owner, once."""
    users = {name: service.get("user", "") for name, service in SERVICES.items() if "build" in service}
    assert [name for name, user in users.items() if user.startswith("0")] == ["airflow-init"]
    assert (PROJECT / "Dockerfile").read_text().rstrip().endswith("USER airflow")


@pytest.fixture(scope="module")
def helped(tmp_path_factory) -> dict[tuple[str, ...], int]:
    """Exit status of `bin/airflow … --help` for each command; two at a time, each takes seconds."""
    environ = {**os.environ, "DSAR_HOME": str(tmp_path_factory.mktemp("home"))}

    def run(command: tuple[str, ...]) -> int:
        call = [str(PROJECT / "bin" / "airflow"), *command, "--help"]
        return subprocess.run(call, env=environ, capture_output=True, cwd="/").returncode

    commands = sorted(airflow_commands() | {("no-such-command",)})
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(commands, pool.map(run, commands), strict=True))


def test_every_command_is_one_that_airflow_has(helped):
    """As `bin/airflow` sees it, from any directory; a wrong one is told apart."""
    assert {("api-server",), ("celery", "worker"), ("db", "migrate"), ("jobs", "check")} < set(helped)
    assert {command for command, status in helped.items() if status != 0} == {("no-such-command",)}
