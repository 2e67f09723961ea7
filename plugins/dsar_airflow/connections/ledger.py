"""Opens the ledger through the connection `dsar_db`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from airflow.sdk import Connection, Variable

from dsar_airflow.connections.lookup import extra, get
from include.dsar.ledger import database, planning
from include.dsar.ledger.database import Database

LEDGER = "dsar_db"

# What libpq understands of a connection's Extra. The rest is for Airflow's own hooks.
LIBPQ = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslnegotiation",
    "channel_binding", "gssencmode", "target_session_attrs", "options", "application_name",
    "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
    "tcp_user_timeout",
    "hostaddr", "passfile", "service",
)  # fmt: skip


@contextmanager
def ledger(*, migrate: bool = False) -> Iterator[Database]:
    """Opens a session of the ledger. With `migrate`, its schema is brought up to date first."""
    info = ledger_conninfo(get(LEDGER))
    with database.without_rows():
        if migrate:
            database.migrate(info)
        with database.connect(info) as db:
            yield db


def ledger_conninfo(connection: Connection) -> str:
    """Returns libpq's connection string for a connection of type postgres."""
    given = extra(connection)
    return database.conninfo(
        {
            "host": connection.host,
            "port": connection.port,
            "user": connection.login,
            "password": connection.password,
            "dbname": connection.schema,
            **{name: given[name] for name in LIBPQ if name in given},
        }
    )


def only(db: Database, request_ids: Sequence[str]) -> list[int] | None:
    """Returns the ledger ids of the requests that a run is limited to. None means all requests."""
    return planning.request_pks_of(db, request_ids) if request_ids else None


def hash_key(db: Database) -> bytes:
    """Returns the Variable dsar_hash_key, or the ledger's own key if the Variable is not set."""
    given = Variable.get("dsar_hash_key", default=None)
    return given.encode() if given else database.hash_key(db)
