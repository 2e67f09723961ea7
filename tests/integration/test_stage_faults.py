"""Faults of the ledger's server, of the clock and of the storage affect each stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.errors import NotDelivered, VendorUnavailable
from include.dsar.intake.source import Source
from include.dsar.ledger import database
from include.dsar.ledger.database import Database
from include.dsar.model import Action
from include.dsar.sending.reconcile import NOT_FOUND
from include.dsar.stages.package import Package
from include.dsar.vendors import VENDORS
from include.sandbox import Sandbox
from include.stack import postgres
from include.stack.home import Home
from tests.integration.conftest import running_server
from tests.integration.requests_given import events, rows, states
from tests.integration.stage_runs import Stages, plan_each, sent

SLOW = {"requests_per_second": 20}  # slow enough for a fault in the middle of the stage
NAMES = [f"u{n}" for n in range(40)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Runs a PostgreSQL of this module, because its tests restart it."""
    with running_server(Home(tmp_path_factory.mktemp("own-server"))) as home:
        yield home


def when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Calls a function in a thread when the condition is true, or after 30 seconds."""

    def wait() -> None:
        deadline = time.monotonic() + 30
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


async def test_a_restart_of_the_ledger_during_submit_loses_and_doubles_nothing(
    server: Home, dsn: str, sandbox: Sandbox, stages: Stages
) -> None:
    """The stage fails. Its retry asks Batch for its list of jobs, then sends the remaining submissions."""
    with database.connect(dsn) as db:
        plan_each(db, "batch", *NAMES)
    restart = when(lambda: len(sandbox.jobs()) >= 10, lambda: postgres.restart(server))
    with pytest.raises((psycopg.Error, ExceptionGroup)):
        await stages.submit("batch", **SLOW)
    restart.join()
    assert 10 <= len(sandbox.jobs()) < 40
    await stages.submit("batch")
    stages.clock.advance(minutes=5)
    await stages.submit("batch")
    assert sorted(sent(sandbox)) == sorted(NAMES)
    with database.connect(dsn) as db:
        assert {row["state"] for row in rows(db)} == {"submitted"}
        assert {row["job_id"] for row in rows(db)} == {job.job_id for job in sandbox.jobs()}


async def test_a_restart_of_the_ledger_during_poll_loses_nothing(
    server: Home, dsn: str, sandbox: Sandbox, stages: Stages
) -> None:
    """The trigger fails. The next trigger polls every job until the job ends."""
    with database.connect(dsn) as db:
        plan_each(db, "batch", *NAMES)
    await stages.submit("batch")
    restart = when(lambda: sandbox.calls()["batch"].get("status", 0) >= 5, lambda: postgres.restart(server))
    with pytest.raises((psycopg.Error, ExceptionGroup)):
        await stages.poll("batch", seconds=20, **SLOW)
    restart.join()
    await stages.poll("batch", seconds=20)
    with database.connect(dsn) as db:
        assert set(states(db).values()) == {"completed"}
    assert len(sandbox.jobs()) == 40


@pytest.mark.parametrize("account", VENDORS)
async def test_a_clock_that_was_set_back_doubles_nothing(
    db: Database, sandbox: Sandbox, stages: Stages, account: str
) -> None:
    """After the clock is set back, the submission time of the job is three hours in the future. The job is
    polled when this time has come.
    """
    plan_each(db, account, *(f"u{n}@example.com" for n in range(5)))
    stages.clock.advance(hours=3)
    await stages.submit(account)
    stages.clock.advance(hours=-3)
    await stages.submit(account)
    assert (await stages.poll(account, seconds=60)).ended == 0  # no poll is due by this clock
    assert set(states(db).values()) == {"submitted"}
    stages.clock.advance(hours=4)
    sandbox.advance(60)
    await stages.poll(account, seconds=10)
    assert set(states(db).values()) == {"completed"}
    assert len(sent(sandbox)) == len(set(sent(sandbox))) == 5


async def test_a_lost_reply_under_a_fast_clock_is_sent_again_with_its_reason(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """Because the clock is fast, the ended job seems older than our call, so it may be another job. The
    call is made again and the reason is recorded.
    """
    plan_each(db, "batch", "u1")
    sandbox.inject("reset_after", vendor="batch", route="create")
    sandbox.inject("status", vendor="batch", route="list", status=502, times=None)
    stages.clock.advance(minutes=30)
    await stages.submit("batch")
    sandbox.clear_faults()
    sandbox.advance(60)  # the job has ended
    stages.clock.advance(minutes=-30)
    await stages.submit("batch")
    assert states(db) == {"u1": "uncertain"}
    stages.clock.advance(minutes=32)
    await stages.submit("batch")
    assert states(db) == {"u1": "submitted"}
    assert [event["reason"] for event in events(db) if event["enters"] == "planned"] == [NOT_FOUND]


async def test_a_storage_that_cannot_be_written_delays_and_loses_nothing(
    db: Database, source_table: Source, stages: Stages, storage: Storage, tmp_path: Path
) -> None:
    """A result stays ready and a request stays open until the storage can be written again."""
    plan_each(db, "besitos", "u1", action=Action.ACCESS)
    await stages.submit("besitos")
    await stages.poll("besitos")
    folder = tmp_path / "storage"
    folder.write_text("a file where the folder should be")
    with pytest.raises(VendorUnavailable):
        await stages.collect("besitos")
    assert states(db) == {"u1": "ready"}
    folder.unlink()
    await stages.collect("besitos")
    (folder / "requests").write_text("the same for packages")
    package = Package(db, source_table, storage)
    with pytest.raises(NotDelivered):
        package.run()
    assert db.execute("SELECT status FROM dsar.request").fetchall() == [{"status": "in_progress"}]
    (folder / "requests").unlink()
    assert package.run().completed == 1
    assert [path.name for path in folder.rglob("*.part")] == []
