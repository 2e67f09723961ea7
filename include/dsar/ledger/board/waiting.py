"""Lists of requests and rows that wait for an operator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from include.dsar.ledger.database import Database

MAX_LISTED = 50  # of each list


@dataclass(frozen=True)
class WaitingRow:
    """A row of the source from which no request was planned. `name` is its request_id, or `#<ledger id>`."""

    name: str
    reason: str
    due_at: datetime
    first_seen: datetime
    until: datetime | None  # the end of its acknowledgement, if it has one


@dataclass(frozen=True)
class WaitingRequest:
    """A request that waits for an operator."""

    request_id: str
    status: str
    due_at: datetime


def rows(db: Database, now: datetime) -> list[WaitingRow]:
    """Returns the first MAX_LISTED rows from which no request was planned, by due date."""
    found = db.execute(_ROWS, {"now": now, "limit": MAX_LISTED}).fetchall()
    return [WaitingRow(**row) for row in found]


def failed(db: Database, now: datetime) -> list[WaitingRequest]:
    """Returns the first MAX_LISTED closed requests that failed or left an account out. Omits acknowledged
    requests.
    """
    found = db.execute(_FAILED, {"now": now, "limit": MAX_LISTED}).fetchall()
    return [WaitingRequest(**row) for row in found]


def unanswered(db: Database) -> list[WaitingRequest]:
    """Returns the first MAX_LISTED requests that no account can serve."""
    found = db.execute(_UNANSWERED, {"limit": MAX_LISTED}).fetchall()
    return [WaitingRequest(**row) for row in found]


_ROWS = """
SELECT coalesce(u.request_id, '#' || u.id) AS name, u.reason, u.due_at, u.first_seen, a.until
  FROM dsar.unplanned_row u LEFT JOIN LATERAL dsar.acknowledged(NULL, u.id, %(now)s) AS a ON true
 WHERE u.resolved_at IS NULL ORDER BY u.due_at, u.id LIMIT %(limit)s
"""

_FAILED = """
SELECT u.name AS request_id, u.kind AS status, u.due_at FROM dsar.unresolved(%(now)s) AS u
 WHERE u.kind NOT IN ('in_progress', 'invalid', 'unknown') ORDER BY u.due_at, u.name LIMIT %(limit)s
"""

_UNANSWERED = """
SELECT request_id, status, due_at FROM dsar.request
 WHERE needs_answer ORDER BY due_at, id LIMIT %(limit)s
"""
