"""A vendor says that it does not know a job. The cause may be that the vendor has lost the job, or that the
account does not work.
"""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from include.dsar.errors import ConfigurationError, VendorUnavailable
from include.dsar.execution.job_failures import JOB_FORGOTTEN, RESULT_EXPIRED
from include.dsar.intake.decisions import Decision, decide
from include.dsar.ledger.database import Database
from include.dsar.model import Action
from include.dsar.vendors import VENDORS
from include.dsar.vendors.id5 import hashed_email
from include.sandbox import Sandbox
from include.sandbox.decision import KEYWORDS
from tests.integration.requests_given import put_into, rows, states
from tests.integration.stage_runs import Stages, plan_each, reasons

VALUES = [f"u{n}@example.com" for n in range(20)]
# A job that does not end, also for ID5, which gets a hash.
SLOW = next(mail for n in count() if hashed_email(mail := f"slow{n}@example.com").endswith(KEYWORDS["slow"]))
HTML = {"status": 404, "body": "<html>404 Not Found</html>", "content_type": "text/html"}
GATEWAY = {"status": 404, "body": json.dumps({"fault": "no such route"})}
OWN_404 = {
    "besitos": {"success": False, "message": "Request not found."},
    "batch": {"code": 21, "message": "REQUEST_NOT_FOUND"},
    "id5": {"error": {"code": "user_objects_invalid", "message": "provided job UUID not found"}},
    "attentive": {"message": "The specified resource was not found"},
    "opendsr": {"error": {"code": 404, "message": "Subject request not found"}},
}
RETURNING = [name for name, vendor in VENDORS.items() if vendor.returns_data]


async def submitted(db: Database, stages: Stages, account: str, action: Action = Action.ERASURE) -> None:
    """Submits twenty jobs, all younger than the longest time that a vendor documents."""
    plan_each(db, account, *VALUES, action=action)
    await stages.submit(account, users_per_call=1)


async def poll(stages: Stages, account: str, **extra: Any) -> None:
    await stages.poll(account, **{"seconds": 1, "poll_min_seconds": 0.5, "poll_max_seconds": 0.5, **extra})


def forget(db: Database, *submissions: int) -> None:
    """Lets the vendor say that it does not know the jobs of these submissions."""
    for one in submissions or [row["id"] for row in rows(db)]:
        put_into(db, [one], {"job_id": f"gone-{one}"})


@pytest.mark.parametrize(
    ("account", "reply"),
    [
        (account, reply)
        for account in VENDORS
        for reply in (HTML, GATEWAY, "own")
        # Attentive documents no shape of an error, so any JSON may be its own.
        if not (account == "attentive" and reply == GATEWAY)
    ],
)
async def test_a_404_of_every_poll_leaves_all_jobs_open(
    db: Database, sandbox: Sandbox, stages: Stages, account: str, reply: Any
) -> None:
    """All jobs stay open for days. The task fails, and its error names the connection. When the vendor
    knows the jobs again, they end as usual.
    """
    given = {"status": 404, "body": json.dumps(OWN_404[account])} if reply == "own" else reply
    await submitted(db, stages, account)
    for route in ("status", "list", "me"):
        sandbox.inject("status", vendor=account, route=route, times=None, **given)
    for _ in range(3):
        stages.advance(hours=25)
        with pytest.raises(ConfigurationError, match=f"connection {account}_default"):
            await poll(stages, account)
        assert set(states(db).values()) == {"submitted"}
    sandbox.clear_faults()
    await stages.poll(account)
    assert set(states(db).values()) == {"completed"}


@pytest.mark.parametrize("account", VENDORS)
async def test_a_job_fails_if_the_vendor_denies_it_again_a_day_later(
    db: Database, stages: Stages, account: str
) -> None:
    """The vendor knows other jobs, so the account works. If the vendor finds the job between
    two denials, the wait of one day starts again at the next denial.
    """
    plan_each(db, account, *VALUES[:2], SLOW)
    await stages.submit(account, users_per_call=1)
    first, second, _ = (row["id"] for row in rows(db))
    forget(db, first, second)

    async def state_after(**time: float) -> list[str]:
        stages.clock.advance(**time)
        await poll(stages, account)
        return [row["state"] for row in rows(db)][:2]

    assert await state_after(minutes=59) == ["submitted"] * 2  # may not be visible yet
    assert [row["unknown_since"] for row in rows(db)] == [None] * 3
    assert await state_after(hours=2) == ["submitted"] * 2
    put_into(db, [second], {"job_id": "slow-again"})
    assert await state_after(hours=23) == ["submitted"] * 2
    put_into(db, [second], {"job_id": rows(db)[2]["job_id"]})  # the vendor knows this one
    assert await state_after(minutes=1) == ["submitted"] * 2
    assert rows(db)[1]["unknown_since"] is None
    put_into(db, [second], {"job_id": "gone"})
    assert await state_after(hours=2) == ["failed", "submitted"]
    assert rows(db)[0]["reason"] == JOB_FORGOTTEN


async def test_a_wrong_api_key_of_batch_fails_nothing(db: Database, sandbox: Sandbox, stages: Stages) -> None:
    """Batch documents code 20 for an unknown route, not for an unknown job. Ready results stay ready."""
    await submitted(db, stages, "batch", Action.ACCESS)
    await stages.poll("batch")
    assert set(states(db).values()) == {"ready"}
    no_route = {"status": 404, "body": json.dumps({"code": 20, "message": "ROUTE_NOT_FOUND"})}
    sandbox.inject("status", vendor="batch", times=None, **no_route)
    for _ in range(3):
        with pytest.raises(ConfigurationError, match=r"api_key.*connection batch_default"):
            await stages.collect("batch")
        stages.clock.advance(hours=25)
    assert set(states(db).values()) == {"ready"}


@pytest.mark.parametrize("account", RETURNING)
@pytest.mark.parametrize("reply", [HTML, "own"], ids=["html", "own"])
async def test_a_404_leaves_ready_results_ready(
    db: Database, sandbox: Sandbox, stages: Stages, account: str, reply: Any
) -> None:
    """A 404 for every result means that the account does not work. The error names the connection, and the
    results are collected later.
    """
    given = {"status": 404, "body": json.dumps(OWN_404[account])} if reply == "own" else reply
    await submitted(db, stages, account, Action.ACCESS)
    await stages.poll(account)
    for route in ("status", "list", "me"):
        sandbox.inject("status", vendor=account, route=route, times=None, **given)
    for _ in range(3):
        with pytest.raises(VendorUnavailable, match=f"connection {account}_default"):
            await stages.collect(account)
        stages.clock.advance(hours=25)
    assert set(states(db).values()) == {"ready"}
    sandbox.clear_faults()
    await stages.collect(account)
    assert set(states(db).values()) == {"completed"}


async def test_unknown_results_are_no_evidence_for_each_other(db: Database, stages: Stages) -> None:
    """The vendor denies both jobs. A result fails only if there is proof that the account works. A
    denied job is no proof, so both results stay ready.
    """
    plan_each(db, "besitos", "u1", "u2", action=Action.ACCESS)
    await stages.submit("besitos", users_per_call=1)
    await stages.poll("besitos")
    forget(db)
    put_into(db, [row["id"] for row in rows(db)], {"unknown_since": stages.clock() - timedelta(days=2)})
    with pytest.raises(VendorUnavailable):
        await stages.collect("besitos")
    assert set(states(db).values()) == {"ready"}


async def test_a_result_fails_if_the_vendor_denies_it_again_a_day_later(db: Database, stages: Stages) -> None:
    """The probe shows that the account works. Therefore the denial is true: the vendor no longer has the
    result.
    """
    plan_each(db, "batch", *VALUES[:3], action=Action.ACCESS)  # too few for the outcome breaker
    await stages.submit("batch")
    await stages.poll("batch")
    forget(db)
    for _ in range(2):
        with pytest.raises(VendorUnavailable):
            await stages.collect("batch")
        assert set(states(db).values()) == {"ready"}
        stages.clock.advance(hours=13)
    assert (await stages.collect("batch")).failed == 3
    assert {row["reason"] for row in rows(db)} == {RESULT_EXPIRED}


@pytest.mark.parametrize("account", VENDORS)
async def test_give_up_after_days_ends_nothing_while_the_account_does_not_work(
    db: Database, stages: Stages, account: str
) -> None:
    """While the account does not work, every job stays open. A job fails after the vendor answers again and
    says that the job is still running.
    """
    plan_each(db, account, SLOW)
    await stages.submit(account)
    stages.clock.advance(days=VENDORS[account].give_up_after.days + 1)
    await poll(stages, account, base_url="http://127.0.0.1:1")
    assert set(states(db).values()) == {"submitted"}
    await poll(stages, account)
    assert set(states(db).values()) == {"failed"}


@pytest.mark.parametrize("account", VENDORS)
async def test_give_up_after_days_ends_nothing_while_the_vendor_denies_all_jobs(
    db: Database, sandbox: Sandbox, stages: Stages, account: str
) -> None:
    """A 404 for every call, also for the probe, proves nothing, however old the jobs are. The jobs end when
    the vendor answers again.
    """
    plan_each(db, account, "u1@example.com")
    await stages.submit(account)
    given = {"status": 404, "body": json.dumps(OWN_404[account])}
    for route in ("status", "list", "me"):
        sandbox.inject("status", vendor=account, route=route, times=None, **given)
    stages.clock.advance(days=VENDORS[account].give_up_after.days + 1)
    with pytest.raises(ConfigurationError, match=f"connection {account}_default"):
        await poll(stages, account)
    assert set(states(db).values()) == {"submitted"}
    sandbox.clear_faults()
    await poll(stages, account)
    assert set(states(db).values()) == {"completed"}


async def test_a_lone_unknown_job_can_be_sent_again_by_an_operator(db: Database, stages: Stages) -> None:
    """No other job can prove that the account works, so the job stays open. The error gives the age of the
    job, and the decision that sends the request again. A repeated decision does not apply to the new job.
    """
    plan_each(db, "id5", SLOW, VALUES[0])
    await stages.submit("id5")
    one, other = (row["id"] for row in rows(db))
    put_into(db, [other], {"state": "failed", "finished_at": stages.clock()})
    forget(db, one)
    stages.advance(hours=30)
    line = f"{SLOW} id5 job_lost"
    with pytest.raises(ConfigurationError) as error:
        await poll(stages, "id5")
    assert f"submitted 30 hours ago, for request {SLOW}. " in str(error.value)
    assert f"the decision `{line}`" in str(error.value)
    made_at = stages.clock()
    decision = Decision.parse(line)
    assert decide(db, [decision], by="run-7", now=stages.clock(), made_at=made_at) == 1
    await stages.submit("id5")
    assert states(db)[SLOW] == "submitted"
    assert reasons(db)[-1][2] == "decided by run-7: the vendor does not have the job, send again"
    with pytest.raises(ConfigurationError, match="no submission has a job since before the run"):
        decide(db, [decision], by="run-7", now=stages.clock(), made_at=made_at)
    with pytest.raises(ConfigurationError, match=r"no submission has a job\)"):
        decide(db, [Decision.parse(f"{VALUES[0]} id5 job_lost")], by="run-7", now=stages.clock())


async def test_a_lost_result_can_be_asked_for_again_by_an_operator(db: Database, stages: Stages) -> None:
    """The vendor does not have the job of a ready result."""
    plan_each(db, "besitos", "u1", action=Action.ACCESS)
    await stages.submit("besitos")
    await stages.poll("besitos")
    forget(db)
    decide(db, [Decision.parse("u1 besitos job_lost")], by="run-7", now=stages.clock())
    await stages.submit("besitos")
    await stages.poll("besitos")
    assert (await stages.collect("besitos")).collected == 1


@pytest.mark.parametrize(("minutes", "state"), [(59, "failed"), (61, "submitted")])
async def test_a_job_that_ended_within_the_hour_shows_that_the_account_works(
    db: Database, stages: Stages, minutes: float, state: str
) -> None:
    """In the second run, another job ended in the previous stage. This shows that the account works,
    although only the unknown job is open now.
    """
    plan_each(db, "besitos", "u1", "slow-2", "u3")
    await stages.submit("besitos", users_per_call=1)
    lost, slow, other = (row["id"] for row in rows(db))
    forget(db, lost)
    stages.clock.advance(hours=2)
    put_into(db, [other], {"state": "planned"})
    await poll(stages, "besitos")
    assert rows(db)[0]["unknown_since"]
    stages.clock.advance(hours=25)
    ended = {"state": "completed", "finished_at": stages.clock() - timedelta(minutes=minutes)}
    put_into(db, [slow], ended)
    if state == "failed":
        await poll(stages, "besitos")
    else:
        with pytest.raises(ConfigurationError, match="no poll found any of our jobs"):
            await poll(stages, "besitos")
    assert states(db)["u1"] == state
