"""One data subject whose job never ends does not keep the other data subjects of its batch waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from include.dsar.accounts import Account, StuckBatches
from include.dsar.ledger import stuck_jobs
from include.dsar.ledger.database import Database
from include.dsar.model import Action
from include.sandbox import Sandbox, SandboxSettings, run_in_thread
from tests.integration.requests_given import events, plan, put_into, request, rows, states, submission
from tests.integration.stage_runs import Stages, plan_each

OTHERS = [f"u{n}" for n in range(99)]
CULPRIT = "slow-1"
HOURS = 3600.0


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Runs the vendors. The job of a slow user does not end in two months."""
    settings = SandboxSettings(min_seconds=0.01, max_seconds=0.2, slow_seconds=60 * 24 * HOURS)
    with run_in_thread(settings) as running:
        yield running


async def run(stages: Stages, action: Action, **extra: object) -> None:
    """Runs the stages of one day."""
    given = {"users_per_call": 100, **extra}
    await stages.submit("besitos", **given)
    await stages.poll("besitos", seconds=1, **given)
    if action is Action.ACCESS:
        await stages.collect("besitos", **given)


def ended_after(db: Database, users: Sequence[str], time: timedelta) -> None:
    """Adds submissions that ended now, and that took this time."""
    plan_each(db, "besitos", *users)
    now = datetime.now(UTC)
    ids = [row["id"] for row in rows(db)]
    put_into(db, ids, {"state": "completed", "submitted_at": now - time, "finished_at": now})


def sizes(sandbox: Sandbox) -> list[int]:
    return [len(job.values) for job in sandbox.jobs()]


@pytest.mark.parametrize("action", Action)
async def test_all_but_the_stuck_data_subject_are_done_within_three_days(
    db: Database, sandbox: Sandbox, stages: Stages, action: Action
) -> None:
    """One data subject keeps a batch of 100 open. Daily runs send smaller batches, and a data subject gets
    a second job only if it is necessary. The events give the reason.
    """
    plan_each(db, "besitos", *OTHERS[:50], CULPRIT, *OTHERS[50:], action=action)
    began = stages.clock()
    await run(stages, action)
    assert set(states(db).values()) == {"submitted"}
    while Counter(states(db).values()) != {"completed": 99, "submitted": 1}:
        stages.advance(hours=24)
        assert stages.clock() - began < timedelta(days=3)
        await run(stages, action)
    assert states(db)[CULPRIT] == "submitted"
    assert sizes(sandbox) == [100, *[10] * 10, *[1] * 10]
    assert Counter(event["reason"] for event in events(db)) == {
        "the batch had not ended after 24 hours, and is sent again in smaller ones": 110
    }
    assert {event["job_id"] for event in events(db)} == {
        job.job_id for job in sandbox.jobs() if CULPRIT in job.values and len(job.values) > 1
    }


async def test_the_result_of_the_old_job_does_not_count(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The old job ends after its submissions have new jobs. Nothing is counted twice, and each submission
    gets the outcome of its own new job.
    """
    plan_each(db, "besitos", *OTHERS[:11], CULPRIT)
    await run(stages, Action.ERASURE)
    stages.advance(hours=24)
    await stages.submit("besitos")
    sandbox.advance(70 * 24 * HOURS)  # all jobs end
    await stages.poll("besitos", seconds=1)
    assert set(states(db).values()) == {"completed"}
    assert [row["earlier_jobs"] for row in rows(db)] == [1] * 12
    assert sandbox.calls()["besitos"]["create"] == 13


async def test_a_vendor_that_ends_no_job_gets_few_more_calls(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """All batches are old, and each run gives up only the oldest batch. After its smaller batches end, the
    next run gives up the other batches.
    """
    plan_each(db, "besitos", *(f"slow-{n}" for n in range(40)), *OTHERS[:10])
    await run(stages, Action.ERASURE, users_per_call=10)
    first_jobs = {row["job_id"] for row in rows(db)}
    put_into(db, [row["id"] for row in rows(db)], {"state": "submitted", "finished_at": None})  # no job ended
    sandbox.inject("body", vendor="besitos", route="status", times=None, body=PENDING)
    for run_number in (1, 2, 3):
        stages.advance(hours=24)
        await run(stages, Action.ERASURE, users_per_call=10)
        assert len(sizes(sandbox)) == 5 + 10 * run_number
        assert len(first_jobs & {row["job_id"] for row in rows(db)}) == 5 - run_number
    sandbox.clear_faults()
    await stages.poll("besitos", seconds=1)
    assert Counter(states(db).values()) == {"completed": 10, "submitted": 40}


PENDING = '{"success": true, "request": {"status": "pending", "error_message": null}}'


async def test_batches_that_are_an_exception_are_given_up_together(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """Two of four batches do not end, so both are given up in the same run."""
    names = [f"{'slow' if n in (5, 15) else 'u'}-{n}" for n in range(40)]
    plan_each(db, "besitos", *names)
    await run(stages, Action.ERASURE, users_per_call=10)
    stages.advance(hours=24)
    await run(stages, Action.ERASURE, users_per_call=10)
    assert sizes(sandbox) == [*[10] * 4, *[1] * 20]
    assert Counter(states(db).values()) == {"completed": 38, "submitted": 2}


async def test_a_batch_is_given_up_earlier_if_a_request_is_due_soon(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """After two hours, a batch whose request is due in six days is given up. The other batch is kept."""
    now = datetime.now(UTC)
    plan(
        db,
        *(
            request(f"r{n}", submission(f"slow-{n}"), due_at=now + timedelta(days=6 if n < 2 else 20))
            for n in range(4)
        ),
    )
    await run(stages, Action.ERASURE, users_per_call=2)
    stages.advance(hours=2)
    await run(stages, Action.ERASURE, users_per_call=2)
    assert sizes(sandbox) == [2, 2, 1, 1]


@pytest.mark.parametrize(
    ("limits", "hours", "is_given_up"),
    [
        (StuckBatches(), 9, False), (StuckBatches(), 11, True),
        (StuckBatches(max_hours=8), 9, True), (StuckBatches(times_usual=20), 11, False),
    ],
)  # fmt: skip
async def test_each_account_has_its_own_limits(
    db: Database,
    sandbox: Sandbox,
    stages: Stages,
    accounts: dict[str, Account],
    limits: StuckBatches,
    hours: float,
    is_given_up: bool,
) -> None:
    """The setting `stuck_batches` of an account decides how old a batch becomes."""
    accounts["besitos"] = Account("besitos", vendor="besitos", stuck_batches=limits)
    plan_each(db, "besitos", "slow-1", "slow-2")
    await run(stages, Action.ERASURE)
    stages.advance(hours=hours)
    await run(stages, Action.ERASURE)
    assert (sizes(sandbox) == [2, 1, 1]) is is_given_up


async def test_a_slow_account_gets_more_time(db: Database, sandbox: Sandbox, stages: Stages) -> None:
    """The jobs of the account usually take 30 hours, so a batch of 25 hours is not too old."""
    ended_after(db, OTHERS[:30], timedelta(hours=30))
    plan_each(db, "besitos", "slow-1", "slow-2")
    await run(stages, Action.ERASURE)
    stages.advance(hours=25)
    await run(stages, Action.ERASURE)
    assert sizes(sandbox) == [2]
    stages.advance(hours=6)
    await run(stages, Action.ERASURE)
    assert sizes(sandbox) == [2, 1, 1]


async def test_the_wait_for_the_next_run_makes_no_account_slow(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The jobs end after the run has stopped polling, so the next daily run notices this after a day. The
    batch of yesterday is still too old for today's run.
    """
    plan_each(db, "besitos", *OTHERS[:30], "slow-1", "slow-2")
    ids = {row["request_id"]: row["id"] for row in rows(db)}
    now = datetime.now(UTC)
    done = [ids[name] for name in OTHERS[:30]]
    put_into(
        db, done, {"state": "completed", "submitted_at": now - timedelta(hours=24.5), "finished_at": now}
    )
    await run(stages, Action.ERASURE)
    stages.advance(hours=24)
    await run(stages, Action.ERASURE)
    assert sizes(sandbox) == [2, 1, 1]


@pytest.mark.parametrize(("earlier", "hours"), [(30, 0.1), (19, 30)], ids=["fast", "short history"])
async def test_a_fast_account_or_a_short_history_has_the_usual_time_of_the_setting(
    db: Database, sandbox: Sandbox, stages: Stages, earlier: int, hours: float
) -> None:
    """The usual time is one hour, so the batch becomes too old after ten hours."""
    ended_after(db, OTHERS[:earlier], timedelta(hours=hours))
    plan_each(db, "besitos", "slow-1", "slow-2")
    await run(stages, Action.ERASURE)
    stages.advance(hours=9)
    await run(stages, Action.ERASURE)
    assert sizes(sandbox) == [2]
    stages.advance(hours=2)
    await run(stages, Action.ERASURE)
    assert sizes(sandbox) == [2, 1, 1]


def test_a_failed_job_is_not_compared(db: Database) -> None:
    """We may have given up on it, so it does not show that the vendor ends jobs."""
    now = datetime.now(UTC)
    plan_each(db, "besitos", "failed", "completed")
    sent = {"attempted_at": now, "submitted_at": now, "finished_at": now}
    for row in rows(db):
        put_into(db, [row["id"]], {**sent, "state": row["request_id"], "job_id": row["request_id"]})
    found = stuck_jobs.recent_jobs(db, "besitos", since=now - timedelta(hours=1))
    assert [job.job_id for job in found] == ["completed"]


async def test_no_reply_about_a_batch_gives_it_up(db: Database, sandbox: Sandbox, stages: Stages) -> None:
    """If the vendor gives no usable reply about a batch, the batch is kept. The error does not stop
    `submit`.
    """
    plan_each(db, "besitos", "slow-1", "slow-2")
    await run(stages, Action.ERASURE)
    for fault in ({"status": 503}, {"status": 401}, {"status": 404}):
        stages.advance(hours=24)
        plan(db, request(f"r{fault['status']}", submission(f"u{fault['status']}")))
        sandbox.inject("status", vendor="besitos", route="status", times=1, **fault)
        assert (await stages.submit("besitos")).submitted == 1
        assert (states(db)["slow-1"], states(db)["slow-2"]) == ("submitted", "submitted")
    stages.advance(hours=24)
    other = PENDING.replace('"status"', '"id": "another", "status"')
    sandbox.inject("body", vendor="besitos", route="status", times=1, body=other)
    await stages.submit("besitos")
    assert (states(db)["slow-1"], states(db)["slow-2"]) == ("submitted", "submitted")
    sandbox.advance(60 * 24 * HOURS)  # the batch ends before a run asks for it
    await stages.submit("besitos")
    await stages.poll("besitos", seconds=1)
    assert set(states(db).values()) == {"completed"}
    assert events(db) == []


@pytest.mark.parametrize("status", [401, 429])
async def test_a_vendor_that_refuses_or_is_busy_is_asked_for_no_other_batch(
    db: Database, sandbox: Sandbox, stages: Stages, status: int
) -> None:
    """Three of seven batches do not end, so all three are exceptions."""
    plan_each(db, "besitos", *(f"{'slow' if n in (1, 3, 5) else 'u'}-{n}" for n in range(14)))
    await run(stages, Action.ERASURE, users_per_call=2)
    stages.advance(hours=24)
    asked = sandbox.calls()["besitos"]["status"]
    sandbox.inject("status", vendor="besitos", route="status", times=None, status=status)
    await stages.submit("besitos", max_concurrency=1)
    assert sandbox.calls()["besitos"]["status"] == asked + 1


async def test_a_run_for_one_request_gives_up_only_its_submission(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The submission of the other request stays in the old job."""
    plan_each(db, "besitos", "slow-1", "slow-2")
    await run(stages, Action.ERASURE)
    stages.advance(hours=24)
    await stages.submit("besitos", request_pks=[rows(db)[0]["request"]])
    one, other = (row["job_id"] for row in rows(db))
    assert [job.job_id for job in sandbox.jobs()] == [other, one]
