"""A reply may contradict itself. Then no data subject gets an outcome, and the vendor is asked again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.errors import VendorUnavailable
from include.dsar.ledger import planning
from include.dsar.ledger.database import Database
from include.dsar.model import Action
from include.dsar.stages.poll import UNCLEAR
from include.dsar.stages.report import Report
from include.sandbox import Sandbox
from tests.integration.requests_given import events, rows, states
from tests.integration.stage_runs import Stages, plan_each

USERS = ["u1", "u2"]
PROGRESS = {"total": 2, "completed": 2, "failed": 0, "pending": 0, "percentage": 100}

EXPIRED = {"expires_at": "2020-01-01T00:00:00Z"}


async def send(db: Database, stages: Stages, *users: str, action: Action) -> str:
    plan_each(db, "besitos", *users, action=action)
    await stages.submit("besitos")
    return str(rows(db)[0]["job_id"])


def reply(
    job_id: str | None, action: str, data: Any, users: list[str] = USERS, **request: Any
) -> dict[str, Any]:
    return {
        "success": True,
        "request": {
            "id": job_id, "action": action, "status": "completed", "partner_user_ids": users,
            "expires_at": None, "error_message": None, "progress": PROGRESS, **request,
        },
        "data": {"data": data},
    }  # fmt: skip


def deletion(**summary: Any) -> dict[str, Any]:
    return {"summary": {"success": True, "processed_count": 2, "found_partner_user_ids": USERS,
                        "not_found_partner_user_ids": [], **summary}}  # fmt: skip


def answer(sandbox: Sandbox, body: dict[str, Any]) -> None:
    sandbox.clear_faults()
    sandbox.inject("body", vendor="besitos", route="status", body=json.dumps(body), times=None)


@pytest.mark.parametrize(
    "summary",
    [
        {"success": False}, {"processed_count": 0},
        {"found_partner_user_ids": [], "not_found_partner_user_ids": USERS, "success": False},
    ],
    ids=str,
)  # fmt: skip
async def test_a_deletion_that_is_not_clear_is_asked_for_again_alone(
    db: Database, sandbox: Sandbox, stages: Stages, summary: dict[str, Any]
) -> None:
    """The submissions of a batch with an unclear reply are planned again, each alone. If the reply about a
    single submission is unclear, the submission stays open.
    """
    job_id = await send(db, stages, *USERS, action=Action.ERASURE)
    answer(sandbox, reply(job_id, "delete", deletion(**summary)))
    await stages.poll("besitos", seconds=0.5)
    assert set(states(db).values()) == {"planned"}
    assert {event["reason"] for event in events(db)} == {UNCLEAR}
    await stages.submit("besitos")
    for user, row in zip(USERS, rows(db), strict=True):
        lists = {"found_partner_user_ids": [user], "not_found_partner_user_ids": []} | summary
        answer(sandbox, reply(row["job_id"], "delete", deletion(**lists), [user]))
        await stages.poll("besitos", seconds=0.5)
    assert set(states(db).values()) == {"submitted"}


@pytest.mark.parametrize("change", [{"id": "another"}, {"action": "export"}, {"progress": {"pending": 1}}])
async def test_a_reply_about_another_job_or_an_unfinished_one_ends_nothing(
    db: Database, sandbox: Sandbox, stages: Stages, change: dict[str, Any]
) -> None:
    job_id = await send(db, stages, *USERS, action=Action.ERASURE)
    body = reply(job_id, "delete", deletion())
    body["request"] |= change
    answer(sandbox, body)
    await stages.poll("besitos", seconds=0.5)
    assert set(states(db).values()) == {"submitted"}
    sandbox.clear_faults()
    await stages.poll("besitos")
    assert set(states(db).values()) == {"completed"}


async def test_the_results_of_another_job_are_not_collected(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The other job is about the same users, for example from an earlier request. It is not the result."""
    await send(db, stages, *USERS, action=Action.ACCESS)
    await stages.poll("besitos")
    without_data = PROGRESS | {"completed": 0, "failed": 2}
    answer(sandbox, reply("another", "export", [None, None], progress=without_data))
    with pytest.raises(VendorUnavailable, match="the reply is about another job"):
        await stages.collect("besitos")
    assert set(states(db).values()) == {"ready"}
    sandbox.clear_faults()
    await stages.collect("besitos")
    assert set(states(db).values()) == {"completed"}


@pytest.mark.parametrize(
    ("users", "records", "change"),
    [
        (USERS, [None, None], {"progress": PROGRESS}),
        (USERS, [None, None], {"progress": PROGRESS | {"completed": 0}}),
        (USERS, [], {"progress": PROGRESS | {"completed": 0, "failed": 2}, **EXPIRED}),
        (["u1"], [], {"progress": {"completed": 0, "failed": 1}, **EXPIRED}),
    ],
    ids=["fewer records than completed", "nulls without failures", "expired", "expired, alone"],
)
async def test_a_damaged_or_expired_export_is_asked_for_again(
    db: Database,
    sandbox: Sandbox,
    stages: Stages,
    users: list[str],
    records: list[Any],
    change: dict[str, Any],
) -> None:
    """A damaged or expired export does not prove that a user without a record has no data. The export is
    requested again, and the new export has the data.
    """
    job_id = await send(db, stages, *users, action=Action.ACCESS)
    answer(sandbox, reply(job_id, "export", records, users, **change))
    await stages.poll("besitos", seconds=0.5)
    await stages.collect("besitos")
    assert set(states(db).values()) == {"planned"}
    assert {row["batch_limit"] for row in rows(db)} == {1}
    assert all(event["reason"] for event in events(db))
    sandbox.clear_faults()
    await stages.submit("besitos")
    await stages.poll("besitos")
    await stages.collect("besitos")
    assert set(states(db).values()) == {"completed"}


async def test_an_export_that_never_has_data_fails(
    db: Database, storage: Storage, sandbox: Sandbox, stages: Stages
) -> None:
    """The fifth export in a row without data ends the submission as failed, never as "no data". The report
    asks an operator to act. After `retry_failed`, the count begins again.
    """
    plan_each(db, "besitos", *USERS, action=Action.ACCESS)
    answer(sandbox, reply(None, "export", None))
    for state in (*["planned"] * 4, "failed", "planned"):
        if state == "planned":
            planning.retry_open(db, now=stages.clock(), request_ids=None)
        await stages.submit("besitos")
        await stages.poll("besitos", seconds=0.5)
        await stages.collect("besitos")
        assert set(states(db).values()) == {state}
        if state == "failed":
            assert {row["reason"] for row in rows(db)} == {
                "5 jobs in a row gave no usable result, and the vendor said of the last one: "
                "the export has expired"
            }
            report = Report(db, storage, stages.clock(), ["besitos"], clock=stages.clock)
            assert any("besitos failed for 2 requests" in sentence for sentence in report.run())


async def test_a_damaged_export_of_one_user_stays_ready(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """A damaged export of one user is not requested again, because it cannot be split into smaller ones."""
    job_id = await send(db, stages, "u1", action=Action.ACCESS)
    answer(sandbox, reply(job_id, "export", [None], ["u1"], progress={"completed": 1, "failed": 0}))
    await stages.poll("besitos", seconds=0.5)
    with pytest.raises(VendorUnavailable):
        await stages.collect("besitos")
    assert states(db) == {"u1": "ready"}
