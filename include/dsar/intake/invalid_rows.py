"""What the ledger keeps about an invalid row: what could be read, a due date, and no identifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from include.dsar.intake.regulations import due_at, regulation, shortest_due_at
from include.dsar.intake.request_types import action
from include.dsar.intake.rows import Rules, time
from include.dsar.ledger.staging import Readable

Value = TypeVar("Value")


def readable(rules: Rules, row: Mapping[str, Any], now: datetime) -> Readable:
    """Returns the parts of an invalid row that can be read.

    The due date is the row's own, or the legal one. It is counted from `now` if the time of receipt is
    unreadable or in the future. If the regulation is unreadable, it is the shortest of all periods.
    """
    law = _if_valid(lambda: regulation(row.get("regulation")))
    received_at = _if_valid(lambda: time(row.get("received_at"), "received_at"))
    begins = min(received_at or now, now)
    return Readable(
        action=_if_valid(lambda: action(row.get("request_type"))),
        regulation=law,
        received_at=received_at,
        due_at=_if_valid(lambda: time(row.get("due_at"), "due_at"))
        or (due_at(law, begins) if law else shortest_due_at(begins)),
    )


def row_key(rules: Rules, row: Mapping[str, Any], source_id: str | None) -> str:
    """Returns a keyed hash that is the same in each intake: of the row's request_id, or of all its cells if
    the source cannot find it by that.
    """
    return rules.hash(source_id if source_id is not None else repr(sorted(row.items())))


def _if_valid(read: Callable[[], Value | None]) -> Value | None:
    try:
        return read()
    except Exception:  # a cell that nobody expected stops no other row
        return None
