"""Two open requests of the same person at one account share one job."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from include.accounts import ACCOUNTS
from include.dsar.delivery.storage import Storage
from include.dsar.intake.rows import Rules
from include.dsar.intake.source import Source
from include.dsar.ledger.claiming import REASON_SHARED
from include.dsar.ledger.database import Database
from include.dsar.stages.collect import collect
from include.dsar.stages.intake import Intake
from include.dsar.stages.package import Package
from include.dsar.stages.poll import poll_open_jobs
from include.dsar.stages.submit import submit
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork, Row, put, source_rows
from tests.integration.requests_given import states

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
        await poll_open_jobs(work, since=now, until=now + timedelta(seconds=5))
    Package(db, source_table, storage).run()
    assert len(sandbox.book()) == 1
    receipts = [
        json.loads(storage.open(f"requests/{name}/receipt.json").read()) for name in ("first", "second")
    ]
    submissions = [receipt["accounts"][0]["submissions"][0] for receipt in receipts]
    assert [s["outcome"] for s in submissions] == ["completed", "completed"]
    assert submissions[0]["job_id"] == submissions[1]["job_id"]
    assert {s["reason"] for s in submissions} == {REASON_SHARED}
    assert submissions[0]["submitted_at"] == submissions[1]["submitted_at"]
    assert {row["status"] for row in source_rows(dsn).values()} == {"completed"}


@pytest.mark.asyncio
@pytest.mark.parametrize("account", ["besitos", "batch", "id5", "attentive"])
async def test_an_older_job_serves_no_later_request(
    dsn: str, db: Database, source_table: Source, open_work: OpenWork, sandbox: Sandbox, account: str
) -> None:
    """It may have looked at the person's data before: the later request gets a job of its own, once the
    vendor takes one."""
    refuses = account in ("batch", "id5")
    async with open_work(account) as work:
        for name in ("first", "second"):
            put(dsn, Row(name, user_id="u1", email="a@example.com", accounts=[account]))
            Intake(db, source_table, RULES).run()
            done = await submit(work)
            assert done.shared == 0
        assert (done.submitted, done.left) == ((0, 1) if refuses else (1, 0))
        now = datetime.now(UTC)
        await poll_open_jobs(work, since=now, until=now + timedelta(seconds=5))
        assert states(db)["first"] == "completed"
        if account == "id5":
            sandbox.advance(24 * 60 * 60)  # it takes one a day
        if refuses:
            assert (await submit(work)).submitted == 1
    assert [len(entry.values) for entry in sandbox.book()] == [1, 1]


@pytest.mark.asyncio
async def test_a_person_is_forgotten_only_once_they_have_been_shown(
    dsn: str, db: Database, source_table: Source, storage: Storage, open_work: OpenWork, sandbox: Sandbox
) -> None:
    """Who asks for their data and to be forgotten gets both, in this order, whichever is due first."""
    ids = {"user_id": "u1", "advertising_id": "38400000-8cf0-11bd-b23e-10b96e40000d"}
    put(
        dsn,
        Row(
            "forget", "erasure", **ids, due_at=str(datetime.now(UTC) + timedelta(days=8)), accounts=["batch"]
        ),
        Row("look", "access", user_id="u1", accounts=["batch"]),
    )
    Intake(db, source_table, RULES).run()
    async with open_work("batch") as work:
        done = await submit(work)
        assert (done.submitted, done.left) == (1, 2)
        now = datetime.now(UTC)
        await poll_open_jobs(work, since=now, until=now + timedelta(seconds=5))
        assert (await submit(work)).submitted == 0  # what was found has yet to be collected
        assert (await collect(work, storage)).collected == 1
        assert (await submit(work)).submitted == 2
    assert [entry.action for entry in sandbox.book()] == ["access", "erasure", "erasure"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("received_before", "due_in", "sent"),
    [
        (timedelta(), timedelta(days=20), 1),
        (timedelta(), timedelta(days=6), 2),
        (timedelta(hours=1), timedelta(days=20), 2),
    ],
    ids=["waits", "the law waits no longer", "was asked for first"],
)
async def test_how_long_an_erasure_waits_for_an_access(
    dsn: str,
    db: Database,
    source_table: Source,
    open_work: OpenWork,
    received_before: timedelta,
    due_in: timedelta,
    sent: int,
) -> None:
    """For one that was asked for no later, and until a week before its own due date."""
    at = datetime.now(UTC) - timedelta(days=1)
    times = {"received_at": str(at - received_before), "due_at": str(datetime.now(UTC) + due_in)}
    put(
        dsn,
        Row("look", "access", user_id="u1", received_at=str(at), accounts=["besitos"]),
        Row("forget", user_id="u1", **times, accounts=["besitos"]),
    )
    Intake(db, source_table, RULES).run()
    async with open_work("besitos") as work:
        assert (await submit(work)).submitted == sent
