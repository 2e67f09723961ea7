"""Migrates Airflow's own database to the installed version of Airflow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version

import psycopg
from psycopg import sql

from include.stack import postgres
from include.stack.environment import owns_metadata
from include.stack.home import Home, StackError
from include.stack.processes import tail


def migrate(home: Home, environ: Mapping[str, str], variables: Mapping[str, str]) -> None:
    """Runs `airflow db migrate` if it is needed. Raises StackError if it fails.

    `environ` is the user's environment. `variables` is the environment of the stack's processes.
    """
    installed = f"airflow {version('apache-airflow-core')}"
    if not owns_metadata(environ):
        _migrate(home, variables)
    elif _noted(home) != installed:
        _migrate(home, variables)
        _note(home, installed)


def _migrate(home: Home, variables: Mapping[str, str]) -> None:
    log = home.directory("logs") / "db-migrate.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        status = subprocess.run(command, env=variables, stdout=output, stderr=subprocess.STDOUT).returncode
    if status:
        raise StackError(f"airflow db migrate ended with status {status}. The end of {log}:\n{tail(log)}")


# The version is noted in the database itself. The note saves five seconds per start.
def _noted(home: Home) -> str | None:
    with psycopg.connect(postgres.url(home, "airflow")) as connection:
        row = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'airflow'"
        ).fetchone()
    return row[0] if row else None


def _note(home: Home, text: str) -> None:
    with psycopg.connect(postgres.url(home, "airflow")) as connection:
        connection.execute(sql.SQL("COMMENT ON DATABASE airflow IS {}").format(sql.Literal(text)))
