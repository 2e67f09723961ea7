"""A submit stage may be interrupted: its worker is killed, or its ledger session ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import pytest

from include.dsar.ledger import database
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.ledger.uncertain import REASON_WORKER_DIED
from include.dsar.model import State
from include.dsar.stages.submit import submit
from include.sandbox import Sandbox
from tests.conftest import PROJECT
from tests.integration.conftest import OpenWork
from tests.integration.requests_given import rows, states
from tests.integration.stage_runs import Stages, plan_each, reasons, sent

WORKER = """
import asyncio, sys
from include.accounts import ACCOUNTS
from include.dsar.http.client import client
from include.dsar.ledger import database
from include.dsar.execution.account_work import AccountWork
from include.dsar.stages.submit import submit
from include.dsar.vendors import settings, vendor

async def main(dsn, url):
    account = next(a for a in ACCOUNTS if a.name == "besitos")
    resolved = settings(account, base_url=url, secret="sandbox-secret", extra={"partner_id": "demo"})
    with database.connect(dsn) as db:
        async with client(resolved) as http:
            await submit(AccountWork(db, vendor("besitos"), resolved, http))

asyncio.run(main(*sys.argv[1:]))
"""

OTHER_SESSIONS = """
SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - it becomes true in another process or thread
            await asyncio.sleep(0.02)


async def test_the_claims_of_a_killed_worker_become_uncertain_in_the_next_run(
    dsn: str, db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """While a worker is alive, no other run changes its claims. After the worker is killed, an event
    records its death.
    """
    plan_each(db, "besitos", "u1", "u2")
    sandbox.inject("hang", vendor="besitos", seconds=60)
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, dsn, sandbox.url, cwd=PROJECT)
    try:
        await until(sandbox.calls)
        await stages.submit("besitos")
        assert set(states(db).values()) == {"submitting"}
    finally:
        worker.kill()
        await worker.wait()
    await until(lambda: not db.execute(OTHER_SESSIONS).fetchall())
    await stages.submit("besitos")
    assert reasons(db) == [("submitting", "uncertain", REASON_WORKER_DIED)] * 2
    stages.clock.advance(seconds=61)
    done = await stages.submit("besitos")
    assert (done.submitted, set(states(db).values())) == (2, {"submitted"})


async def test_a_lost_session_of_the_ledger_interrupts_no_call(
    dsn: str, db: Database, sandbox: Sandbox, open_work: OpenWork, stages: Stages
) -> None:
    """The run fails. In the ledger the submissions of all calls are still claimed, and the next run finds
    their jobs.
    """
    plan_each(db, "batch", *(f"u{n:03}" for n in range(60)))
    with pytest.raises(Exception, match=r"terminat|lost|closed") as raised:
        async with open_work("batch", requests_per_second=60) as work:
            running = asyncio.create_task(submit(work))
            await until(lambda: len(sandbox.jobs()) >= 20)
            with database.connect(dsn) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [work.db.info.backend_pid])
            await running
    assert not isinstance(raised.value, ExceptionGroup)
    recorded = {row["request_id"] for row in rows(db) if row["state"] in ("submitting", "submitted")}
    assert recorded >= {*sent(sandbox)}
    await stages.submit("batch")
    stages.clock.advance(seconds=61)
    await stages.submit("batch")
    assert set(states(db).values()) == {"submitted"}
    assert {row["job_id"] for row in rows(db)} == {job.job_id for job in sandbox.jobs()}
    assert len(sandbox.jobs()) == 60


async def test_a_reply_resolves_a_submission_that_another_worker_marked_as_uncertain(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """While this worker waits for a reply, another worker assumes that this worker is dead. The reply
    comes, and its job id is recorded.
    """
    plan_each(db, "besitos", "u1")
    sandbox.inject("slow_drip", vendor="besitos", route="create", seconds=2)
    running = asyncio.create_task(stages.submit("besitos"))
    await until(sandbox.jobs)
    (one,) = rows(db)
    taken_for_dead = Move(one["id"], State.UNCERTAIN, REASON_WORKER_DIED)
    assert move(db, [taken_for_dead], leave=State.SUBMITTING, now=stages.clock())
    await running
    (job,), (one,) = sandbox.jobs(), rows(db)
    assert (one["state"], one["job_id"]) == ("submitted", job.job_id)
