"""Vendors misbehaving for longer than one call, or towards many at once."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.errors import CredentialsRefused, ReplyLost, VendorUnavailable
from include.dsar.http.client import MAX_REPLY_BYTES
from include.dsar.ledger.database import Database
from include.dsar.model import Action, IdentityKind, Regulation, Subject
from include.dsar.stages import submit as submit_module
from include.dsar.stages.collect import collect
from include.dsar.stages.poll import poll_open_jobs
from include.dsar.stages.submit import submit
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork
from tests.integration.fault_table import HUGE
from tests.integration.requests_given import Clock, events, plan, request, rows, states, submission

VENDORS = ("besitos", "batch", "id5", "attentive")
MANY = 30


def plan_many(db: Database, account: str, count: int = MANY, action: Action = Action.ERASURE) -> None:
    kind = IdentityKind.USER_ID if account in ("besitos", "batch") else IdentityKind.EMAIL
    persons = [submission(f"u{n}@example.com", account, kind) for n in range(count)]
    plan(db, *(request(f"r-{n}", one, action=action) for n, one in enumerate(persons)))


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_errors_for_minutes_and_then_recovery(
    db: Database,
    open_work: OpenWork,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    vendor: str,
    status: int,
) -> None:
    """An account that answers nobody is left alone soon, in each run; when it recovers, all is sent once."""
    monkeypatch.setattr(submit_module, "MAX_WAIT", timedelta())
    plan_many(db, vendor)
    clock = Clock()
    is_busy = vendor == "batch" and status == 503  # its own maintenance answer: surely not taken
    sandbox.inject("status", status=status, vendor=vendor, route="create", times=None)
    for run in range(3):
        before = sandbox.calls().get(vendor, {}).get("create", 0)
        async with open_work(vendor, users_per_call=1, max_concurrency=4) as work:
            with nullcontext() if is_busy else pytest.raises(VendorUnavailable):
                await submit(replace(work, clock=clock))
        calls = sandbox.calls()[vendor]["create"] - before
        assert calls == MANY if is_busy else 10 <= calls < 10 + 4
        assert set(states(db).values()) <= {"planned", "uncertain"}
        wait = 86_400 if vendor == "id5" else 120 * (run + 1)
        clock.advance(seconds=wait)
        sandbox.advance(wait)
    sandbox.clear_faults()
    async with open_work(vendor) as work:
        await submit(replace(work, clock=clock))
    assert set(states(db).values()) == {"submitted"}
    taken = [value for entry in sandbox.book() for value in entry.values]
    assert len(taken) == len(set(taken)) == MANY
    assert all(event["reason"] for event in events(db))


IN_AN_HOUR = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "told"), [(429, "3600"), (503, IN_AN_HOUR)], ids=["429-seconds", "503-date"]
)
@pytest.mark.parametrize(
    ("stage", "vendor"),
    [*((s, v) for s in ("submit", "watch") for v in VENDORS), ("collect", "besitos"), ("collect", "batch")],
)
async def test_retry_after_is_a_floor_for_every_call(
    db: Database,
    open_work: OpenWork,
    sandbox: Sandbox,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    vendor: str,
    status: int,
    told: str,
) -> None:
    """A POST, a poll and a result that meet it are the only call; what was to be done is done later."""
    monkeypatch.setattr(submit_module, "MAX_WAIT", timedelta())
    action = Action.ACCESS if stage == "collect" else Action.ERASURE
    plan_many(db, vendor, 12, action)
    clock = Clock()

    async def run(one: str) -> None:
        async with open_work(vendor, users_per_call=1, max_concurrency=1) as opened:
            work, now = replace(opened, clock=clock), clock()
            match one:
                case "submit":
                    await submit(work)
                case "watch":
                    await poll_open_jobs(work, since=now, until=now + timedelta(seconds=0.2))
                case "collect":
                    await collect(work, storage)

    def calls() -> int:
        return sum(sandbox.calls().get(vendor, {}).get(route, 0) for route in ("create", "status"))

    stages = ("submit", "watch", "collect")
    for earlier in stages[: stages.index(stage)]:
        await run(earlier)
        clock.advance(hours=1)
        sandbox.advance(3600)
    before, states_before = calls(), states(db)
    sandbox.inject("status", vendor=vendor, status=status, headers={"Retry-After": told})
    with nullcontext() if stage == "watch" else pytest.raises(VendorUnavailable):
        await run(stage)
    assert calls() == before + 1
    assert {*states(db).values()} <= {*states_before.values(), "uncertain"}
    clock.advance(days=1)
    sandbox.advance(86_400)
    await run(stage)
    assert not {*states(db).values()} & {*states_before.values()}


@pytest.mark.asyncio
@pytest.mark.parametrize("vendor", VENDORS)
async def test_credentials_that_end_in_mid_run(
    db: Database, open_work: OpenWork, sandbox: Sandbox, vendor: str
) -> None:
    """What was sent before stays sent, the rest stays planned and untried, and a mended secret goes on."""
    plan_many(db, vendor)
    async with open_work(vendor, users_per_call=1, max_concurrency=4, requests_per_second=40) as work:
        sending = asyncio.create_task(submit(work))
        while len(sandbox.book()) < 5:  # noqa: ASYNC110 - the sandbox runs in a thread of its own
            await asyncio.sleep(0.005)
        sandbox.inject("status", status=401, vendor=vendor, times=None)
        with pytest.raises(CredentialsRefused):
            await sending
    sent = len(sandbox.book())
    assert 5 <= sent < MANY
    assert sorted(states(db).values()) == ["planned"] * (MANY - sent) + ["submitted"] * sent
    assert {row["attempts"] for row in rows(db) if row["state"] == "planned"} == {0}
    assert sandbox.calls()[vendor]["create"] < sent + 3 + 4  # three refusals, and what was under way
    sandbox.clear_faults()
    async with open_work(vendor) as work:
        await submit(work)
    assert set(states(db).values()) == {"submitted"}
    assert sum(len(entry.subjects) for entry in sandbox.book()) == MANY
    assert events(db) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_post_is_never_repeated_by_itself(open_work: OpenWork, sandbox: Sandbox, vendor: str) -> None:
    """On a kept connection that is reset aiohttp repeats a GET, and no POST: the vendor sees it once."""
    kind = IdentityKind.USER_ID if vendor in ("besitos", "batch") else IdentityKind.EMAIL
    now = datetime.now(UTC)
    mails = (f"u{n}@example.com" for n in range(3))
    subjects = [Subject(n, {kind: mail}, Regulation.GDPR, f"r-{n}", now) for n, mail in enumerate(mails)]
    async with open_work(vendor, max_concurrency=1) as work:
        create = [work.vendor.create(work.settings, Action.ERASURE, [subject]) for subject in subjects]
        job = work.vendor.read_created(await work.client.send(create[0]))  # opens the connection
        for kind_of_reset, posted in (("reset_before", create[1]), ("reset_after", create[2])):
            before = sandbox.calls()[vendor]["create"]
            sandbox.inject(kind_of_reset, vendor=vendor, route="create")
            with pytest.raises(ReplyLost):
                await work.client.send(posted)
            assert sandbox.calls()[vendor]["create"] == before + 1
            await work.client.send(work.vendor.status(work.settings, job))  # a connection that is kept
        before = sandbox.calls()[vendor]["status"]
        sandbox.inject("reset_before", vendor=vendor, route="status")
        reply = await work.client.send(work.vendor.status(work.settings, job))
        assert reply.status == 200
        assert sandbox.calls()[vendor]["status"] == before + 2
    assert len(sandbox.book()) == 2  # the first, and the one that was reset after it was taken


@pytest.mark.asyncio
async def test_huge_replies_to_many_calls_at_once(
    db: Database, open_work: OpenWork, sandbox: Sandbox
) -> None:
    """200 MB for each of six polls that run at once: memory holds little more than one of our limits."""
    plan_many(db, "attentive", 6)
    clock = Clock()
    async with open_work("attentive") as work:
        await submit(work)
        sandbox.inject(vendor="attentive", route="status", times=None, announced=False, **HUGE)
        tracemalloc.start()
        try:
            since = clock() + timedelta(seconds=1)
            watched = await poll_open_jobs(
                replace(work, clock=lambda: since), since=since, until=since + timedelta(seconds=0.1)
            )
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert watched.failed_polls == watched.polls >= 6
    assert MAX_REPLY_BYTES / 2 < peak < 2 * MAX_REPLY_BYTES
