"""Await: what the polls find, when they are made, and what becomes of a job that never ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest

from include.dsar.errors import CredentialsRefused
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.job_failures import JOB_FORGOTTEN
from include.dsar.ledger.database import Database
from include.dsar.model import Action, IdentityKind
from include.dsar.stages import poll as poll_module
from include.dsar.stages.poll import PollResult, next_poll, poll_open_jobs
from include.dsar.stages.submit import submit
from include.dsar.vendors.besitos import Besitos
from include.dsar.vendors.vendor import JobStatus
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork
from tests.integration.requests_given import (
    Clock,
    events,
    plan,
    put_into,
    request,
    rows,
    states,
    submission,
)

pytestmark = pytest.mark.asyncio


class Watch(Protocol):
    async def __call__(self, account: str, *, seconds: float = 3, **extra: Any) -> PollResult: ...


@pytest.fixture
def look(open_work: OpenWork) -> Watch:
    """A watch that begins now."""

    async def run_one(
        account: str, *, seconds: float = 3, clock: Clock | None = None, vendor: Any = None, **extra: Any
    ) -> PollResult:
        async with open_work(account, **extra) as opened:
            work: AccountWork = replace(opened, clock=clock or Clock(), vendor=vendor or opened.vendor)
            now = work.clock()
            return await poll_open_jobs(work, since=now, until=now + timedelta(seconds=seconds))

    return run_one


async def send(
    db: Database,
    open_work: OpenWork,
    account: str,
    values: Sequence[str],
    action: Action = Action.ERASURE,
    **extra: Any,
) -> None:
    """A request for each value, named after it, submitted."""
    kind = IdentityKind.USER_ID if account in ("besitos", "batch") else IdentityKind.EMAIL
    plan(db, *(request(v, submission(v, account, kind), action=action) for v in values))
    async with open_work(account, **extra) as work:
        await submit(work)


def age(db: Database, **units: float) -> None:
    """All open jobs become older."""
    past = datetime.now(UTC) - timedelta(**units)
    put_into(db, [row["id"] for row in rows(db)], {"submitted_at": past})


async def test_each_person_of_a_batch_has_an_outcome_of_their_own(
    db: Database, open_work: OpenWork, look: Watch
) -> None:
    """A deletion that found some and not others is completed for the ones, no data for the others."""
    await send(db, open_work, "besitos", ["u1", "unknown-2", "u3"])
    seen = await look("besitos")
    assert states(db) == {"u1": "completed", "unknown-2": "no_data", "u3": "completed"}
    assert (seen.ended, seen.open_jobs, seen.failed_polls) == (3, 0, 0)
    assert all(row["finished_at"] for row in rows(db))
    assert events(db) == []


@pytest.mark.parametrize(
    ("account", "value", "state"),
    [
        ("batch", "u1", "completed"), ("batch", "unknown-1", "no_data"), ("batch", "jobfails-1", "failed"),
        ("id5", "a@example.com", "completed"), ("attentive", "a@example.com", "completed"),
    ],
)  # fmt: skip
async def test_not_found_and_failed_are_told_from_completed(
    db: Database, open_work: OpenWork, look: Watch, account: str, value: str, state: str
) -> None:
    """A failure is on record with its reason."""
    await send(db, open_work, account, [value])
    await look(account)
    assert states(db) == {value: state}
    assert len(events(db)) == (state == "failed")


@pytest.mark.parametrize("account", ["besitos", "batch"])
async def test_an_access_request_is_ready_to_be_collected(
    db: Database, open_work: OpenWork, look: Watch, account: str
) -> None:
    """The watch reads the state, not the result."""
    await send(db, open_work, account, ["u1"], Action.ACCESS)
    seen = await look(account)
    assert (seen.ready, states(db)) == (1, {"u1": "ready"})


async def test_a_batch_that_failed_is_sent_again_in_smaller_ones(
    db: Database, open_work: OpenWork, look: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the one that makes it fail stands alone; the others complete."""
    values = [f"u{n}" for n in range(11)] + ["jobfails-1"]
    await send(db, open_work, "besitos", values)
    seen = await look("besitos")
    assert (seen.planned_again, set(states(db).values())) == (12, {"planned"})
    assert {row["batch_limit"] for row in rows(db)} == {1}
    assert {event["reason"] for event in events(db)} == {poll_module.BATCH_FAILED}
    async with open_work("besitos") as work:
        await submit(work)
    seen = await look("besitos")
    found = states(db)
    assert (found.pop("jobfails-1"), set(found.values())) == ("failed", {"completed"})


async def test_the_outcome_of_an_earlier_batch_does_not_reach_the_later_one(
    db: Database, open_work: OpenWork, sandbox: Sandbox, look: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch that ran twice for a moment reads the first job; the second one decides."""
    await send(db, open_work, "besitos", ["u1", "jobfails-1"])
    sandbox.inject("slow_drip", vendor="besitos", route="status", seconds=1)
    slow = asyncio.create_task(look("besitos"))
    await asyncio.sleep(0.4)
    await look("besitos", poll_min_seconds=0.01)
    assert set(states(db).values()) == {"planned"}
    async with open_work("besitos") as work:
        await submit(work)
    await slow
    assert set(states(db).values()) == {"submitted"}


async def test_a_job_that_the_vendor_does_not_know_gets_an_hour_to_appear(
    db: Database, open_work: OpenWork, look: Watch
) -> None:
    """Then it has failed, with that reason."""
    await send(db, open_work, "batch", ["u1"])
    put_into(db, [row["id"] for row in rows(db)], {"job_id": "gone"})
    seen = await look("batch", seconds=0.5)
    assert (states(db), seen.open_jobs) == ({"u1": "submitted"}, 1)
    age(db, hours=2)
    await look("batch")
    assert states(db) == {"u1": "failed"}
    assert rows(db)[0]["reason"] == JOB_FORGOTTEN


async def test_a_job_that_never_ends_fails_past_its_accounts_limit(
    db: Database, open_work: OpenWork, look: Watch
) -> None:
    """Attentive knows no failure: 30 days and some grace; whether it answers or not."""
    await send(db, open_work, "attentive", ["jobfails@example.com"])
    age(db, days=36)
    await look("attentive", seconds=0.5)
    assert set(states(db).values()) == {"submitted"}
    age(db, days=38)
    await look("attentive", base_url="http://127.0.0.1:1")
    assert set(states(db).values()) == {"failed"}
    assert rows(db)[0]["reason"] == "no end after 37 days"


class Stumbling(Besitos):
    """Besitos' module with a mistake in it, or with a reply that speaks of others only."""

    name = "stumbling"

    def read_status(self, action: Any, reply: Any) -> JobStatus:
        if b"poison" in reply.body:
            raise KeyError("a value that must not be shown")
        status = super().read_status(action, reply)
        if status.ended and status.outcome and b"unmentioned" in reply.body:
            return replace(status, outcome=None, outcomes={"somebody else": status.outcome})
        return status


@pytest.mark.parametrize("value", ["poison", "unmentioned"])
async def test_a_reply_that_cannot_be_read_stops_no_other_and_ends_some_day(
    db: Database, open_work: OpenWork, look: Watch, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The others' outcomes are taken; past the limit the unreadable one has failed."""
    await send(db, open_work, "besitos", [value, "u1", "u2"], users_per_call=1)
    seen = await look("besitos", seconds=1, vendor=Stumbling())
    assert states(db) == {value: "submitted", "u1": "completed", "u2": "completed"}
    assert seen.failed_polls >= 1
    assert "shown" not in caplog.text
    age(db, days=8)
    await look("besitos", vendor=Stumbling())
    assert states(db)[value] == "failed"


async def test_refused_credentials_end_the_watch_with_the_connections_name(
    db: Database, open_work: OpenWork, look: Watch
) -> None:
    """Outcomes that were read before are in the ledger; the jobs go on at the vendor."""
    await send(db, open_work, "batch", [f"u{n}" for n in range(9)])
    with pytest.raises(CredentialsRefused, match="connection batch_default"):
        await look("batch", secret="no")
    assert set(states(db).values()) == {"submitted"}
    await look("batch")
    assert set(states(db).values()) == {"completed"}


async def test_outcomes_read_before_the_watch_broke_off_are_kept(
    db: Database, open_work: OpenWork, sandbox: Sandbox, look: Watch
) -> None:
    """What the other polls found is written, whatever ends the watch."""
    await send(db, open_work, "batch", [f"u{n}" for n in range(8)])
    sandbox.advance(60)
    async with open_work("batch", max_concurrency=1, requests_per_second=20) as work:
        now = work.clock()
        running = asyncio.create_task(poll_open_jobs(work, since=now, until=now + timedelta(seconds=9)))
        while sandbox.calls()["batch"].get("status", 0) < 4:  # noqa: ASYNC110 - it happens in another thread
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert 3 <= list(states(db).values()).count("completed") < 8


async def test_polls_are_made_at_their_times_and_no_others(
    db: Database, open_work: OpenWork, sandbox: Sandbox, look: Watch
) -> None:
    """Four a job in this window; the watch ends as soon as none is due within it."""
    await send(db, open_work, "batch", ["slow-1", "slow-2", "slow-3"])
    began = time.monotonic()
    seen = await look("batch", seconds=1.5, poll_min_seconds=0.4, poll_max_seconds=0.4)
    assert time.monotonic() - began < 1.9
    calls = sandbox.calls()["batch"]["status"]
    assert seen.polls == calls
    assert 6 <= calls <= 3 * 4
    assert (seen.open_jobs, seen.ended) == (3, 0)
    assert seen.next_poll_at
    assert seen.oldest_submitted_at


async def test_a_watch_ends_at_once_where_nothing_is_due_before_its_end(
    db: Database, open_work: OpenWork, sandbox: Sandbox, look: Watch
) -> None:
    """A vendor that takes weeks holds no run open; the next poll's time is told."""
    await send(db, open_work, "attentive", ["slow@example.com"])
    began = time.monotonic()
    seen = await look("attentive", seconds=3600, poll_min_seconds=21_600, poll_max_seconds=86_400)
    assert time.monotonic() - began < 5
    assert (seen.polls, seen.open_jobs, sandbox.calls()["attentive"].get("status")) == (0, 1, None)
    async with open_work("attentive", poll_min_seconds=21_600, poll_max_seconds=86_400) as work:
        due = next_poll(work.db, work.settings, datetime.now(UTC))
    assert due is not None
    assert seen.next_poll_at == due.isoformat(timespec="seconds")
    assert timedelta(hours=5) < due - datetime.now(UTC) < timedelta(hours=7)


async def test_without_open_jobs_there_is_nothing_to_watch(
    db: Database, open_work: OpenWork, look: Watch
) -> None:
    """The watch ends at once, and no poll is due."""
    assert (await look("batch", seconds=99)).polls == 0
    async with open_work("batch") as work:
        assert next_poll(work.db, work.settings, datetime.now(UTC)) is None


async def test_trouble_passes(db: Database, open_work: OpenWork, sandbox: Sandbox, look: Watch) -> None:
    """Replies that are lost, refused or unreadable are asked for again, at their times."""
    await send(db, open_work, "id5", ["a@example.com"])
    spoilt: list[tuple[str, dict[str, Any]]] = [
        ("reset_before", {}), ("status", {"status": 503}), ("html", {}), ("truncated", {}), ("empty", {}),
        ("status", {"status": 429, "headers": {"Retry-After": "1"}}), ("body", {"body": '{"jobStatus": 1}'}),
    ]  # fmt: skip
    for kind, fields in spoilt:
        sandbox.inject(kind, vendor="id5", route="status", **fields)
    seen = await look("id5", seconds=20)
    assert set(states(db).values()) == {"completed"}
    assert sandbox.calls()["id5"]["status"] == 8
    assert seen.polls - seen.failed_polls == 1


async def test_two_watches_at_once_agree(
    db: Database, open_work: OpenWork, sandbox: Sandbox, look: Watch
) -> None:
    """A trigger may for a moment run twice: each outcome is recorded once, and both end."""
    await send(db, open_work, "besitos", [f"u{n}" for n in range(30)], users_per_call=3)
    both = await asyncio.gather(look("besitos", seconds=20), look("besitos", seconds=20))
    assert sum(seen.ended for seen in both) == 30
    assert set(states(db).values()) == {"completed"}
