"""The poll stage finds outcomes, polls at the right times, and gives up on jobs that never end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.dsar.errors import CredentialsRefused
from include.dsar.ledger.database import Database
from include.dsar.model import Action, Outcome, State
from include.dsar.stages.poll import BATCH_FAILED, next_poll
from include.dsar.vendors.batch import Batch
from include.dsar.vendors.besitos import Besitos
from include.dsar.vendors.vendor import JobStatus
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork
from tests.integration.requests_given import events, put_into, rows, states
from tests.integration.stage_runs import Stages, plan_each, poll


async def send(
    db: Database, stages: Stages, account: str, *values: str, action: Action = Action.ERASURE, **extra: Any
) -> None:
    """Adds a request for each value and submits it. The request id is the value."""
    plan_each(db, account, *values, action=action)
    await stages.submit(account, **extra)


def age(db: Database, **units: float) -> None:
    """Makes all open jobs older."""
    past = datetime.now(UTC) - timedelta(**units)
    put_into(db, [row["id"] for row in rows(db)], {"submitted_at": past})


async def test_each_data_subject_in_a_batch_gets_an_outcome(db: Database, stages: Stages) -> None:
    """The vendor found only some of the data subjects. Each data subject gets the outcome from the reply."""
    await send(db, stages, "besitos", "u1", "unknown-2", "u3")
    polled = await stages.poll("besitos")
    assert states(db) == {"u1": "completed", "unknown-2": "no_data", "u3": "completed"}
    assert (polled.ended, polled.open_jobs, polled.failed_polls) == (3, 0, 0)
    assert all(row["finished_at"] for row in rows(db))
    assert events(db) == []


@pytest.mark.parametrize(
    ("account", "value", "state"),
    [
        ("batch", "u1", "completed"), ("batch", "unknown-1", "no_data"), ("batch", "jobfails-1", "failed"),
        ("id5", "a@example.com", "completed"), ("attentive", "a@example.com", "completed"),
    ],
)  # fmt: skip
async def test_each_vendors_outcome_is_recognised(
    db: Database, stages: Stages, account: str, value: str, state: str
) -> None:
    """The ledger records a failure with its reason."""
    await send(db, stages, account, value)
    await stages.poll(account)
    assert states(db) == {value: state}
    assert len(events(db)) == (state == "failed")


@pytest.mark.parametrize("account", ["besitos", "batch"])
async def test_an_ended_access_job_is_ready_to_be_collected(
    db: Database, stages: Stages, account: str
) -> None:
    """A poll reads the state of the job, not its result."""
    await send(db, stages, account, "u1", action=Action.ACCESS)
    assert ((await stages.poll(account)).ready, states(db)) == (1, {"u1": "ready"})


async def test_a_failed_batch_is_sent_again_in_smaller_ones(db: Database, stages: Stages) -> None:
    """Finally the bad id fails alone, and the other submissions are completed."""
    await send(db, stages, "besitos", *(f"u{n}" for n in range(11)), "jobfails-1")
    polled = await stages.poll("besitos")
    assert (polled.planned_again, set(states(db).values())) == (12, {"planned"})
    assert {row["batch_limit"] for row in rows(db)} == {1}
    assert {event["reason"] for event in events(db)} == {BATCH_FAILED}
    await stages.submit("besitos")
    await stages.poll("besitos")
    found = states(db)
    assert (found.pop("jobfails-1"), set(found.values())) == ("failed", {"completed"})


async def test_the_outcome_of_an_earlier_batch_does_not_reach_the_later_one(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """A trigger that ran twice reads the first job late. Only the outcome of the second job counts."""
    await send(db, stages, "besitos", "u1", "jobfails-1")
    sandbox.inject("slow_drip", vendor="besitos", route="status", seconds=1)
    slow = asyncio.create_task(stages.poll("besitos"))
    await asyncio.sleep(0.4)
    await stages.poll("besitos", poll_min_seconds=0.01)
    assert set(states(db).values()) == {"planned"}
    await stages.submit("besitos")
    await slow
    assert set(states(db).values()) == {"submitted"}


async def test_a_job_that_never_ends_fails_after_give_up_after_days(db: Database, stages: Stages) -> None:
    """Attentive reports no failures, so a job that never ends fails after give_up_after_days."""
    await send(db, stages, "attentive", "jobfails@example.com")
    age(db, days=36)
    await stages.poll("attentive", seconds=0.5)
    assert set(states(db).values()) == {"submitted"}
    age(db, days=38)
    await stages.poll("attentive", seconds=0.5)
    assert set(states(db).values()) == {"failed"}
    assert rows(db)[0]["reason"] == "the job did not end in 37 days"


class FaultyBesitos(Besitos):
    """Besitos' module with a fault in it, or with a reply that names only other data subjects."""

    name = "faulty"

    def read_status(self, action: Any, reply: Any) -> JobStatus:
        if b"poison" in reply.body:
            raise KeyError("a value that must not be shown")
        status = super().read_status(action, reply)
        if status.ended and b"unmentioned" in reply.body:
            return replace(status, outcome=None, outcomes={"somebody else": Outcome(State.COMPLETED)})
        return status


@pytest.mark.parametrize("value", ["poison", "unmentioned"])
async def test_an_unreadable_reply_does_not_stop_other_jobs(
    db: Database, stages: Stages, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the job with the unreadable reply fails, after give_up_after_days."""
    await send(db, stages, "besitos", value, "u1", "u2", users_per_call=1)
    polled = await stages.poll("besitos", seconds=1, vendor=FaultyBesitos())
    assert states(db) == {value: "submitted", "u1": "completed", "u2": "completed"}
    assert polled.failed_polls >= 1
    assert "shown" not in caplog.text
    age(db, days=8)
    await stages.poll("besitos", vendor=FaultyBesitos())
    assert states(db)[value] == "failed"


async def test_refused_credentials_name_the_connection(db: Database, stages: Stages) -> None:
    """The jobs stay open, and a later poll finds their outcomes."""
    await send(db, stages, "batch", *(f"u{n}" for n in range(9)))
    with pytest.raises(CredentialsRefused, match="connection batch_default"):
        await stages.poll("batch", secret="no")
    assert set(states(db).values()) == {"submitted"}
    await stages.poll("batch")
    assert set(states(db).values()) == {"completed"}


async def test_a_cancelled_trigger_records_the_outcomes_that_it_found(
    db: Database, open_work: OpenWork, sandbox: Sandbox, stages: Stages
) -> None:
    """A cancelled trigger records the outcomes that it found. The other jobs stay open."""
    await send(db, stages, "batch", *(f"u{n}" for n in range(8)))
    sandbox.advance(60)
    async with open_work("batch", max_concurrency=1, requests_per_second=20) as work:
        running = asyncio.create_task(poll(work, 9))
        while sandbox.calls()["batch"].get("status", 0) < 4:  # noqa: ASYNC110 - it happens in another thread
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert 3 <= list(states(db).values()).count("completed") < 8


async def test_jobs_are_polled_only_when_their_polls_are_due(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """Each job gets at most four polls. Polling ends when the next poll would be due after the end of the
    window.
    """
    await send(db, stages, "batch", "slow-1", "slow-2", "slow-3")
    started = time.monotonic()
    polled = await stages.poll("batch", seconds=1.5, poll_min_seconds=0.4, poll_max_seconds=0.4)
    assert time.monotonic() - started < 1.9
    assert polled.polls == sandbox.calls()["batch"]["status"]
    assert 6 <= polled.polls <= 3 * 4
    assert (polled.open_jobs, polled.ended) == (3, 0)
    assert polled.next_poll_at
    assert polled.oldest_submitted_at


async def test_polling_ends_at_once_if_no_poll_is_due_in_the_window(
    db: Database, open_work: OpenWork, sandbox: Sandbox, stages: Stages
) -> None:
    """A vendor that takes weeks does not delay a run. The result has the time of the next poll."""
    await send(db, stages, "attentive", "slow@example.com")
    rare = {"poll_min_seconds": 21_600, "poll_max_seconds": 86_400}
    started = time.monotonic()
    polled = await stages.poll("attentive", seconds=3600, **rare)
    assert time.monotonic() - started < 5
    assert (polled.polls, polled.open_jobs, sandbox.calls()["attentive"].get("status")) == (0, 1, None)
    async with open_work("attentive", **rare) as work:
        due = next_poll(work.db, work.settings, datetime.now(UTC))
    assert due is not None
    assert polled.next_poll_at == due.isoformat(timespec="seconds")
    assert timedelta(hours=5) < due - datetime.now(UTC) < timedelta(hours=7)


async def test_no_poll_starts_after_the_window(db: Database, sandbox: Sandbox, stages: Stages) -> None:
    """The window ends on time, even if more polls are due than the window has time for. The result counts
    the polls that were not made.
    """
    await send(db, stages, "batch", *(f"slow-{n}" for n in range(20)))
    started = time.monotonic()
    polled = await stages.poll("batch", seconds=1, requests_per_second=5, poll_min_seconds=0.1)
    assert time.monotonic() - started < 2
    assert polled.polls == sandbox.calls()["batch"]["status"] <= 6
    assert polled.open_jobs == 20
    assert polled.not_reached >= 14
    assert polled.next_poll_at


async def test_the_next_window_begins_with_the_jobs_that_were_not_reached(
    db: Database, stages: Stages
) -> None:
    """The next window begins with the jobs that were not reached, so short windows poll every job in turn."""
    await send(db, stages, "batch", *(f"slow-{n}" for n in range(20)))
    age(db, days=2)
    asked: list[str] = []
    polled: set[str] = set()

    class Notes(Batch):
        def status(self, settings: Any, job_id: str) -> Any:
            asked.append(job_id)
            return super().status(settings, job_id)

        def read_status(self, action: Any, reply: Any) -> JobStatus:
            polled.add(asked[-1])
            return super().read_status(action, reply)

    pace = {"requests_per_second": 6, "max_concurrency": 1, "poll_min_seconds": 0.1, "poll_max_seconds": 3600}
    for _ in range(5):
        await stages.poll("batch", seconds=1, vendor=Notes(), **pace)
    assert polled == {row["job_id"] for row in rows(db)}


async def test_without_open_jobs_no_poll_is_due(db: Database, open_work: OpenWork, stages: Stages) -> None:
    """Polling ends at once if no job is open."""
    assert (await stages.poll("batch", seconds=99)).polls == 0
    async with open_work("batch") as work:
        assert next_poll(work.db, work.settings, datetime.now(UTC)) is None


async def test_a_failed_poll_is_repeated_when_the_next_one_is_due(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """A lost, refused or unreadable reply does not end the job. The job is polled again when its next poll
    is due.
    """
    await send(db, stages, "id5", "a@example.com")
    faults: list[tuple[str, dict[str, Any]]] = [
        ("reset_before", {}), ("status", {"status": 503}), ("html", {}), ("truncated", {}), ("empty", {}),
        ("status", {"status": 429, "headers": {"Retry-After": "1"}}), ("body", {"body": '{"jobStatus": 1}'}),
    ]  # fmt: skip
    for kind, fields in faults:
        sandbox.inject(kind, vendor="id5", route="status", **fields)
    polled = await stages.poll("id5", seconds=20)
    assert set(states(db).values()) == {"completed"}
    assert sandbox.calls()["id5"]["status"] == 8
    assert polled.polls - polled.failed_polls == 1


async def test_two_triggers_at_once_record_each_outcome_once(db: Database, stages: Stages) -> None:
    """A trigger may run twice for a while. Both runs of the trigger end."""
    await send(db, stages, "besitos", *(f"u{n}" for n in range(30)), users_per_call=3)
    both = await asyncio.gather(stages.poll("besitos", seconds=20), stages.poll("besitos", seconds=20))
    assert sum(polled.ended for polled in both) == 30
    assert set(states(db).values()) == {"completed"}
