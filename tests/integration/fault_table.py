"""Every fault of a vendor has one outcome for each call. The table is also in `docs/faults.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from include.dsar.errors import ConfigurationError, VendorUnavailable
from include.dsar.vendors import VENDORS
from include.dsar.vendors.vendor import OnUncertain
from include.sandbox import VENDORS as SIMULATED

CALLS = {  # call: the vendors that have this call
    "create": tuple(VENDORS),
    "status": tuple(VENDORS),
    "result": tuple(name for name, vendor in VENDORS.items() if vendor.returns_data),
    "list": tuple(name for name, vendor in VENDORS.items() if vendor.on_uncertain is OnUncertain.ASK),
    "data": tuple(
        name for name, vendor in SIMULATED.items() if any(route.name == "data" for route in vendor.routes)
    ),
}


@dataclass(frozen=True)
class Outcome:
    """The end of the stage after a fault, and the state of the submission."""

    name: str
    state: str
    error: type[Exception] | None = None  # None: the stage ends normally

    @property
    def row(self) -> str:
        """Returns this outcome as a row of the document's table of outcomes."""
        end = f"raises `{self.error.__name__}`" if self.error else "normally"
        return f"| {self.name} | `{self.state}` | {end}"


LATER = Outcome("sent later", "planned")
TOMORROW = Outcome("sent tomorrow", "planned")
FIX_CONNECTION = Outcome("fix the connection", "planned", ConfigurationError)
UNCERTAIN = Outcome("uncertain", "uncertain")
REJECTED = Outcome("rejected", "rejected")

POLLED_AGAIN = Outcome("polled again", "submitted")
STILL_RUNNING = Outcome("still running", "submitted")
UNKNOWN_JOB = Outcome("unknown job", "submitted")
FIX_BEFORE_POLL = Outcome("fix the connection", "submitted", ConfigurationError)

COLLECTED_AGAIN = Outcome("collected again", "ready", VendorUnavailable)
COLLECTED_AS_IT_IS = Outcome("collected as it is", "completed")
FIX_BEFORE_COLLECT = Outcome("fix the connection", "ready", ConfigurationError)

ASKED_AGAIN = Outcome("asked again", "uncertain")
FIX_BEFORE_LIST = Outcome("fix the connection", "uncertain", ConfigurationError)

AS_USUAL = Outcome("as usual", "")  # this is no fault for the call

OUTCOMES = {
    "create": (LATER, TOMORROW, FIX_CONNECTION, UNCERTAIN, REJECTED),
    "status": (POLLED_AGAIN, STILL_RUNNING, UNKNOWN_JOB, FIX_BEFORE_POLL),
    "result": (COLLECTED_AGAIN, FIX_BEFORE_COLLECT),
    "list": (ASKED_AGAIN, FIX_BEFORE_LIST),
    "data": (COLLECTED_AGAIN, COLLECTED_AS_IT_IS),
}

Cell = Outcome | Mapping[str, Outcome] | None  # None: the fault is impossible for this call


@dataclass(frozen=True)
class Fault:
    """A row of the table. `variants` are the sandbox's faults that the tests inject for this row."""

    name: str
    variants: tuple[Mapping[str, Any], ...]
    cells: Mapping[str, Cell] = field(default_factory=dict)
    on_repeat: bool = False  # the fault affects the second call, after the first reply was lost

    def outcome(self, call: str, vendor: str) -> Outcome | None:
        cell = self.cells[call]
        return cell.get(vendor, cell.get("")) if isinstance(cell, Mapping) else cell


def _row(
    name: str,
    *variants: Mapping[str, Any],
    create: Cell = UNCERTAIN,
    status: Cell = POLLED_AGAIN,
    result: Cell = COLLECTED_AGAIN,
    listed: Cell = ASKED_AGAIN,
    data: Cell = COLLECTED_AGAIN,
    on_repeat: bool = False,
) -> Fault:
    cells = {"create": create, "status": status, "result": result, "list": listed, "data": data}
    return Fault(name, variants, cells, on_repeat)


def _status(status: int, **fields: Any) -> Mapping[str, Any]:
    return {"kind": "status", "status": status, **fields}


def _body(body: str) -> Mapping[str, Any]:
    return {"kind": "body", "body": body}


def _id5_limit(holder: str) -> Mapping[str, Any]:
    message = f"Limit of 1 request daily allowed per {holder} has been reached"
    return _status(403, body=f'{{"error": {{"code": "api_rate_limit_error", "message": "{message}"}}}}')


FIX_CELLS: Mapping[str, Cell] = {
    "create": FIX_CONNECTION, "status": FIX_BEFORE_POLL, "result": FIX_BEFORE_COLLECT,
    "listed": FIX_BEFORE_LIST,
}  # fmt: skip
ONLY_ID5: Mapping[str, Cell] = {
    "create": {"id5": TOMORROW}, "status": {"id5": POLLED_AGAIN},
    "result": None, "listed": None, "data": None,
}  # fmt: skip
# Only Batch says what type of file its result has.
ANY_FILE: Cell = {"": COLLECTED_AGAIN, "opendsr": COLLECTED_AS_IT_IS}
PAUSE = timedelta(minutes=10)  # the value of Retry-After
IN_10_MINUTES = {"Retry-After": str(int(PAUSE.total_seconds()))}
AT_A_TIME = {"Retry-After": format_datetime(datetime.now(UTC) + PAUSE, usegmt=True)}
ELSEWHERE = "<elsewhere>"  # the address of a second server, which must get no call
REFUSED = "<refused>"  # no server at the vendor's address
UNKNOWN_STATUS = {
    "besitos": '{"success": true, "request": {"status": "paused"}, "data": null}',
    "batch": '{"status": "paused"}',
    "id5": '{"jobStatus": "PAUSED", "processingResult": "NONE"}',
    "attentive": '{"processed": "perhaps"}',
    "opendsr": '{"request_status": "paused"}',  # not signed either
}

HUGE: Mapping[str, Any] = {"kind": "oversize", "bytes": 200_000_000}

FAULTS = (
    _row("connection refused", {"kind": REFUSED}, create=LATER),
    _row("reset before the vendor accepted the call", {"kind": "reset_before", "times": None}),
    _row("reset after the vendor accepted the call", {"kind": "reset_after", "times": None}),
    _row("no reply in time", {"kind": "hang", "taken": False}, {"kind": "hang", "taken": True}),
    _row("a reply slower than the time-out", {"kind": "slow_drip", "seconds": 4}),
    _row("a reply that is cut off", {"kind": "truncated"}),
    _row("200 with an empty body", {"kind": "empty"}),
    _row("HTML instead of JSON", {"kind": "html"}, {"kind": "html", "taken": True}),
    _row("truncated JSON", _body('{"request_id": "7d"'), data=ANY_FILE),
    _row("JSON of another shape", *map(_body, ('{"of": "another"}', '[{"of": "another"}]')), data=ANY_FILE),
    _row(
        "an unknown status",
        {"kind": "body", "body": UNKNOWN_STATUS},
        create=None,
        status={"": POLLED_AGAIN, "besitos": STILL_RUNNING},
        listed=None,
        data=None,
    ),
    _row(
        "a wrong content type",
        {"kind": "mislabelled", "content_type": "text/html"},
        create=AS_USUAL, status=AS_USUAL, result=AS_USUAL, listed=AS_USUAL, data=AS_USUAL,
    ),
    _row("a reply of 200 MB", HUGE, {**HUGE, "announced": False}, data=ANY_FILE),
    _row("a redirect", *({"kind": "redirect", "location": ELSEWHERE, "status": s} for s in (302, 307))),
    # Batch and ID5 document a code for each refusal, and this reply has none of them.
    _row("400", _status(400), create={"": REJECTED, "batch": UNCERTAIN, "id5": UNCERTAIN}),
    _row("401", _status(401), **FIX_CELLS),
    _row("403", _status(403), **FIX_CELLS),
    _row("403, ID5: daily limit of the identifier", _id5_limit("email"), **ONLY_ID5),
    _row(
        "403, ID5: daily limit of the identifier, after a lost reply",
        _id5_limit("email"),
        on_repeat=True,
        **{**ONLY_ID5, "create": {"id5": UNCERTAIN}, "status": None},
    ),
    _row("403, ID5: daily limit of the account", _id5_limit("partner"), **ONLY_ID5),
    _row(
        "404", _status(404),
        create=FIX_CONNECTION, status={"": UNKNOWN_JOB, "batch": FIX_BEFORE_POLL},
        result={"": COLLECTED_AGAIN, "batch": FIX_BEFORE_COLLECT}, listed=FIX_BEFORE_LIST,
    ),
    _row(
        "404 of a proxy", _status(404, body="<html>404</html>", content_type="text/html"),
        create=FIX_CONNECTION, status=FIX_BEFORE_POLL, listed=FIX_BEFORE_LIST,
    ),
    _row("400 of a proxy", _status(400, body="<html>400</html>", content_type="text/html")),
    _row("409", _status(409)),
    _row("429", _status(429), create=LATER),
    _row("429 with Retry-After in seconds", _status(429, headers=IN_10_MINUTES), create=LATER),
    _row("429 with Retry-After as a date", _status(429, headers=AT_A_TIME), create=LATER),
    _row("500, 502, 504", *map(_status, (500, 502))),
    _row("503", _status(503), create={"": UNCERTAIN, "batch": LATER}),
    _row(
        "503 with Retry-After, in seconds or as a date",
        _status(503, headers=IN_10_MINUTES),
        _status(503, headers=AT_A_TIME),
        create={"": UNCERTAIN, "batch": LATER},
    ),
)  # fmt: skip


def table() -> str:
    """Returns the whole table as the document shows it."""
    lines = [f"| fault | {' | '.join(CALLS)} |", f"|---|{'---|' * len(CALLS)}"]
    for fault in FAULTS:
        cells = (_cell(fault.cells[call], call) for call in CALLS)
        lines.append(f"| {fault.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(cell: Cell, call: str) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, Outcome):
        return cell.name
    parts = [cell[""].name] if "" in cell else []
    return "; ".join(parts + [f"{vendor}: {cell[vendor].name}" for vendor in VENDORS if vendor in cell])
