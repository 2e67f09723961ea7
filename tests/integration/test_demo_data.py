"""The service demo-data of docker-compose.yaml adds demo data to the databases, or refuses to do so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from airflow.sdk import Connection

from dsar_airflow.connections.accounts import account_settings
from include.accounts import ACCOUNTS
from include.stack import metadata, postgres
from include.stack.demo_data import sandbox_connections
from include.stack.environment import LEDGER, SANDBOX_CONNECTIONS, SOURCE, environment
from include.stack.home import PROJECT, Home

COUNT = "SELECT count(*) FROM public.dsar_requests"
CONNECTIONS = "SELECT conn_id, conn_type, host, port FROM connection"


@pytest.fixture(scope="module")
def migrated(server: Home) -> Home:
    """Runs a server with Airflow's migrated database, as airflow-init leaves it."""
    metadata.migrate(server, {}, environment(server, {}))
    return server


@pytest.fixture
def airflow(migrated: Home) -> Iterator[psycopg.Connection]:
    """Yields a session in Airflow's database. The database contains no connection."""
    with psycopg.connect(postgres.url(migrated, "airflow"), autocommit=True) as db:
        db.execute("DELETE FROM connection")
        yield db


@pytest.fixture
def container(migrated: Home, dsn: str) -> dict[str, str]:
    """Returns the environment of the service demo-data."""
    variables = environment(migrated, {})
    for name in (*SANDBOX_CONNECTIONS, SOURCE):
        del variables[name]
    return {**variables, LEDGER: dsn, "DSAR_DEMO_LEDGER": dsn}


def fill(container: dict[str, str]) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "include.stack", "fill"]
    return subprocess.run(call, env=container, cwd=PROJECT, capture_output=True, text=True, timeout=300)


def put(airflow: psycopg.Connection, *fields: str) -> None:
    """Adds a connection as the UI does."""
    airflow.execute(
        "INSERT INTO connection (conn_id, conn_type, host, is_encrypted, is_extra_encrypted)"
        " VALUES (%s, %s, %s, false, false)",
        fields,
    )


def connections(airflow: psycopg.Connection) -> dict[str, tuple[str, str, int]]:
    return {name: tuple(rest) for name, *rest in airflow.execute(CONNECTIONS)}


def count(dsn: str) -> int:
    with psycopg.connect(dsn) as db:
        (number,) = db.execute(COUNT).fetchone() or (0,)
        return int(number)


def test_each_account_without_a_connection_gets_one_to_the_sandbox(
    container: dict[str, str], airflow: psycopg.Connection, dsn: str
) -> None:
    """The connection has the vendor's type. An existing connection is kept, also at the next start."""
    put(airflow, "id5_default", "http", "mine.example")
    for times in (1, 2):
        done = fill(container)
        assert done.returncode == 0, done.stderr
        assert connections(airflow) == {
            **{account.connection: (account.vendor, "sandbox", 8900) for account in ACCOUNTS},
            "id5_default": ("http", "mine.example", None),
        }
        assert count(dsn) == 200 * times
        assert "sandbox-secret" not in done.stdout + done.stderr


def test_the_connections_are_valid() -> None:
    """Every account has a connection with valid settings."""
    given = sandbox_connections()
    for account in ACCOUNTS:
        fields = given[account.connection]
        connection = Connection(
            conn_id=account.connection, **{**fields, "extra": json.dumps(fields["extra"])}
        )
        assert account_settings(account, connection).base_url == "http://sandbox:8900"


REAL = {
    "AIRFLOW_CONN_DSAR_DB": {"AIRFLOW_CONN_DSAR_DB": "postgresql://u:zq7x-pw@db.example/real"},
    "AIRFLOW_CONN_DSAR_SOURCE": {"AIRFLOW_CONN_DSAR_SOURCE": "postgresql://u:zq7x-pw@db.example/real"},
    "AIRFLOW__SECRETS__BACKEND": {"AIRFLOW__SECRETS__BACKEND": "a.Backend"},
}


@pytest.mark.parametrize("name", REAL)
def test_a_setting_of_real_requests_is_refused(
    container: dict[str, str], airflow: psycopg.Connection, dsn: str, name: str
) -> None:
    """The message names the ledger, source or secrets backend. The demo adds nothing."""
    done = fill({**container, **REAL[name]})
    assert (done.returncode, count(dsn), connections(airflow)) == (1, 0, {})
    assert f"because {name} is set" in done.stderr
    assert "zq7x-pw" not in done.stderr


def test_a_source_made_in_the_ui_is_refused(
    container: dict[str, str], airflow: psycopg.Connection, dsn: str
) -> None:
    """Intake would read a source made in the UI. Therefore the demo adds nothing."""
    put(airflow, "dsar_source", "postgres", "db.example")
    done = fill(container)
    assert (done.returncode, count(dsn), list(connections(airflow))) == (1, 0, ["dsar_source"])
    assert "connection dsar_source is set" in done.stderr


def test_other_requests_in_the_source_table_are_refused(
    container: dict[str, str], airflow: psycopg.Connection, dsn: str
) -> None:
    """The demo refuses to start if the source table has a request that no demo created."""
    with psycopg.connect(dsn) as db:
        db.execute("INSERT INTO public.dsar_requests (request_id) VALUES ('real-1')")
    done = fill(container)
    assert (done.returncode, count(dsn), connections(airflow)) == (1, 1, {})
    assert "requests that the demo did not create" in done.stderr
