"""docker-compose.yaml is valid, contains no secret, and runs commands that this Airflow has."""

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

# Variables that a user may put into .env: one of each kind, and each variable with a default in this file.
OWN = {
    name: f"my-{name}"
    for name in (
        *("AIRFLOW_CONN_BESITOS_DEFAULT", "AIRFLOW_CONN_BATCH_IOS_DEFAULT", "AIRFLOW_CONN_DSAR_SOURCE"),
        *("AIRFLOW_VAR_DSAR_AGE_RECIPIENT", "AIRFLOW_VAR_DSAR_HASH_KEY", "AIRFLOW__SECRETS__BACKEND"),
        *("AIRFLOW__METRICS__STATSD_ON", "AIRFLOW__CORE__TEST_CONNECTION", "AWS_REGION"),
        *re.findall(r"\$\{(AIRFLOW_\w+):-", FILE.read_text()),
    )
}
# Variables that connect the services. The user cannot set them in .env.
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
    """Returns the image of each service. For our own image, returns the base image of the Dockerfile."""
    base = re.findall(r"^FROM (\S+)", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    found = {name: service["image"] for name, service in SERVICES.items() if "build" not in service}
    return found | dict.fromkeys(["Dockerfile"], *base)


def required() -> dict[str, str]:
    """Returns the variables that .env must contain, each with a value."""
    return {name: f"secret-{name}" for name in re.findall(r"\$\{(\w+):\?", FILE.read_text())}


def container(service: str, env: dict[str, str]) -> dict[str, str]:
    """Returns the environment of a service if .env contains `env`. `environment` overrides env_file."""
    files = {"${ENV_FILE_PATH:-.env}": env}
    given = [files[file] for file in SERVICES[service].get("env_file", ())]
    return {name: value for file in given for name, value in file.items()} | {
        name: interpolated(value, env) for name, value in SERVICES[service]["environment"].items()
    }


def interpolated(text: str, env: dict[str, str]) -> str:
    """Replaces ${NAME:?error} and ${NAME:-default} as Docker Compose does, the innermost first."""
    while match := re.search(r"\$\{(\w+):([?-])([^${}]*)\}", text):
        name, sign, default = match.groups()
        value = env[name] if sign == "?" else env.get(name) or default
        text = text[: match.start()] + value + text[match.end() :]
    return text


def airflow_commands() -> set[tuple[str, ...]]:
    """Returns the Airflow commands of the services and of their health checks."""
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
    """The file is valid according to the schema of the Compose specification."""
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_rejects_a_wrong_key(tmp_path):
    """The schema check can fail: it rejects a misspelled key."""
    broken = tmp_path / "docker-compose.yaml"
    broken.write_text(FILE.read_text().replace("depends_on:", "dependson:"))
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(broken)]
    assert subprocess.run(check, capture_output=True).returncode == 1


def test_all_components_of_airflow_have_a_service():
    """The other services are the two databases, and two services for the demo."""
    parts = {"apiserver", "scheduler", "dag-processor", "triggerer", "worker", "init", "cli"}
    assert {f"airflow-{part}" for part in parts} | {"postgres", "redis", "sandbox", "demo-data"} == set(
        SERVICES
    )
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["demo"]} == {
        "sandbox",
        "demo-data",
    }


def test_every_image_is_pinned():
    """No image has a tag that can move to another image."""
    assert len(images()) == 3
    assert [image for image in images().values() if not PINNED.fullmatch(image)] == []


def test_the_image_has_the_locked_version_of_airflow():
    """The image tag and the lock file name the same version of Airflow."""
    version = re.search(r"^apache-airflow==(\S+)", (PROJECT / "requirements.lock").read_text(), re.MULTILINE)
    assert version
    assert f":slim-{version[1]}-python" in images()["Dockerfile"]


def test_every_secret_is_required():
    """Compose stops if a secret is missing in .env. docker-compose.yaml itself contains no secret."""
    used = re.findall(r"\$\{([A-Z0-9_]+)([^}]*)", FILE.read_text())
    secrets = {name: rest for name, rest in used if SECRET.search(name)}
    assert len(secrets) == 6
    assert [name for name, rest in secrets.items() if not rest.startswith(":?")] == []
    assert re.findall(r"://[^:\s]*:(?!\$\{)[^@\s]+@", FILE.read_text()) == []


def test_the_recipe_in_the_header_makes_all_secrets(tmp_path):
    """The recipe writes a complete file .env, readable by its owner only. Its secrets are long enough."""
    head = FILE.read_text().partition("\n---\n")[0]
    recipe = re.search(r"^#   (umask .*?\.env)$", head, re.MULTILINE | re.DOTALL)
    assert recipe
    subprocess.run(["sh", "-euc", re.sub(r"\n# *", "\n", recipe[1])], cwd=tmp_path, check=True)
    file = tmp_path / ".env"
    made = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert made.keys() == required().keys()
    assert file.stat().st_mode & 0o077 == 0
    # PyJWT warns if the secret is shorter than a hash of HS512.
    assert len(made["AIRFLOW_JWT_SECRET"].encode()) >= 64
    # No value needs quotes in the file or escapes in a URL.
    assert [
        name for name, value in made.items() if shlex.quote(value) != value and name[-10:] != "FERNET_KEY"
    ] == []


@pytest.mark.parametrize("service", sorted(OF_AIRFLOW))
def test_variables_in_env_reach_every_service_of_airflow(service):
    """The variables are connections, a secrets backend, metrics, and variables that have a default in the
    file.
    """
    env = required() | OWN
    given = container(service, env)
    assert {name: given.get(name) for name in OWN} == OWN
    own = {"DUMB_INIT_SETSID", "HOME", "CONNECTION_CHECK_MAX_COUNT", "DSAR_DEMO_LEDGER"}
    fixed = {name for name in SERVICES[service]["environment"] if name not in OWN}
    assert fixed - own == WIRED


@pytest.mark.parametrize("service", sorted(OF_AIRFLOW))
def test_the_file_sets_no_account_connection(service):
    """An account connection in the file would override a connection made in the UI."""
    connections = {name for name in container(service, required()) if name.startswith("AIRFLOW_CONN_")}
    assert connections == {"AIRFLOW_CONN_DSAR_DB"}


def test_the_demo_fills_only_the_ledger_of_this_file():
    """The service demo-data knows this ledger's URL, so it can detect another ledger."""
    given = container("demo-data", required())
    assert given["DSAR_DEMO_LEDGER"] == given["AIRFLOW_CONN_DSAR_DB"]
    own = container("demo-data", required() | OWN)
    assert own["DSAR_DEMO_LEDGER"] == given["DSAR_DEMO_LEDGER"] != own["AIRFLOW_CONN_DSAR_DB"]


def test_the_sandbox_starts_only_after_demo_data_succeeded():
    """A request that reaches the sandbox is closed although no vendor processed it. Therefore the sandbox
    starts only after demo-data succeeded, and does not restart automatically.
    """
    sandbox = SERVICES["sandbox"]
    assert sandbox["depends_on"] == {"demo-data": {"condition": "service_completed_successfully"}}
    assert "restart" not in sandbox
    # demo-data needs a migrated database.
    waits = SERVICES["demo-data"]["depends_on"]
    assert waits["airflow-init"] == {"condition": "service_completed_successfully"}


def test_only_two_services_get_the_admins_password():
    """The service airflow-init gets the password and writes the file that the API server reads."""
    mounting = {name for name, one in SERVICES.items() if "airflow-auth" in str(one.get("volumes"))}
    assert mounting == {"airflow-apiserver", "airflow-init"}
    env = required()
    holding = {one for one in OF_AIRFLOW if env["AIRFLOW_ADMIN_PASSWORD"] in container(one, env).values()}
    assert holding == {"airflow-init"}


def test_only_localhost_is_published():
    """Ports are published on localhost only, so other machines cannot reach them."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8080:8080"]


def test_only_airflow_init_runs_as_root():
    """The service airflow-init must run as root to change the owner of the volumes."""
    users = {name: service.get("user", "") for name, service in SERVICES.items() if "build" in service}
    assert [name for name, user in users.items() if user.startswith("0")] == ["airflow-init"]
    assert (PROJECT / "Dockerfile").read_text().rstrip().endswith("USER airflow")


@pytest.fixture(scope="module")
def helped(tmp_path_factory) -> dict[tuple[str, ...], int]:
    """Returns the exit status of `bin/airflow … --help` for each command. Two commands run at a time."""
    environ = {**os.environ, "DSAR_HOME": str(tmp_path_factory.mktemp("home"))}

    def run(command: tuple[str, ...]) -> int:
        call = [str(PROJECT / "bin" / "airflow"), *command, "--help"]
        return subprocess.run(call, env=environ, capture_output=True, cwd="/").returncode

    commands = sorted(airflow_commands() | {("no-such-command",)})
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(commands, pool.map(run, commands), strict=True))


def test_airflow_has_every_command(helped):
    """The script `bin/airflow` works in any directory. A wrong command fails, so this check can fail."""
    assert {("api-server",), ("celery", "worker"), ("db", "migrate"), ("jobs", "check")} < set(helped)
    assert {command for command, status in helped.items() if status != 0} == {("no-such-command",)}
