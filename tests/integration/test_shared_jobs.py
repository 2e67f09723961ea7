"""Two open requests of the same person at one account share one job."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from include.accounts import ACCOUNTS
from include.dsar.ledger.database import Database
from include.dsar.source import Source
from include.dsar.stages.collect import collect
from include.dsar.stages.intake import Intake
from include.dsar.stages.package import Package
from include.dsar.stages.rows import Rules
from include.dsar.stages.submit import submit
from include.dsar.stages.watch import watch
from include.dsar.storage import Storage
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork, Row, put, source_rows

RULES = Rules(ACCOUNTS, None, b"key")


@pytest.mark.asyncio
@pytest.mark.parametrize("account", ["besitos", "batch", "id5", "attentive"])
async def test_one_call_serves_two_requests(
    dsn: str,
    db: Database,
    source_table: Source,
    storage: Storage,
    open_work: OpenWork,
    sandbox: Sandbox,
    account: str,
) -> None:
    """The vendor takes one job, both requests are closed, and both receipts name the job and say why."""
    person = {"user_id": "u1", "email": "a@example.com", "accounts": [account]}
    put(dsn, Row("first", **person), Row("second", **person))
    Intake(db, source_table, RULES).run()
    async with open_work(account) as work:
        done = await submit(work)
        assert (done.submitted, done.shared, done.left) == (1, 1, 0)
        now = datetime.now(UTC)
        await watch(work, since=now, until=now + timedelta(seconds=5))
    Package(db, source_table, storage).run()
    assert len(sandbox.book()) == 1
    receipts = [
        json.loads(storage.open(f"requests/{name}/receipt.json").read()) for name in ("first", "second")
    ]
    submissions = [receipt["accounts"][0]["submissions"][0] for receipt in receipts]
    assert [s["outcome"] for s in submissions] == ["completed", "completed"]
    assert submissions[0]["job_id"] == submissions[1]["job_id"]
    assert [s["reason"] for s in submissions] == [
        None, "shares the job of another open request of the same person",
    ]  # fmt: skip
    assert {row["status"] for row in source_rows(dsn).values()} == {"completed"}


@pytest.mark.asyncio
async def test_a_later_request_joins_a_job_that_runs_already(
    dsn: str, db: Database, source_table: Source, storage: Storage, open_work: OpenWork, sandbox: Sandbox
) -> None:
    """Both get the data of a job that was submitted for the first of them."""
    put(dsn, Row("first", "access", user_id="u1", accounts=["batch"]))
    Intake(db, source_table, RULES).run()
    async with open_work("batch") as work:
        await submit(work)
        put(dsn, Row("second", "access", user_id="u1", accounts=["batch"]))
        Intake(db, source_table, RULES).run()
        assert (await submit(work)).shared == 1
        now = datetime.now(UTC)
        await watch(work, since=now, until=now + timedelta(seconds=5))
        assert (await collect(work, storage)).collected == 2
    Package(db, source_table, storage).run()
    assert len(sandbox.book()) == 1
    assert storage.exists("requests/first/package.zip")
    assert storage.exists("requests/second/package.zip")


@pytest.mark.asyncio
async def test_another_action_is_a_job_of_its_own(
    dsn: str, db: Database, source_table: Source, open_work: OpenWork, sandbox: Sandbox
) -> None:
    """Who asks for their data and to be forgotten gets both."""
    put(
        dsn,
        Row("look", "access", user_id="u1", accounts=["besitos"]),
        Row("forget", "erasure", user_id="u1", accounts=["besitos"]),
    )
    Intake(db, source_table, RULES).run()
    async with open_work("besitos") as work:
        assert (await submit(work)).shared == 0
    assert sorted(entry.action for entry in sandbox.book()) == ["access", "erasure"]
