"""Each fault of each call to each vendor has the outcome in the table of `docs/faults.md`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from include.dsar.http import client as client_module
from include.dsar.ledger.database import connect
from include.dsar.model import Action
from include.dsar.stages.poll import PollResult
from include.dsar.vendors import VENDORS
from include.dsar.vendors.vendor import OnUncertain, Result
from include.sandbox import Sandbox, SandboxSettings, run_in_thread
from include.stack.home import Home
from tests.integration import fault_table
from tests.integration.conftest import own_database
from tests.integration.elsewhere import Elsewhere, listening
from tests.integration.fault_case import ANSWERED_POLLS, LONG_ENOUGH, Case
from tests.integration.fault_table import AS_USUAL, CALLS, FAULTS, Fault, Outcome
from tests.integration.requests_given import Clock, row
from tests.integration.stage_runs import Stages

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "faults.md"


@pytest.fixture(scope="module")
def dsn(server: Home) -> Iterator[str]:
    """Yields one database for all faults. Each fault has its own request and runs only that request."""
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
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = aiohttp.ClientTimeout(total=0.8, sock_connect=0.8, sock_read=0.4)
    monkeypatch.setattr(client_module, "TIMEOUT", moment)
    monkeypatch.setattr(client_module, "DOWNLOAD_TIMEOUT", moment)


@pytest.fixture
def new_case(
    dsn: str, sandbox: Sandbox, clock: Clock, stages: Stages, elsewhere: Elsewhere
) -> Iterator[Callable[..., Case]]:
    stages.clock = clock  # the same offset as the sandbox's clock
    with connect(dsn) as db:
        yield lambda vendor, action: Case(db, sandbox, stages, elsewhere, vendor, action)
    sandbox.clear_faults()
    assert elsewhere.calls == []


def rows(call: str) -> list[Any]:
    """Returns each variant of each fault of a call, at each vendor, as test parameters."""
    return [
        pytest.param(fault, vendor, dict(variant), outcome, id=f"{fault.name}-{n}-{vendor}")
        for fault in FAULTS
        for vendor in CALLS[call]
        if (outcome := fault.outcome(call, vendor))
        for n, variant in enumerate(fault.variants)
    ]


def ends_as(outcome: Outcome, error: object) -> bool:
    return isinstance(error, outcome.error) if outcome.error else not isinstance(error, Exception)


def asks(vendor: str) -> bool:
    """Returns whether the vendor is asked about an uncertain submission. If so, the vendor is asked at
    once.
    """
    return VENDORS[vendor].on_uncertain in (OnUncertain.ASK, OnUncertain.ASK_JOB)


def time_to_next_attempt(case: Case, outcome: Outcome, fault: Fault) -> timedelta:
    """Returns the time until a planned or uncertain submission may be sent again."""
    now = case.stages.clock()
    midnight = datetime(now.year, now.month, now.day, tzinfo=now.tzinfo) + timedelta(days=1, seconds=1)
    if outcome is fault_table.TOMORROW or (
        outcome is fault_table.UNCERTAIN and VENDORS[case.vendor].on_uncertain is OnUncertain.NEXT_DAY
    ):
        return midnight - now
    if outcome is fault_table.UNCERTAIN:
        return timedelta(seconds=61)
    return fault_table.PAUSE if "Retry-After" in fault.name else timedelta(seconds=6)


def download_from(patch: pytest.MonkeyPatch, vendor: str, address: str) -> None:
    """Patches the vendor's module so that the links to its results lead to this address."""
    kind = type(VENDORS[vendor])
    read_results = kind.read_results

    def elsewhere(*given: Any) -> dict[str, Result]:
        return {name: replace(one, url=f"{address}/data") for name, one in read_results(*given).items()}

    patch.setattr(kind, "read_results", elsewhere)


async def lose_a_reply(case: Case) -> None:
    """Loses a reply, so that the submission is uncertain. Advances the clock to the time when the
    submission may be sent again.
    """
    case.inject("create", {"kind": "reset_after"})
    await case.submit()
    assert (case.state, case.taken) == ("uncertain", 1)
    case.recover()
    case.advance(time_to_next_attempt(case, fault_table.UNCERTAIN, FAULTS[0]))


@pytest.mark.parametrize(("fault", "vendor", "variant", "outcome"), rows("create"))
async def test_a_fault_of_create(
    new_case: Callable[..., Case], fault: Fault, vendor: str, variant: dict[str, Any], outcome: Outcome
) -> None:
    """A call is sent again only if the vendor certainly did not accept it, or if an event records the
    reason.
    """
    case = new_case(vendor, Action.ERASURE)
    if fault.on_repeat:
        await lose_a_reply(case)
    address = case.inject("create", variant)
    error = await case.submit(address)
    was_taken = case.taken
    assert ends_as(outcome, error)
    if outcome is AS_USUAL or (outcome is fault_table.UNCERTAIN and asks(vendor) and was_taken):
        assert case.state == "submitted"
    else:
        assert case.state == outcome.state
    assert was_taken <= (outcome in (fault_table.UNCERTAIN, AS_USUAL))
    calls = case.calls("create")
    if case.state not in ("planned", "uncertain") or outcome is fault_table.FIX_CONNECTION:
        assert row(case.db, case.id)["attempts"] == (outcome is not fault_table.FIX_CONNECTION)
    else:
        await case.submit()
        assert case.calls("create") == calls, "sent again too early"
        case.advance(time_to_next_attempt(case, outcome, fault))
    if outcome is not fault_table.REJECTED:
        await case.finish()
        again = was_taken and outcome is fault_table.UNCERTAIN and not asks(vendor)
        assert case.taken == (2 if again else 1)


@pytest.mark.parametrize(("fault", "vendor", "variant", "outcome"), rows("status"))
async def test_a_fault_of_status(
    new_case: Callable[..., Case], fault: Fault, vendor: str, variant: dict[str, Any], outcome: Outcome
) -> None:
    """A failed poll does not change the job. The job is polled again."""
    case = new_case(vendor, Action.ERASURE)
    await case.submit()
    case.advance(LONG_ENOUGH)
    address = case.inject("status", variant)
    polled = await case.poll(address)
    assert ends_as(outcome, polled)
    if outcome is AS_USUAL:
        assert case.state == "completed"
        return
    assert case.state == "submitted"
    if isinstance(polled, PollResult):
        assert polled.polls > 0
        assert (polled.failed_polls == polled.polls) == (outcome is fault_table.POLLED_AGAIN)
    await case.finish()
    assert case.taken == 1


@pytest.mark.parametrize(
    ("call", "fault", "vendor", "variant", "outcome"),
    [pytest.param(call, *p.values, id=f"{call}-{p.id}") for call in ("result", "data") for p in rows(call)],
)
async def test_a_fault_of_result_or_data(
    new_case: Callable[..., Case],
    call: str,
    fault: Fault,
    vendor: str,
    variant: dict[str, Any],
    outcome: Outcome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The result is fetched again. The faulty reply is not stored as a result."""
    case = new_case(vendor, Action.ACCESS)
    await case.submit()
    case.advance(LONG_ENOUGH)
    await case.poll(seconds=ANSWERED_POLLS)
    assert case.state == "ready"
    address = case.inject("data" if call == "data" else "status", variant)
    if outcome is fault_table.COLLECTED_AS_IT_IS:  # however large the file is
        monkeypatch.setattr(client_module, "DOWNLOAD_TIMEOUT", aiohttp.ClientTimeout(total=60))
    with monkeypatch.context() as patch:
        if call == "data" and address:
            download_from(patch, vendor, address)
            address = None
        error = await case.collect(address)
    assert ends_as(outcome, error)
    assert case.state == (outcome.state or "completed")
    await case.finish()
    assert case.taken == 1


@pytest.mark.parametrize(("fault", "vendor", "variant", "outcome"), rows("list"))
async def test_a_fault_of_list(
    new_case: Callable[..., Case], fault: Fault, vendor: str, variant: dict[str, Any], outcome: Outcome
) -> None:
    """An unreadable list does not prove that the vendor has no job."""
    case = new_case(vendor, Action.ERASURE)
    case.sandbox.inject("reset_after", vendor=vendor, route="create")
    address = case.inject("list", variant)
    for _ in range(2):  # if the second list lacked the job, the call would be sent again
        error = await case.submit(address)
        if outcome is AS_USUAL:
            break
        if address is None:
            assert ends_as(outcome, error)
            assert case.state == "uncertain"
        case.sandbox.clear_faults()
        case.inject("list", variant)
        case.advance(timedelta(minutes=2))
    await case.finish()
    assert case.taken == 1


def test_the_document_contains_this_table() -> None:
    """After a change, paste the output of `fault_table.table()` into docs/faults.md."""
    document = DOCUMENT.read_text()
    assert fault_table.table() in document, "\n" + fault_table.table()
    for call, outcomes in fault_table.OUTCOMES.items():
        section = document.partition(f"## {call}\n")[2].partition("\n## ")[0]
        in_document = [line for line in section.splitlines() if line.startswith("| ")][1:]
        assert [line.split(" | ")[:3] for line in in_document] == [o.row.split(" | ") for o in outcomes]
