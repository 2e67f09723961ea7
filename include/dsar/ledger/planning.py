"""Adds requests to the ledger in bulk. Each request is added once, with all its submissions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import DictRow

from include.dsar.accounts import VolumeLimit
from include.dsar.ledger import unplanned, volume
from include.dsar.ledger.database import Database
from include.dsar.ledger.staging import RowOutcome
from include.dsar.ledger.transitions import Move, move, require_moved
from include.dsar.model import State

REASON_RETRY = "an operator asked for another try"
REASON_RETRY_SEALED = "an operator asked for another try: we cannot open the sealed package with the result"
REASON_CONTRADICTION = "the source has this request_id more than once, with different content"


@dataclass(frozen=True)
class Planned:
    """Counts of staged rows, by the result of planning."""

    new: int
    known: int
    reopened: int  # known, closed with a failure, and planned once more
    repeated: int
    changed: int
    invalid: int


def plan(
    db: Database,
    numbers: range,
    *,
    now: datetime,
    retry_failed: bool,
    limit: VolumeLimit | None,
    retry_ids: Collection[str] = (),
) -> Planned:
    """Adds the new requests and the invalid rows among these staged rows in one transaction. A repeated
    call adds nothing.

    If an account gets more new submissions in a day than `limit` allows, these submissions are put on hold:
    see volume.py.

    If a known request is still pending in the source, its status is written to the source again. With
    `retry_failed`, known requests that ended with a failure are opened again.
    """
    chunk = {"first": numbers.start, "last": numbers.stop - 1, "now": now}
    with db.transaction():
        db.execute(_COMPARE_WITH_LEDGER, {**chunk, "contradiction": REASON_CONTRADICTION})
        new = db.execute(_ADD, chunk).rowcount
        added = db.execute(_ADD_SUBMISSIONS, chunk).fetchall()
        volume.count_new(db, added, limit=limit, now=now)
        unplanned.record(db, numbers, now=now)
        known = [row["request_id"] for row in db.execute(_KNOWN, chunk).fetchall()]
        db.execute("UPDATE dsar.request SET source_updated = false WHERE request_id = ANY(%s)", [known])
        retried = known if retry_failed else [request_id for request_id in known if request_id in retry_ids]
        reopened = _reopen(db, retried, chunk, now) if retried else 0
        counts = {row["outcome"]: row["n"] for row in db.execute(_COUNTS, chunk).fetchall()}
    added_by_others = counts.get(RowOutcome.NEW, 0) - new
    return Planned(
        new=new,
        known=len(known) + added_by_others - reopened,
        reopened=reopened,
        repeated=counts.get(RowOutcome.REPEATED, 0),
        changed=counts.get(RowOutcome.CHANGED, 0),
        invalid=counts.get(RowOutcome.INVALID, 0),
    )


def retry_open(db: Database, *, now: datetime, request_ids: Sequence[str] | None) -> int:
    """Plans the failed and rejected submissions of open requests again. Returns the number of these
    submissions.
    """
    rows = db.execute(_FAILED_OPEN, {"request_ids": request_ids}).fetchall()
    return _replan(db, rows, now)


def closed_until(db: Database, request_ids: Collection[str], *, until: datetime) -> set[str]:
    """Returns which of these requests were closed at this time or before."""
    rows = db.execute(
        "SELECT request_id FROM dsar.request WHERE request_id = ANY(%s) AND closed_at <= %s",
        [list(request_ids), until],
    ).fetchall()
    return {row["request_id"] for row in rows}


def planned(
    db: Database, *, request_ids: Sequence[str] | None = None, on_hold: bool = False
) -> dict[str, dict[str, int]]:
    """Returns how many submissions wait to be sent, or are on hold, by account and action."""
    counts: dict[str, dict[str, int]] = {}
    for row in db.execute(_PLANNED, {"request_ids": request_ids, "on_hold": on_hold}).fetchall():
        counts.setdefault(row["account"], {})[row["action"]] = row["n"]
    return counts


def request_pks_of(db: Database, request_ids: Sequence[str]) -> list[int]:
    """Returns the ledger ids of these requests. Unknown requests are left out."""
    rows = db.execute("SELECT id FROM dsar.request WHERE request_id = ANY(%s)", [list(request_ids)])
    return sorted(row["id"] for row in rows)


def unknown_ids(db: Database, request_ids: Collection[str]) -> set[str]:
    """Returns the ids that the ledger does not have."""
    rows = db.execute(
        "SELECT request_id FROM dsar.request WHERE request_id = ANY(%s)", [list(request_ids)]
    ).fetchall()
    return set(request_ids) - {row["request_id"] for row in rows}


def _reopen(db: Database, request_ids: Sequence[str], chunk: dict[str, Any], now: datetime) -> int:
    staged = {**chunk, "request_ids": request_ids}
    failed = db.execute(_FAILED_CLOSED, staged).fetchall()
    failed_ids = [row["id"] for row in failed]
    sealed = db.execute(_SEALED, {**staged, "failed": failed_ids}).fetchall()
    submissions = failed_ids + [row["id"] for row in sealed]
    reopened = db.execute(_REOPEN, {**chunk, "submissions": submissions}).rowcount
    _replan(db, failed, now)
    _replan(db, sealed, now, reason=REASON_RETRY_SEALED)
    return reopened


def _replan(db: Database, rows: Iterable[DictRow], now: datetime, reason: str = REASON_RETRY) -> int:
    """Plans these submissions (id and state) again. Returns the number of planned submissions."""
    by_state: dict[State, list[int]] = {}
    for row in rows:
        by_state.setdefault(State(row["state"]), []).append(row["id"])
    for leave, ids in by_state.items():
        moved = move(db, [Move(id, State.PLANNED, reason) for id in ids], leave=leave, now=now)
        require_moved(moved, ids, leave=leave)
    return sum(map(len, by_state.values()))


# LATERAL with OFFSET 0, here and below, looks up in the ledger what comes in, and never reads all of it.
_COMPARE_WITH_LEDGER = """
INSERT INTO staged_outcome (number, request_id, outcome, reason)
SELECT s.number, s.request_id,
       CASE WHEN d.is_repeated AND (NOT d.is_contradictory OR known.fingerprint = s.fingerprint)
            THEN 'repeated'
            WHEN known.fingerprint = s.fingerprint THEN 'known'
            WHEN known.fingerprint IS NOT NULL THEN 'changed'
            WHEN d.is_contradictory OR s.reason IS NOT NULL THEN 'invalid'
            ELSE 'new' END,
       CASE WHEN d.is_contradictory THEN %(contradiction)s ELSE s.reason END
  FROM staged s
  LEFT JOIN staged_duplicate d USING (number)
  LEFT JOIN LATERAL (
      SELECT r.fingerprint FROM dsar.request r WHERE r.request_id = s.request_id OFFSET 0) AS known ON true
 WHERE s.number BETWEEN %(first)s AND %(last)s
"""

_ADD = """
INSERT INTO dsar.request (request_id, action, regulation, jurisdiction, received_at, zone, due_at,
                          ack_due_at, fingerprint, planned_at, not_asked, needs_answer)
SELECT s.request_id, s.action, s.regulation, s.jurisdiction, s.received_at, s.zone, s.due_at,
       s.ack_due_at, s.fingerprint, %(now)s, s.not_asked, s.needs_answer
  FROM staged_outcome o JOIN staged s USING (number)
 WHERE o.outcome = 'new' AND o.number BETWEEN %(first)s AND %(last)s
 ORDER BY s.due_at, s.request_id
ON CONFLICT (request_id) DO NOTHING
"""

# Only requests without any submission are new: every request gets all of its own in one transaction.
_ADD_SUBMISSIONS = """
WITH added AS (
INSERT INTO dsar.submission (request, account, vendor, identity, identity_hash, identifiers, state, reason,
                             due_at, changed_at, finished_at)
SELECT r.id, s.account, s.vendor, s.identity, s.identity_hash, s.identifiers, s.state, s.reason, r.due_at,
       %(now)s, CASE WHEN NOT dsar.is_open(s.state) THEN %(now)s END
  FROM (SELECT o.number, known.id, known.due_at
          FROM staged_outcome o,
               LATERAL (SELECT id, due_at FROM dsar.request WHERE request_id = o.request_id OFFSET 0) AS known
         WHERE o.outcome = 'new' AND o.number BETWEEN %(first)s AND %(last)s
           AND NOT EXISTS (SELECT FROM dsar.submission other WHERE other.request = known.id OFFSET 0)
        OFFSET 0) AS r
  JOIN staged_submission s USING (number)
 ORDER BY r.id, s.position  -- an operator counts the identifiers of a kind in the order of the source
RETURNING account, request, state
)
SELECT account, action, count(*) AS n
  FROM (SELECT account, (SELECT r.action FROM dsar.request r WHERE r.id = added.request) AS action
          FROM added WHERE dsar.is_open(state)) AS new
 GROUP BY account, action
"""

_KNOWN = """
SELECT request_id FROM staged_outcome WHERE outcome = 'known' AND number BETWEEN %(first)s AND %(last)s
"""

_COUNTS = """
SELECT outcome, count(*) AS n FROM staged_outcome WHERE number BETWEEN %(first)s AND %(last)s GROUP BY outcome
"""

# Planned submissions belong to open requests. The condition keeps PostgreSQL from reading closed ones.
_PLANNED = """
SELECT s.account, r.action, count(*) AS n
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.state = 'planned' AND r.status = 'in_progress'
   AND (s.is_held OR r.hold_reason IS NOT NULL) = %(on_hold)s
   AND (%(request_ids)s::text[] IS NULL OR r.request_id = ANY(%(request_ids)s))
 GROUP BY s.account, r.action
"""

_FAILED_OPEN = """
SELECT s.id, s.state FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.state IN ('failed', 'rejected') AND r.status = 'in_progress' AND s.identifiers IS NOT NULL
   AND (%(request_ids)s::text[] IS NULL OR r.request_id = ANY(%(request_ids)s))
"""

_FAILED_CLOSED = """
SELECT s.id, s.state
  FROM dsar.request r
  JOIN dsar.submission s ON s.request = r.id AND s.state IN ('failed', 'rejected')
  JOIN staged_known k ON k.number BETWEEN %(first)s AND %(last)s AND k.request_id = r.request_id
                     AND k.account = s.account AND k.identity_hash = s.identity_hash
 WHERE r.request_id = ANY(%(request_ids)s) AND r.status <> 'in_progress'
"""

# If a result of such a request is in a sealed package, we cannot take it from there for the next package.
_SEALED = """
SELECT s.id, s.state
  FROM dsar.request r
  JOIN dsar.submission s ON s.request = r.id AND s.state = 'completed' AND s.file_path IS NOT NULL
  JOIN staged_known k ON k.number BETWEEN %(first)s AND %(last)s AND k.request_id = r.request_id
                     AND k.account = s.account AND k.identity_hash = s.identity_hash
 WHERE r.id IN (SELECT request FROM dsar.submission WHERE id = ANY(%(failed)s))
   AND r.export_uri LIKE '%%.age'
"""

# The identifiers were erased when the request was closed. The row of the source has them again, and the
# keyed hash says to which submission each belongs.
_REOPEN = """
WITH restored AS (
    UPDATE dsar.submission s SET identifiers = k.identifiers
      FROM dsar.request r, staged_known k
     WHERE s.id = ANY(%(submissions)s) AND r.id = s.request
       AND k.number BETWEEN %(first)s AND %(last)s AND k.request_id = r.request_id
       AND k.account = s.account AND k.identity_hash = s.identity_hash
    RETURNING s.request
)
UPDATE dsar.request
   SET status = 'in_progress', status_reason = NULL, closed_at = NULL, source_updated = false,
       is_unresolved = false
 WHERE id IN (SELECT request FROM restored)
"""
