"""Two open requests of the same data subject at one account share a job."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from include.dsar.accounts import Account
from include.dsar.delivery.storage import Storage
from include.dsar.intake.rows import Rules
from include.dsar.intake.source import Source
from include.dsar.ledger.claiming import REASON_SHARED
from include.dsar.ledger.database import Database
from include.dsar.stages.intake import Intake
from include.dsar.stages.package import Package
from include.dsar.stages.submit import submit
from include.dsar.vendors import VENDORS
from include.regulations import REGULATIONS
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork, Row, put, source_rows
from tests.integration.requests_given import states
from tests.integration.stage_runs import Stages, poll

RULES = Rules(tuple(Account(name, vendor=name) for name in VENDORS), None, b"key", REGULATIONS)
TakeIn = Callable[..., None]


@pytest.fixture
def take_in(dsn: str, db: Database, source_table: Source) -> TakeIn:
    """Adds rows to the source and runs intake."""

    def run(*rows: Row) -> None:
        put(dsn, *rows)
        Intake(db, source_table, RULES).run()

    return run


@pytest.mark.parametrize("account", VENDORS)
async def test_one_call_serves_two_requests(
    dsn: str, db: Database, source_table: Source, storage: Storage, sandbox: Sandbox, open_work: OpenWork,
    take_in: TakeIn, account: str,
) -> None:  # fmt: skip
    """Both receipts name the job and say that it is shared."""
    ids = {"user_id": "u1", "email": "a@example.com", "accounts": [account]}
    take_in(Row("first", **ids), Row("second", **ids))
    async with open_work(account) as work:
        done = await submit(work)
        assert (done.submitted, done.shared, done.left) == (1, 1, 0)
        await poll(work)
    Package(db, source_table, storage).run()
    assert len(sandbox.jobs()) == 1
    receipts = [
        json.loads(storage.open(f"requests/{name}/receipt.json").read()) for name in ("first", "second")
    ]
    submissions = [receipt["accounts"][0]["submissions"][0] for receipt in receipts]
    assert [s["outcome"] for s in submissions] == ["completed", "completed"]
    assert submissions[0]["job_id"] == submissions[1]["job_id"]
    assert {s["reason"] for s in submissions} == {REASON_SHARED}
    assert submissions[0]["submitted_at"] == submissions[1]["submitted_at"]
    assert {row["status"] for row in source_rows(dsn).values()} == {"completed"}


@pytest.mark.parametrize("account", VENDORS)
async def test_a_job_is_not_shared_with_a_later_request(
    db: Database, sandbox: Sandbox, stages: Stages, take_in: TakeIn, account: str
) -> None:
    """A later request does not share the job, because there may be newer data. It gets its own job as soon
    as the vendor accepts one.
    """
    refuses = VENDORS[account].one_job_per_subject
    for name in ("first", "second"):
        take_in(Row(name, user_id="u1", email="a@example.com", accounts=[account]))
        done = await stages.submit(account)
        assert done.shared == 0
    assert (done.submitted, done.left) == ((0, 1) if refuses else (1, 0))
    await stages.poll(account)
    assert states(db)["first"] == "completed"
    if account == "id5":
        sandbox.advance(24 * 60 * 60)  # ID5 accepts one call a day for an identifier
    if refuses:
        assert (await stages.submit(account)).submitted == 1
    assert len(sandbox.jobs()) == 2


async def test_an_erasure_waits_until_the_data_was_collected(
    sandbox: Sandbox, stages: Stages, take_in: TakeIn
) -> None:
    """If the data subject first asked for access and then for erasure, the erasure waits. The due dates of
    the two requests do not matter.
    """
    ids = {"user_id": "u1", "advertising_id": "38400000-8cf0-11bd-b23e-10b96e40000d", "accounts": ["batch"]}
    due_at = str(datetime.now(UTC) + timedelta(days=8))
    take_in(
        Row("erasure", "erasure", **ids, due_at=due_at),
        Row("access", "access", **ids | {"advertising_id": None}),
    )
    done = await stages.submit("batch")
    assert (done.submitted, done.left) == (1, 2)
    await stages.poll("batch")
    assert (await stages.submit("batch")).submitted == 0  # the result is not collected yet
    assert (await stages.collect("batch")).collected == 1
    assert (await stages.submit("batch")).submitted == 2
    assert [job.action for job in sandbox.jobs()] == ["access", "erasure", "erasure"]


@pytest.mark.parametrize(
    ("received_before", "due_in", "submitted"),
    [
        (timedelta(), timedelta(days=20), 1),
        (timedelta(), timedelta(days=6), 2),
        (timedelta(hours=1), timedelta(days=20), 2),
    ],
    ids=["waits", "due in less than a week", "received first"],
)
async def test_how_long_an_erasure_waits_for_an_access_request(
    stages: Stages, take_in: TakeIn, received_before: timedelta, due_in: timedelta, submitted: int
) -> None:
    """An erasure waits only for an access request of the same time or earlier. The wait ends one week
    before the due date of the erasure.
    """
    at = datetime.now(UTC) - timedelta(days=1)
    times = {"received_at": str(at - received_before), "due_at": str(datetime.now(UTC) + due_in)}
    take_in(
        Row("access", "access", user_id="u1", received_at=str(at), accounts=["besitos"]),
        Row("erasure", user_id="u1", **times, accounts=["besitos"]),
    )
    assert (await stages.submit("besitos")).submitted == submitted
