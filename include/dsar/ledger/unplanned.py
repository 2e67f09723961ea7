"""Rows of the source from which no request was planned. The ledger keeps them until they are resolved."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from include.dsar.ledger.database import Database


class Resolution(StrEnum):
    """How a row was resolved."""

    CORRECTED = "corrected"  # a request was planned from it
    DISMISSED = "dismissed"  # by an operator
    WITHDRAWN = "withdrawn"  # the source no longer has it


def record(db: Database, numbers: range, *, now: datetime) -> None:
    """Records the invalid rows among these staged rows. Resolves recorded rows from which a request was
    planned.

    Rows with the same request_id count as one row here, because the source cannot tell them apart. A row
    that is recorded already keeps its earliest due date.
    """
    chunk = {"first": numbers.start, "last": numbers.stop - 1, "now": now}
    db.execute(_RECORD, chunk)
    db.execute(_CORRECTED, {**chunk, "resolution": Resolution.CORRECTED})


_RECORD = """
INSERT INTO dsar.unplanned_row AS known (kind, row_key, request_id, reason, since, action, regulation,
                                         received_at, due_at, first_seen, last_seen)
SELECT DISTINCT ON (s.row_key)
       'invalid', s.row_key, s.request_id, o.reason, %(now)s, s.action, s.regulation,
       s.received_at, s.due_at, %(now)s, %(now)s
  FROM staged_outcome o JOIN staged s USING (number)
 WHERE o.outcome = 'invalid' AND o.number BETWEEN %(first)s AND %(last)s
 ORDER BY s.row_key, s.due_at
ON CONFLICT (row_key) WHERE resolved_at IS NULL DO UPDATE
   SET kind = 'invalid', reason = excluded.reason, action = excluded.action,
       regulation = excluded.regulation, received_at = excluded.received_at,
       since = CASE WHEN known.reason = excluded.reason THEN known.since ELSE excluded.since END,
       due_at = least(known.due_at, excluded.due_at), last_seen = excluded.last_seen
"""

_CORRECTED = """
UPDATE dsar.unplanned_row u SET resolved_at = %(now)s, resolution = %(resolution)s
  FROM staged_outcome o JOIN staged s USING (number)
 WHERE o.outcome IN ('new', 'known', 'repeated') AND o.number BETWEEN %(first)s AND %(last)s
   AND u.row_key = s.row_key AND u.resolved_at IS NULL
"""
