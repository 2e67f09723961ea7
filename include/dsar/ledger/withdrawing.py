"""Requests leave the ledger again, of which nothing was ever sent."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from include.dsar.ledger.database import Database
from include.dsar.ledger.planning import refs


def known(db: Database, request_ids: Collection[str]) -> set[str]:
    """Those of the ids that the ledger knows."""
    if not request_ids:
        return set()
    rows = db.execute("SELECT request_id FROM dsar.request WHERE request_id = ANY(%s)", [list(request_ids)])
    return {row["request_id"] for row in rows}


def take_back(db: Database, request_ids: Collection[str]) -> dict[str, datetime]:
    """Removes those requests of which no worker ever claimed anything; the others stay as they are.

    Returns when each that is gone had been planned.
    """
    if not request_ids:
        return {}
    with db.transaction():
        requests = refs(db, list(request_ids))
        rows = db.execute(_UNTOUCHED, {"requests": requests}).fetchall()
        gone = [row["id"] for row in rows]
        db.execute("DELETE FROM dsar.submission WHERE request = ANY(%s)", [gone])
        db.execute("DELETE FROM dsar.request WHERE id = ANY(%s)", [gone])
    return {row["request_id"]: row["planned_at"] for row in rows}


_UNTOUCHED = """
WITH held AS (  -- so that no worker claims one meanwhile
    SELECT s.request, s.state, s.attempts, s.attempted_at
      FROM dsar.submission s
     WHERE s.request = ANY(%(requests)s)
     ORDER BY s.id FOR UPDATE
)
SELECT r.id, r.request_id, r.planned_at
  FROM dsar.request r
 WHERE r.id = ANY(%(requests)s)
   AND (SELECT min(e.id) FROM dsar.event e WHERE e.request = r.id) IS NULL  -- by its index, one by one
   AND NOT EXISTS (
       SELECT FROM held h
        WHERE h.request = r.id
          AND (h.state NOT IN ('planned', 'not_applicable') OR h.attempts > 0 OR h.attempted_at IS NOT NULL))
"""
