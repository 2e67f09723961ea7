"""What happens to a stage when the things around it break: the ledger's server, another worker, the clock."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine

from include.dsar.delivery.storage import Storage
from include.dsar.errors import NotDelivered, VendorUnavailable
from include.dsar.intake.source import Source
from include.dsar.ledger import database
from include.dsar.ledger.database import Database
from include.dsar.model import Action, IdentityKind
from include.dsar.sending.reconcile import NOT_FOUND
from include.dsar.stages import submit as submit_module
from include.dsar.stages.collect import collect
from include.dsar.stages.package import Package
from include.dsar.stages.poll import poll_open_jobs
from include.dsar.stages.submit import submit
from include.sandbox import Sandbox
from include.stack import postgres, source
from include.stack.home import Home
from tests.crash.laboratory import copy_of_ledger
from tests.integration.conftest import OpenWork
from tests.integration.requests_given import Clock, events, plan, request, rows, states, submission

SLOW = {"requests_per_second": 20}  # so that something happens in the middle


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A submit stage that waits for nothing: the next run takes that up."""
    monkeypatch.setattr(submit_module, "MAX_WAIT", timedelta(0))


def one_each(db: Database, account: str, count: int, kind: IdentityKind = IdentityKind.USER_ID) -> None:
    plan(db, *(request(f"r-{n}", submission(f"person-{n}", account, kind)) for n in range(count)))


def taken(sandbox: Sandbox) -> list[str]:
    return sorted(value for entry in sandbox.book() for value in entry.values)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A server that may be restarted, with its own template `ledger`."""
    home = Home(tmp_path_factory.mktemp("own-server"))
    with postgres.running(home):
        with psycopg.connect(postgres.url(home, "postgres"), autocommit=True) as db:
            db.execute("CREATE DATABASE ledger")
        database.migrate(postgres.url(home, "ledger"))
        source.create(postgres.url(home, "ledger"))
        yield home


@pytest.fixture
def dsn(own_server: Home) -> Iterator[str]:
    with copy_of_ledger(own_server) as copied:
        yield copied


def when(there: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Acts in a thread once something is there, and looks no longer than a while."""

    def wait() -> None:
        deadline = time.monotonic() + 30
        while not there() and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


async def run_submit(open_work: OpenWork, account: str, clock: Clock, **extra: object) -> None:
    async with open_work(account, **extra) as work:
        await submit(replace(work, clock=clock))


@pytest.mark.asyncio
async def test_a_restart_of_the_ledger_in_the_middle_of_submit_loses_and_doubles_nothing(
    own_server: Home, dsn: str, sandbox: Sandbox, open_work: OpenWork
) -> None:
    """The stage fails; its retry asks Batch what it has taken, and sends the rest."""
    with database.connect(dsn) as db:
        one_each(db, "batch", 40)
    restart = when(lambda: len(sandbox.book()) >= 10, lambda: postgres.restart(own_server))
    with pytest.raises((psycopg.Error, ExceptionGroup)):
        await run_submit(open_work, "batch", Clock(), **SLOW)
    restart.join()
    assert 10 <= len(sandbox.book()) < 40
    clock = Clock()
    await run_submit(open_work, "batch", clock)
    clock.advance(minutes=5)
    await run_submit(open_work, "batch", clock)
    assert taken(sandbox) == sorted(f"person-{n}" for n in range(40))
    with database.connect(dsn) as db:
        assert {row["state"] for row in rows(db)} == {"submitted"}
        assert {row["job_id"] for row in rows(db)} == {entry.job_id for entry in sandbox.book()}


@pytest.mark.asyncio
async def test_a_restart_of_the_ledger_in_the_middle_of_await_loses_nothing(
    own_server: Home, dsn: str, sandbox: Sandbox, open_work: OpenWork
) -> None:
    """The watch fails; the one that comes after it sees every job end."""
    with database.connect(dsn) as db:
        one_each(db, "batch", 40)
    await run_submit(open_work, "batch", Clock())
    restart = when(
        lambda: sandbox.calls()["batch"].get("status", 0) >= 5, lambda: postgres.restart(own_server)
    )
    now = datetime.now(UTC)
    with pytest.raises((psycopg.Error, ExceptionGroup)):
        async with open_work("batch", **SLOW) as work:
            await poll_open_jobs(work, since=now, until=now + timedelta(seconds=20))
    restart.join()
    async with open_work("batch") as work:
        await poll_open_jobs(work, since=now, until=datetime.now(UTC) + timedelta(seconds=20))
    with database.connect(dsn) as db:
        assert set(states(db).values()) == {"completed"}
    assert len(sandbox.book()) == 40


@pytest.mark.asyncio
async def test_two_submit_stages_at_once_send_each_request_once(
    dsn: str, db: Database, sandbox: Sandbox, open_work: OpenWork
) -> None:
    """A manual run and a scheduled one share the work; neither doubts what the other holds."""
    one_each(db, "batch", 60)
    await asyncio.gather(*(run_submit(open_work, "batch", Clock(), requests_per_second=50) for _ in range(2)))
    assert taken(sandbox) == sorted(f"person-{n}" for n in range(60))
    assert set(states(db).values()) == {"submitted"}
    assert events(db) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("account", ["besitos", "batch", "id5", "attentive"])
async def test_a_clock_that_was_set_back_doubles_nothing(
    db: Database, sandbox: Sandbox, open_work: OpenWork, account: str
) -> None:
    """Submitted by a clock that is hours ahead, taken on by one that is right: every job ends, once."""
    kind = IdentityKind.USER_ID if account in ("besitos", "batch") else IdentityKind.EMAIL
    plan(db, *(request(f"r-{n}", submission(f"p{n}@example.com", account, kind)) for n in range(5)))
    ahead = Clock()
    ahead.advance(hours=3)
    await run_submit(open_work, account, ahead)
    await run_submit(open_work, account, Clock())
    now = datetime.now(UTC)
    async with open_work(account) as work:
        looked = await poll_open_jobs(work, since=now, until=now + timedelta(minutes=1))
    assert looked.ended == 0 and set(states(db).values()) == {"submitted"}  # not due yet, by this clock
    ahead.advance(hours=1)
    sandbox.advance(60)
    later = ahead()
    async with open_work(account) as work:
        await poll_open_jobs(replace(work, clock=ahead), since=later, until=later + timedelta(seconds=10))
    assert set(states(db).values()) == {"completed"}
    values = [value for entry in sandbox.book() for value in entry.values]
    assert len(values) == len(set(values)) == 5


@pytest.mark.asyncio
async def test_a_lost_reply_under_a_clock_that_was_ahead_is_repeated_with_its_reason(
    db: Database, sandbox: Sandbox, open_work: OpenWork
) -> None:
    """An ended job that seems older than our call may be another's: better sent twice than never."""
    one_each(db, "batch", 1)
    sandbox.inject("reset_after", vendor="batch", route="create")
    sandbox.inject("status", vendor="batch", route="list", status=502, times=None)
    clock = Clock()
    clock.advance(minutes=30)
    await run_submit(open_work, "batch", clock)
    sandbox.clear_faults()
    sandbox.advance(60)  # the job has ended
    clock.advance(minutes=-30)
    await run_submit(open_work, "batch", clock)
    assert set(states(db).values()) == {"uncertain"}
    clock.advance(minutes=32)
    await run_submit(open_work, "batch", clock)
    assert set(states(db).values()) == {"submitted"}
    assert [event["reason"] for event in events(db) if event["enters"] == "planned"] == [NOT_FOUND]


@pytest.mark.asyncio
async def test_a_storage_that_refuses_to_write_delays_and_loses_nothing(
    db: Database, dsn: str, sandbox: Sandbox, open_work: OpenWork, storage: Storage, tmp_path: Path
) -> None:
    """What was ready stays ready, and the request open, until there is a folder to write to again."""
    plan(db, request("r-1", submission("person-1"), action=Action.ACCESS))
    await run_submit(open_work, "besitos", Clock())
    now = datetime.now(UTC)
    async with open_work("besitos") as work:
        await poll_open_jobs(work, since=now, until=now + timedelta(seconds=20))
    blocked = tmp_path / "storage"
    blocked.write_text("a file where the folder should be")
    async with open_work("besitos") as work:
        with pytest.raises(VendorUnavailable):
            await collect(work, storage)
    assert states(db) == {"r-1": "ready"}
    blocked.unlink()
    async with open_work("besitos") as work:
        await collect(work, storage)
    (blocked / "requests").write_text("the same for packages")
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    package = Package(db, Source(engine), storage)
    with pytest.raises(NotDelivered):
        package.run()
    assert db.execute("SELECT status FROM dsar.request").fetchall() == [{"status": "in_progress"}]
    (blocked / "requests").unlink()
    assert package.run().completed == 1
    engine.dispose()
    assert [path.name for path in blocked.rglob("*.part")] == []
