"""The record of an invalid row in the ledger: its readable parts and a due date, but no identifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from include.dsar.intake.request_types import action
from include.dsar.intake.rows import Rules
from include.dsar.ledger.staging import Readable
from include.dsar.model import Action

Value = TypeVar("Value")


def readable(rules: Rules, row: Mapping[str, Any], now: datetime) -> Readable:
    """Returns the parts of an invalid row that can be read.

    The due date comes from the row or from the law. The legal period begins at `now` if the time of receipt
    is unreadable or in the future. If the regulation or the action is unreadable, the shortest legal period
    applies.
    """
    law = _if_valid(lambda: rules.regulation(row))
    received_at = _if_valid(lambda: rules.time(row, "received_at"))
    begins = min(received_at or now, now)
    asked = _if_valid(lambda: action(row.get("request_type")))
    return Readable(
        action=asked,
        regulation=law.name if law else None,
        received_at=received_at,
        due_at=_if_valid(lambda: rules.time(row, "due_at"))
        or min(
            one.due_at(each, begins)
            for one in ([law] if law else rules.regulations.values())
            for each in ([asked] if asked else Action)
        ),
    )


def row_key(rules: Rules, row: Mapping[str, Any], source_id: str | None) -> str:
    """Returns a keyed hash of the row's request_id. If the source cannot find the row by this id, returns a
    keyed hash of all cells of the row. The hash is the same in each intake.
    """
    return rules.hash(source_id if source_id is not None else repr(sorted(row.items())))


def _if_valid(read: Callable[[], Value | None]) -> Value | None:
    try:
        return read()
    except Exception:  # a cell that nobody expected stops no other row
        return None
