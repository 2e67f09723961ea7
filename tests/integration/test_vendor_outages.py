"""A vendor may have a fault for longer than one call, or for many calls at once."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from include.dsar.errors import CredentialsRefused, ReplyLost, VendorUnavailable
from include.dsar.http.client import MAX_REPLY_BYTES
from include.dsar.ledger.database import Database
from include.dsar.model import Action, Subject
from include.dsar.stages.submit import submit
from include.dsar.vendors import VENDORS
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork
from tests.integration.fault_table import HUGE
from tests.integration.requests_given import events, rows, states, submission
from tests.integration.stage_runs import Stages, plan_each, poll, sent

VALUES = [f"u{n}@example.com" for n in range(30)]


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_vendor_that_answers_no_call_is_not_called_until_the_next_run(
    db: Database, sandbox: Sandbox, stages: Stages, vendor: str, status: int
) -> None:
    """After the vendor recovers, everything is sent once. An attempt counts only if a call was made."""
    plan_each(db, vendor, *VALUES)
    is_busy = vendor == "batch" and status == 503  # a 503 of Batch means maintenance: no job was created
    sandbox.inject("status", status=status, vendor=vendor, route="create", times=None)
    for run in range(3):
        before = sandbox.calls().get(vendor, {}).get("create", 0)
        with nullcontext() if is_busy else pytest.raises(VendorUnavailable, match=f"HTTP {status}"):
            await stages.submit(vendor, users_per_call=1, max_concurrency=4)
        calls = sandbox.calls()[vendor]["create"] - before
        assert calls == len(VALUES) if is_busy else 10 <= calls < 10 + 4
        assert set(states(db).values()) == ({"planned"} if is_busy else {"planned", "uncertain"})
        if run == 0 and not is_busy:
            assert {row["attempts"] for row in rows(db) if row["state"] == "planned"} == {0}
        stages.advance(seconds=86_400 if vendor == "id5" else 120 * (run + 1))
    sandbox.clear_faults()
    await stages.submit(vendor)
    assert set(states(db).values()) == {"submitted"}
    assert len(sent(sandbox)) == len(set(sent(sandbox))) == len(VALUES)
    assert all(event["reason"] for event in events(db))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("stage", "vendor"),
    [
        *((stage, name) for stage in ("submit", "poll") for name in VENDORS),
        *(("collect", name) for name, vendor in VENDORS.items() if vendor.returns_data),
    ],
)
async def test_no_further_call_is_made_before_retry_after_is_over(
    db: Database, sandbox: Sandbox, stages: Stages, stage: str, vendor: str, status: int
) -> None:
    """No stage makes a call before Retry-After is over. No stage waits for an hour while it holds a claim;
    a later run continues.
    """
    plan_each(db, vendor, *VALUES[:12], action=Action.ACCESS if stage == "collect" else Action.ERASURE)

    async def run(one: str, seconds: float = 5) -> None:
        given = {"seconds": seconds} if one == "poll" else {}
        await getattr(stages, one)(vendor, users_per_call=1, max_concurrency=1, **given)

    def calls() -> int:
        return sum(sandbox.calls().get(vendor, {}).get(route, 0) for route in ("create", "status"))

    order = ("submit", "poll", "collect")
    for earlier in order[: order.index(stage)]:
        await run(earlier)
        stages.advance(hours=1)
    before, states_before = calls(), states(db)
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    retry_after = "3600" if status == 429 else in_an_hour
    sandbox.inject("status", vendor=vendor, status=status, headers={"Retry-After": retry_after})
    with nullcontext() if stage == "poll" else pytest.raises(VendorUnavailable):
        await run(stage, seconds=0.2)
    assert calls() == before + 1
    assert {*states(db).values()} <= {*states_before.values(), "uncertain"}
    if stage == "submit":
        waiting = [row["not_before"] for row in rows(db) if row["not_before"]]
        assert min(waiting) > stages.clock() + timedelta(minutes=55)
    stages.advance(days=1)
    await run(stage)
    assert not {*states(db).values()} & {*states_before.values()}


@pytest.mark.parametrize("vendor", VENDORS)
async def test_credentials_that_expire_during_a_run_stop_it(
    db: Database, open_work: OpenWork, sandbox: Sandbox, vendor: str
) -> None:
    """The remaining submissions stay planned, and no attempt is counted. They are sent after the
    credentials are fixed.
    """
    plan_each(db, vendor, *VALUES)
    async with open_work(vendor, users_per_call=1, max_concurrency=4, requests_per_second=40) as work:
        sending = asyncio.create_task(submit(work))
        while len(sandbox.jobs()) < 5:  # noqa: ASYNC110 - the sandbox runs in a thread of its own
            await asyncio.sleep(0.005)
        sandbox.inject("status", status=401, vendor=vendor, times=None)
        with pytest.raises(CredentialsRefused):
            await sending
    taken = len(sandbox.jobs())
    assert 5 <= taken < len(VALUES)
    assert sorted(states(db).values()) == ["planned"] * (len(VALUES) - taken) + ["submitted"] * taken
    assert {row["attempts"] for row in rows(db) if row["state"] == "planned"} == {0}
    assert sandbox.calls()[vendor]["create"] < taken + 3 + 4  # three refusals, four concurrent calls
    sandbox.clear_faults()
    async with open_work(vendor) as work:
        await submit(work)
    assert set(states(db).values()) == {"submitted"}
    assert sum(len(job.subjects) for job in sandbox.jobs()) == len(VALUES)
    assert events(db) == []


@pytest.mark.parametrize("vendor", VENDORS)
async def test_the_client_never_repeats_a_post(open_work: OpenWork, sandbox: Sandbox, vendor: str) -> None:
    """If a reused connection is reset, aiohttp repeats a GET but not a POST."""
    now = datetime.now(UTC)
    subjects = [
        Subject(
            n, submission(VALUES[n], vendor).identifiers or {}, "GDPR", f"r-{n}", now, jurisdiction="GDPR"
        )
        for n in range(3)
    ]
    async with open_work(vendor, max_concurrency=1) as work:
        create = [work.vendor.create(work.settings, Action.ERASURE, [subject]) for subject in subjects]
        job = work.vendor.read_created(await work.client.send(create[0]))  # this call opens the connection
        for kind_of_reset, posted in (("reset_before", create[1]), ("reset_after", create[2])):
            before = sandbox.calls()[vendor]["create"]
            sandbox.inject(kind_of_reset, vendor=vendor, route="create")
            with pytest.raises(ReplyLost):
                await work.client.send(posted)
            assert sandbox.calls()[vendor]["create"] == before + 1
            await work.client.send(work.vendor.status(work.settings, job))  # this call reuses the connection
        before = sandbox.calls()[vendor]["status"]
        sandbox.inject("reset_before", vendor=vendor, route="status")
        reply = await work.client.send(work.vendor.status(work.settings, job))
        assert reply.status == 200
        assert sandbox.calls()[vendor]["status"] == before + 2
    assert len(sandbox.jobs()) == 2  # the first job, and the job of the call that was reset


async def test_huge_replies_to_concurrent_calls_do_not_fill_the_memory(
    db: Database, open_work: OpenWork, sandbox: Sandbox
) -> None:
    """Six polls get 200 MB each. Memory use stays close to the limit of one reply."""
    plan_each(db, "attentive", *VALUES[:6])
    async with open_work("attentive") as work:
        await submit(work)
        sandbox.inject(vendor="attentive", route="status", times=None, announced=False, **HUGE)
        tracemalloc.start()
        try:
            since = work.clock() + timedelta(seconds=1)
            polled = await poll(replace(work, clock=lambda: since), 0.1)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert polled.failed_polls == polled.polls >= 6
    assert MAX_REPLY_BYTES / 2 < peak < 2 * MAX_REPLY_BYTES
