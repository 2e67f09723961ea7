"""Vendors misbehaving: each fault of each call has the one outcome that `docs/faults.md` names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.execution.job_failures import JOB_FORGOTTEN
from include.dsar.http import client as client_module
from include.dsar.ledger.database import connect
from include.dsar.model import Action
from include.dsar.stages import submit as submit_module
from include.dsar.stages.poll import PollResult
from include.sandbox import Sandbox, SandboxSettings, run_in_thread
from include.stack.home import Home
from tests.integration import fault_table as told
from tests.integration.conftest import OpenWork, own_database
from tests.integration.elsewhere import Elsewhere, listening
from tests.integration.fault_case import LONG_ENOUGH, Case
from tests.integration.fault_table import AS_USUAL, CALLS, FAULTS, Fault, Outcome
from tests.integration.requests_given import Clock, row

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "faults.md"


@pytest.fixture(scope="module")
def dsn(server: Home) -> Iterator[str]:
    """One database for all faults: each has a request of its own, and stages limited to it."""
    with own_database(server) as url:
        yield url


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with run_in_thread(SandboxSettings(min_seconds=0.0, max_seconds=0.1)) as running:
        yield running


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with listening() as server:
        yield server


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage gives up on a call after a moment, and leaves what is postponed to the next run."""
    moment = aiohttp.ClientTimeout(total=0.8, sock_connect=0.8, sock_read=0.4)
    monkeypatch.setattr(client_module, "TIMEOUT", moment)
    monkeypatch.setattr(client_module, "DOWNLOAD_TIMEOUT", moment)
    monkeypatch.setattr(submit_module, "MAX_WAIT", timedelta())


@pytest.fixture
def new_case(
    dsn: str, sandbox: Sandbox, clock: Clock, storage: Storage, open_work: OpenWork, elsewhere: Elsewhere
) -> Iterator[Callable[..., Case]]:
    with connect(dsn) as db:
        yield lambda vendor, action: Case(db, sandbox, clock, storage, open_work, elsewhere, vendor, action)
    sandbox.clear_faults()
    assert elsewhere.calls == []


def rows(call: str) -> list[Any]:
    """Each fault of a call, at each vendor, in each of its variants."""
    return [
        pytest.param(fault, vendor, dict(variant), outcome, id=f"{fault.name}-{n}-{vendor}")
        for fault in FAULTS
        for vendor in CALLS[call]
        if (outcome := fault.outcome(call, vendor))
        for n, variant in enumerate(fault.variants)
    ]


def ended_as(outcome: Outcome, error: object) -> bool:
    return isinstance(error, outcome.error) if outcome.error else not isinstance(error, Exception)


def goes_on_at(case: Case, outcome: Outcome, fault: Fault) -> timedelta:
    """When what was not sent, or is in doubt, may be sent again."""
    now = case.clock()
    midnight = datetime(now.year, now.month, now.day, tzinfo=now.tzinfo) + timedelta(days=1, seconds=1)
    if outcome is told.TOMORROW or (outcome is told.IN_DOUBT and case.vendor == "id5"):
        return midnight - now
    if outcome is told.IN_DOUBT:
        return timedelta(seconds=61)
    return told.PAUSE if "Retry-After" in fault.name else timedelta(seconds=6)


async def lose_a_reply(case: Case) -> None:
    """The submission is in doubt, and the time has come to send it again."""
    case.inject("create", {"kind": "reset_after"})
    await case.submit()
    assert (case.state, case.taken) == ("uncertain", 1)
    case.recover()
    case.advance(goes_on_at(case, told.IN_DOUBT, FAULTS[0]))


@pytest.mark.asyncio
@pytest.mark.parametrize(("fault", "vendor", "variant", "outcome"), rows("create"))
async def test_create(
    new_case: Callable[..., Case], fault: Fault, vendor: str, variant: dict[str, Any], outcome: Outcome
) -> None:
    """A call that fails is sent again only when it surely was not taken, or with a reason on record."""
    case = new_case(vendor, Action.ERASURE)
    if fault.on_repeat:
        await lose_a_reply(case)
    address = case.inject("create", variant)
    error = await case.submit(address)
    was_taken = case.taken
    assert ended_as(outcome, error)
    if outcome is AS_USUAL or (outcome is told.IN_DOUBT and vendor == "batch" and was_taken):
        assert case.state == "submitted"  # Batch was asked at once, and has it
    else:
        assert case.state == outcome.state
    assert was_taken <= (outcome in (told.IN_DOUBT, AS_USUAL))
    calls = case.calls("create")
    if case.state not in ("planned", "uncertain") or outcome is told.TO_MEND:
        assert row(case.db, case.id)["attempts"] == (outcome is not told.TO_MEND)
    else:
        await case.submit()
        assert case.calls("create") == calls, "sent again too early"
        case.advance(goes_on_at(case, outcome, fault))
    if outcome is not told.REJECTED:
        await case.finish()
        again = was_taken and outcome is told.IN_DOUBT and vendor != "batch"
        assert case.taken == (2 if again else 1)


@pytest.mark.asyncio
@pytest.mark.parametrize(("fault", "vendor", "variant", "outcome"), rows("status"))
async def test_status(
    new_case: Callable[..., Case], fault: Fault, vendor: str, variant: dict[str, Any], outcome: Outcome
) -> None:
    """A status that cannot be read says nothing of the job: it is read again."""
    case = new_case(vendor, Action.ERASURE)
    await case.submit()
    case.advance(LONG_ENOUGH)
    address = case.inject("status", variant)
    watched = await case.poll(address)
    assert ended_as(outcome, watched)
    if outcome is AS_USUAL:
        assert case.state == "completed"
        return
    assert case.state == "submitted"
    if isinstance(watched, PollResult):
        assert watched.polls > 0
        assert (watched.failed_polls == watched.polls) == (outcome is told.READ_AGAIN)
    if outcome is told.FORGOTTEN:
        case.advance(timedelta(hours=2))
        await case.poll()
        assert (case.state, row(case.db, case.id)["reason"]) == ("failed", JOB_FORGOTTEN)
    else:
        await case.finish()
        assert case.taken == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("call", "fault", "vendor", "variant", "outcome"),
    [pytest.param(call, *p.values, id=f"{call}-{p.id}") for call in ("result", "data") for p in rows(call)],
)
async def test_result(
    new_case: Callable[..., Case],
    call: str,
    fault: Fault,
    vendor: str,
    variant: dict[str, Any],
    outcome: Outcome,
) -> None:
    """A result that does not come through is fetched again; nothing is taken for it that is not it."""
    case = new_case(vendor, Action.ACCESS)
    await case.submit()
    case.advance(LONG_ENOUGH)
    await case.poll()
    assert case.state == "ready"
    address = case.inject("data" if call == "data" else "status", variant)
    if call == "data" and address:
        body = f'{{"status": "done", "request_type": "review", "data_url": "{address}/data.zip"}}'
        case.sandbox.inject("body", vendor=vendor, route="status", body=body)
        address = None
    error = await case.collect(address)
    assert ended_as(outcome, error)
    if outcome is told.GONE:
        assert case.state == "failed" and row(case.db, case.id)["reason"]
        return
    assert case.state == (outcome.state or "completed")
    await case.finish()
    assert case.taken == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(("fault", "vendor", "variant", "outcome"), rows("list"))
async def test_list(
    new_case: Callable[..., Case], fault: Fault, vendor: str, variant: dict[str, Any], outcome: Outcome
) -> None:
    """A list that cannot be read does not prove that a job is not in it."""
    case = new_case(vendor, Action.ERASURE)
    case.sandbox.inject("reset_after", vendor=vendor, route="create")
    address = case.inject("list", variant)
    for _ in range(2):  # the second time it is late enough to believe a list that does not hold it
        error = await case.submit(address)
        if outcome is AS_USUAL:
            break
        if address is None:
            assert ended_as(outcome, error)
            assert case.state == "uncertain"
        case.sandbox.clear_faults()
        case.inject("list", variant)
        case.advance(timedelta(minutes=2))
    await case.finish()
    assert case.taken == 1


def test_the_document_holds_this_table() -> None:
    """What people read is what is tested: paste `fault_table.table()` after a change."""
    document = DOCUMENT.read_text()
    assert told.table() in document, "\n" + told.table()
    for call, outcomes in told.OUTCOMES.items():
        section = document.partition(f"## {call}\n")[2].partition("\n## ")[0]
        in_document = [line for line in section.splitlines() if line.startswith("| ")][1:]
        assert [line.split(" | ")[:3] for line in in_document] == [
            o.told.removesuffix(" |").split(" | ") for o in outcomes
        ]
