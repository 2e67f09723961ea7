"""Fixtures of the integration tests: a real PostgreSQL with a ledger and a source table, and the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine

from include.dsar.accounts import Account
from include.dsar.delivery.storage import Storage
from include.dsar.execution.account_work import AccountWork
from include.dsar.http.client import client
from include.dsar.intake.rows import Rules
from include.dsar.intake.source import Source
from include.dsar.ledger import database
from include.dsar.ledger.database import Database
from include.dsar.stages.intake import Intake
from include.dsar.vendors import VENDORS, settings, vendor
from include.regulations import REGULATIONS
from include.sandbox import Sandbox, SandboxSettings, run_in_thread
from include.stack import postgres, source
from include.stack.home import Home
from tests.conftest import EXTRA, PACE
from tests.integration.stage_runs import Stages


@contextmanager
def running_server(home: Home) -> Iterator[Home]:
    """Runs the embedded PostgreSQL. Its database `ledger` is the template of the tests' databases."""
    with postgres.running(home):
        with psycopg.connect(postgres.url(home, "postgres"), autocommit=True) as db:
            db.execute("CREATE DATABASE ledger")
        database.migrate(postgres.url(home, "ledger"))
        source.create(postgres.url(home, "ledger"))
        yield home


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with running_server(Home(tmp_path_factory.mktemp("server"))) as home:
        yield home


@contextmanager
def own_database(server: Home) -> Iterator[str]:
    """Yields the URL of a copy of `ledger`. The copy is dropped when the block ends.

    No connection stays open meanwhile, because a test may restart the server.
    """
    name, admin = f"test_{uuid4().hex}", postgres.url(server, "postgres")
    with psycopg.connect(admin, autocommit=True) as db:
        db.execute(sql.SQL("CREATE DATABASE {} TEMPLATE ledger").format(sql.Identifier(name)))
    yield postgres.url(server, name)
    with psycopg.connect(admin, autocommit=True) as db:
        db.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def dsn(server: Home) -> Iterator[str]:
    """Yields the URL of a new database with an empty ledger and an empty source table."""
    with own_database(server) as url:
        yield url


@pytest.fixture
def db(dsn: str) -> Iterator[Database]:
    with database.connect(dsn) as connection:
        yield connection


@pytest.fixture
def source_table(dsn: str) -> Iterator[Source]:
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    yield Source(engine)
    engine.dispose()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Runs all simulated vendors, with very short jobs."""
    with run_in_thread(SandboxSettings(min_seconds=0.01, max_seconds=0.2)) as running:
        yield running


@pytest.fixture
def accounts() -> dict[str, Account]:
    """One account for each vendor, with its name."""
    return {name: Account(name, vendor=name) for name in VENDORS}


class OpenWork(Protocol):
    def __call__(self, account: str, **extra: Any) -> AbstractAsyncContextManager[AccountWork]: ...


@pytest.fixture
def open_work(dsn: str, sandbox: Sandbox, accounts: dict[str, Account]) -> OpenWork:
    """Returns a function that opens an account's work at the sandbox, with additional fields of Extra."""

    @asynccontextmanager
    async def opened(account: str, **extra: Any) -> AsyncIterator[AccountWork]:
        base_url, secret = extra.pop("base_url", sandbox.url), extra.pop("secret", "sandbox-secret")
        known = accounts[account]
        resolved = settings(
            known, base_url=base_url, secret=secret, extra={**EXTRA[known.vendor], **PACE, **extra}
        )
        with database.connect(dsn) as connection:
            async with client(resolved) as http:
                yield AccountWork(connection, vendor(known.vendor), resolved, http)

    return opened


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a submit stage end without waiting for postponed submissions. The next stage sends them."""
    monkeypatch.setattr("include.dsar.stages.submit.MAX_WAIT", timedelta())


@pytest.fixture
def stages(open_work: OpenWork, storage: Storage, sandbox: Sandbox, no_waiting: None) -> Stages:
    return Stages(open_work, storage, sandbox)


@dataclass
class Row:
    request_id: str
    request_type: str = "erasure"
    regulation: str = "GDPR"
    received_at: str = "2026-11-01T10:00:00+00:00"
    email: Any = None
    phone: Any = None
    user_id: Any = None
    advertising_id: Any = None
    install_id: Any = None
    id5_id: Any = None
    accounts: Any = None
    due_at: Any = None


def put(dsn: str, *rows: Row) -> None:
    """Inserts rows into the source table. A single identifier becomes a list."""
    with psycopg.connect(dsn) as db:
        for row in rows:
            given = {
                name: [value] if isinstance(value, str) and name in LISTS else value
                for name, value in vars(row).items()
            }
            db.execute(
                sql.SQL("INSERT INTO public.dsar_requests ({}) VALUES ({})").format(
                    sql.SQL(", ").join(map(sql.Identifier, given)),
                    sql.SQL(", ").join(map(sql.Placeholder, given)),
                ),
                given,
            )


LISTS = {"email", "phone", "user_id", "advertising_id", "install_id", "id5_id", "accounts"}


def source_rows(dsn: str) -> dict[str, dict[str, Any]]:
    """Returns the rows of the source table by request id."""
    with database.connect(dsn) as db:
        return {row["request_id"]: row for row in db.execute("SELECT * FROM public.dsar_requests").fetchall()}


def submissions(db: Database) -> dict[tuple[str, str, str], str]:
    """Returns the state of each submission by (request, account, identity)."""
    rows = db.execute(
        "SELECT r.request_id, s.account, s.identity, s.state FROM dsar.submission s "
        "JOIN dsar.request r ON r.id = s.request ORDER BY s.id"
    )
    return {(row["request_id"], row["account"], row["identity"]): row["state"] for row in rows}


SubmitRows = Callable[..., Awaitable[None]]


@pytest.fixture
def submit_rows(
    dsn: str, db: Database, source_table: Source, stages: Stages, accounts: dict[str, Account]
) -> SubmitRows:
    """Inserts rows into the source, and runs the stages intake and submit for an account. Submit has
    additional fields of Extra.
    """

    async def run(account: str, *rows: Row, **extra: Any) -> None:
        put(dsn, *rows)
        Intake(db, source_table, Rules(tuple(accounts.values()), None, b"key", REGULATIONS)).run()
        await stages.submit(account, **extra)

    return run
