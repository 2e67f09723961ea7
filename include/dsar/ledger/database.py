"""Connections to the ledger, and its schema."""

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

# A worker's claims live as long as its session, and that of a machine that has vanished (no power, no
# network) would live for two hours by PostgreSQL's own settings.
KEEPALIVE = """
SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 6
"""
MIGRATION_LOCK = 0x64736172  # "dsar": one process migrates, the others wait for it


def conninfo(parameters: Mapping[str, Any]) -> str:
    """A libpq connection string. Absent values are left to libpq; TCP keep-alives tell a dead peer."""
    given = {name: value for name, value in parameters.items() if value not in (None, "")}
    return make_conninfo(
        **{"application_name": "dsar", "connect_timeout": 10, "keepalives_idle": 30, **given}
    )


def connect(info: str) -> Database:
    """An autocommitting connection whose rows are dicts.

    The server must give the connection a session of its own (no transaction pooling): a worker's
    claims live as long as its session. Raises LedgerUnavailable where the server does not answer or
    refuses us: libpq does not tell the two apart but in words.
    """
    try:
        db = psycopg.connect(info, autocommit=True, row_factory=dict_row)
        db.execute(KEEPALIVE)
        return db
    except psycopg.OperationalError:
        raise LedgerUnavailable(
            "the ledger's PostgreSQL does not answer, or refuses us: "
            "check that it runs, and connection dsar_db"
        ) from None


@contextmanager
def without_rows() -> Iterator[None]:
    """An error of the ledger's PostgreSQL without its text, which quotes rows ("Failing row contains …").

    Raises LedgerUnavailable where the server gave up on us, LedgerFault where it refused a statement.
    """
    try:
        yield
    except psycopg.Error as error:
        told = f"SQLSTATE {error.sqlstate}" if error.sqlstate else type(error).__name__
        if isinstance(error, psycopg.OperationalError):
            raise LedgerUnavailable(f"the ledger's PostgreSQL broke off ({told})") from None
        raise LedgerFault(f"the ledger's PostgreSQL refused a statement ({told})") from None


def migrate(info: str) -> None:
    """Brings the schema `dsar` to this version of the project; does nothing where it is there already."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with connect(info) as db:
        db.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        db.execute("CREATE SCHEMA IF NOT EXISTS dsar")
        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(info), poolclass=NullPool
        )
        try:
            with engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except DBAPIError as error:
            raise error.orig or error from None  # the driver's own, as everywhere else


def hash_key(db: Database) -> bytes:
    """The ledger's own key, for deployments that bring none."""
    row = db.execute("SELECT key FROM dsar.hash_key").fetchone()
    assert row is not None
    return str(row["key"]).encode()
