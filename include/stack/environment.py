"""The environment variables of every Airflow process of the stack.

Variables that the user sets always take precedence, for example a port, a connection or a database. Other
values come from the state directory, so that `bin/airflow` in another terminal uses the same stack.

The sandbox closes every request that it gets. So vendors are simulated only if the stack created all
requests.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from psycopg.conninfo import make_conninfo

from include.accounts import ACCOUNTS
from include.sandbox import VENDORS, SandboxVendor
from include.stack import postgres
from include.stack.home import PROJECT, Home

DEFAULT_API_PORT = 8080
METADATA_DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
LEDGER = "AIRFLOW_CONN_DSAR_DB"
SOURCE = "AIRFLOW_CONN_DSAR_SOURCE"

# If one of these is set, requests may be real. Airflow asks a secrets backend before the environment, so
# a backend may contain another ledger or source.
OF_REAL_REQUESTS = (LEDGER, SOURCE, "AIRFLOW__SECRETS__BACKEND", "AIRFLOW__WORKERS__SECRETS_BACKEND")

# The accounts that the sandbox can simulate, by the variable that holds their connection.
SANDBOX_CONNECTIONS: Mapping[str, SandboxVendor] = {
    f"AIRFLOW_CONN_{account.connection.upper()}": VENDORS[account.vendor]
    for account in ACCOUNTS
    if account.vendor in VENDORS
}


def environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """Returns all variables for a process of the stack. The user's variables take precedence over ours."""
    chosen = dict(environ)
    for name, value in _defaults(home, environ).items():
        # Airflow also reads a setting from NAME_CMD and NAME_SECRET.
        if not {name, f"{name}_CMD", f"{name}_SECRET"} & environ.keys():
            chosen[name] = value
    # These are lists, so ours is added in front.
    chosen["PATH"] = _joined(str(Path(sys.executable).parent), environ.get("PATH", os.defpath))
    chosen["PYTHONPATH"] = _joined(str(PROJECT), environ.get("PYTHONPATH", ""))
    for name in ("NO_PROXY", "no_proxy"):
        # A company proxy cannot reach 127.0.0.1 on this machine.
        chosen[name] = _joined("127.0.0.1,localhost", environ.get(name, ""), separator=",")
    return chosen


def api_port(home: Home, environ: Mapping[str, str]) -> int:
    return int(environ.get("AIRFLOW__API__PORT") or home.port("api", DEFAULT_API_PORT))


def needs_postgres(environ: Mapping[str, str]) -> bool:
    """Returns whether Airflow's own database or the ledger uses the embedded server."""
    return owns_metadata(environ) or LEDGER not in environ


def owns_metadata(environ: Mapping[str, str]) -> bool:
    return not {METADATA_DATABASE, f"{METADATA_DATABASE}_CMD", f"{METADATA_DATABASE}_SECRET"} & environ.keys()


def simulated(environ: Mapping[str, str]) -> list[str]:
    """Returns the account connections that the sandbox replaces. Empty if requests may be real."""
    if any(name in environ for name in OF_REAL_REQUESTS):
        return []
    return [name for name in SANDBOX_CONNECTIONS if name not in environ]


def ledger_dsn(variables: Mapping[str, str]) -> str:
    """Returns the ledger's database for psycopg, from an Airflow connection (JSON or URI)."""
    connection = variables[LEDGER]
    if not connection.lstrip().startswith("{"):
        return connection.replace("postgres://", "postgresql://", 1)
    fields = json.loads(connection)
    return make_conninfo(
        host=fields.get("host"),
        port=fields.get("port"),
        user=fields.get("login"),
        password=fields.get("password"),
        dbname=fields.get("schema"),
    )


def _defaults(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    port = api_port(home, environ)
    logs = home.directory("logs")
    variables = {
        "AIRFLOW_HOME": str(home.directory("airflow")),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__SECRET_KEY": home.secret("api_secret_key"),
        "AIRFLOW__API_AUTH__JWT_SECRET": home.secret("jwt_secret", 64),
        "AIRFLOW__CORE__AUTH_MANAGER": (
            "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
        ),
        # A manual run of a paused DAG never starts, so DAGs are not paused. See USE_JOB_SCHEDULE below.
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__FERNET_KEY": home.secret("fernet_key"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Enables the Test button. Users of this UI can edit connections anyway.
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        # A task process uses about 150 MB.
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home.passwords_file()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        # Seconds until a new file in dags/ is found (300 by default).
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(logs / "tasks"),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(logs / "dag_files"),
        # Tasks that a killed scheduler left in `running` are retried within about a minute.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        # The scheduler starts no run by itself: a laptop that is open at midnight must not send requests.
        # Set this to True to try the daily schedule.
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_VAR_DSAR_STORAGE_URI": home.directory("storage").as_uri(),
        METADATA_DATABASE: postgres.url(home, "airflow").replace("postgresql", "postgresql+psycopg2", 1),
        LEDGER: postgres.url(home, "dsar"),
        **_sandbox(home, simulated(environ)),
    }
    if sys.platform == "darwin":
        # Airflow forks. Without this, macOS kills a forked process that uses its network libraries.
        variables["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"
    return variables


def _sandbox(home: Home, accounts: Sequence[str]) -> dict[str, str]:
    if not accounts:
        return {}
    port = home.port("sandbox")
    connections = {
        name: json.dumps(SANDBOX_CONNECTIONS[name].connection("127.0.0.1", port)) for name in accounts
    }
    # The environment overrides the UI, so a source connection made in the UI cannot add real requests.
    return {**connections, SOURCE: postgres.url(home, "dsar")}


def _joined(first: str, rest: str, separator: str = os.pathsep) -> str:
    return f"{first}{separator}{rest}" if rest else first
