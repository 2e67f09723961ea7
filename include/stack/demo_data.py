"""`fill` adds synthetic requests and sandbox connections for the demo of docker-compose.yaml."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from tempfile import NamedTemporaryFile

import psycopg

from include.accounts import ACCOUNTS
from include.sandbox import VENDORS
from include.stack import source
from include.stack.environment import LEDGER, METADATA_DATABASE, OF_REAL_REQUESTS, ledger_dsn
from include.stack.home import StackError
from include.stack.synthetic import insert, new_call, synthetic_requests

# The only ledger that the demo may fill.
DEMO_LEDGER = "DSAR_DEMO_LEDGER"

FIND_SOURCE_CONNECTION = "SELECT 1 FROM connection WHERE conn_id = 'dsar_source'"


def fill(environ: Mapping[str, str]) -> None:
    """Adds synthetic requests to the source table. Adds a sandbox connection to Airflow for each account
    that has no connection there.

    Raises StackError and changes nothing if requests may be real, because the sandbox would close them.
    """
    own = _may_be_real(environ)
    if own:
        raise StackError(
            f"requests may be real, because {', '.join(own)} is set. The demo does not start, because its "
            "simulated vendors would close real requests. Remove this setting, or do not use the profile "
            "`demo`"
        )
    dsn = ledger_dsn(environ)
    source.create(dsn)
    if source.holds_others(dsn):
        raise StackError(
            "public.dsar_requests contains requests that the demo did not create: nothing was added"
        )
    _connect_sandbox(environ)
    insert(dsn, synthetic_requests(new_call()))


def _may_be_real(environ: Mapping[str, str]) -> list[str]:
    """Returns the names of settings that select a ledger or a source other than the demo's."""
    own = [name for name in OF_REAL_REQUESTS if name != LEDGER and environ.get(name)]
    if environ[LEDGER] != environ.get(DEMO_LEDGER):
        own.append(LEDGER)
    with psycopg.connect(environ[METADATA_DATABASE].replace("+psycopg2", "", 1)) as airflow:
        if airflow.execute(FIND_SOURCE_CONNECTION).fetchone():
            own.append("connection dsar_source")
    return own


def sandbox_connections() -> dict[str, dict[str, object]]:
    """Returns the connections to the Compose service `sandbox`, by connection id."""
    simulated = [account for account in ACCOUNTS if account.vendor in VENDORS]
    return {each.connection: VENDORS[each.vendor].connection("sandbox", 8900) for each in simulated}


def _connect_sandbox(environ: Mapping[str, str]) -> None:
    with NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(sandbox_connections(), file)
        file.flush()
        # Without --overwrite, the command keeps a connection that already exists.
        command = [sys.executable, "-m", "airflow", "connections", "import", file.name]
        status = subprocess.run(command, env=environ).returncode
    if status:
        raise StackError(f"airflow connections import ended with status {status}: no request was added")
