"""Connects to the ledger and migrates its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row

from include.dsar.errors import LedgerFault, LedgerUnavailable

Database = psycopg.Connection[DictRow]

# A worker's claims last as long as its session. If its machine loses power or network, PostgreSQL's own
# settings would keep the session for two hours.
KEEPALIVE = """
SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 6
"""
# No wait is endless: a session says what it waited for, and its task fails.
STATEMENT_MINUTES = 30
LOCK_MINUTES = 5
MIGRATION_HOURS = 6  # a migration may build indexes, and one process waits until another one has migrated
MIGRATION_LOCK = 0x64736172  # "dsar": one process migrates, the others wait


def conninfo(parameters: Mapping[str, Any]) -> str:
    """Returns a libpq connection string. Absent values get libpq's defaults. Keep-alives detect a dead
    peer.
    """
    given = {name: value for name, value in parameters.items() if value not in (None, "")}
    return make_conninfo(
        **{
            "application_name": "dsar",
            "connect_timeout": 10,
            "keepalives_idle": 30,
            "tcp_user_timeout": 120_000,  # milliseconds, for what the peer does not acknowledge
            **given,
        }
    )


def connect(info: str) -> Database:
    """Returns an autocommitting connection that returns each row as a dict.

    The connection must have its own session (no transaction pooling), because a worker's claims last as
    long as its session. Raises LedgerUnavailable if the server does not answer or refuses the connection.
    libpq gives the same error for both causes.
    """
    try:
        db = psycopg.connect(info, autocommit=True, row_factory=dict_row)
        db.execute(KEEPALIVE)
        _bound(db, statement=f"{STATEMENT_MINUTES}min", lock=f"{LOCK_MINUTES}min")
        return db
    except psycopg.OperationalError:
        raise LedgerUnavailable(
            "the ledger's PostgreSQL does not answer or refuses the connection. "
            "Check that it is running, and check the Airflow connection dsar_db"
        ) from None


def _bound(db: psycopg.Connection[Any], *, statement: str, lock: str) -> None:
    db.execute(
        "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)",
        [statement, lock],
    )


@contextmanager
def without_rows() -> Iterator[None]:
    """Replaces PostgreSQL's errors with ours, because their text quotes rows ("Failing row contains …").

    Raises LedgerUnavailable if the server ended the connection or a wait took too long. Raises LedgerFault
    if the server refused a statement.
    """
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise LedgerUnavailable(
            f"another session has locked a table or row of the ledger for more than {LOCK_MINUTES} minutes "
            "(SQLSTATE 55P03). pg_locks in the database of connection dsar_db shows the session"
        ) from None
    except psycopg.errors.QueryCanceled:
        raise LedgerUnavailable(
            f"a statement of the ledger took more than {STATEMENT_MINUTES} minutes, or was cancelled "
            "(SQLSTATE 57014). Check the load of the database of connection dsar_db"
        ) from None
    except psycopg.Error as error:
        code = f"SQLSTATE {error.sqlstate}" if error.sqlstate else type(error).__name__
        if isinstance(error, psycopg.OperationalError):
            raise LedgerUnavailable(f"the ledger's PostgreSQL ended the connection ({code})") from None
        raise LedgerFault(f"the ledger's PostgreSQL refused a statement ({code})") from None


def migrate(info: str) -> None:
    """Brings the schema `dsar` to this version of the project. Does nothing if it has this version."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))

    with connect(info) as db:
        _bound(db, statement=f"{MIGRATION_HOURS}h", lock=f"{MIGRATION_HOURS}h")
        db.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        db.execute("CREATE SCHEMA IF NOT EXISTS dsar")
        engine = create_engine("postgresql+psycopg://", creator=lambda: _migrating(info), poolclass=NullPool)
        try:
            with engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except DBAPIError as error:
            raise error.orig or error from None  # the driver's error, as everywhere else


def _migrating(info: str) -> psycopg.Connection[Any]:
    db = psycopg.connect(info, autocommit=True)
    _bound(db, statement=f"{MIGRATION_HOURS}h", lock=f"{LOCK_MINUTES}min")
    db.autocommit = False
    return db


def hash_key(db: Database) -> bytes:
    """Returns the key that the ledger generated. Deployments that set no key use this key."""
    row = db.execute("SELECT key FROM dsar.hash_key").fetchone()
    assert row is not None
    return str(row["key"]).encode()
