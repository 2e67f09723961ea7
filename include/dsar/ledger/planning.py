"""Requests enter the ledger: in bulk, once, with all their submissions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, insist, move
from include.dsar.model import Action, IdentityKind, Regulation, State

ASKED_AGAIN = "a person asked for another try"
SEALED = "a person asked for another try, and nobody here can open the sealed package with its result"


@dataclass(frozen=True)
class PlannedSubmission:
    account: str
    vendor: str
    state: State  # PLANNED, or NOT_APPLICABLE with its reason
    reason: str | None
    identity: str
    identity_hash: str
    identifiers: Mapping[IdentityKind, str] | None = field(repr=False)


@dataclass(frozen=True)
class PlannedRequest:
    request_id: str
    action: Action
    regulation: Regulation
    received_at: datetime
    due_at: datetime
    fingerprint: str
    submissions: tuple[PlannedSubmission, ...]


@dataclass(frozen=True)
class Planned:
    """What became of the requests that were given: each is counted once."""

    new: int
    known: int  # in the ledger already, unchanged
    reopened: int
    changed: tuple[str, ...]  # request ids whose rows say something else than when they were accepted


def identifiers_json(identifiers: Mapping[IdentityKind, str]) -> str:
    """The identifiers as JSON, the kinds in order: always the same text, since hashes are made of it.

    A JSON encoder is made anew for each object, which took a third of intake; for a string it is not.
    """
    return (
        "{" + ", ".join([f'"{kind}": {json.dumps(identifiers[kind])}' for kind in sorted(identifiers)]) + "}"
    )


def plan(db: Database, requests: Sequence[PlannedRequest], *, now: datetime, retry_failed: bool) -> Planned:
    """Adds requests that the ledger does not know, in one transaction; running it twice adds nothing.

    The source still shows a known one as pending, so it is told again. With `retry_failed`, known
    ones that ended with a failure are opened again. `requests` holds no request_id twice.
    """
    with db.transaction():
        _stage(db, requests)
        changed: list[str] = []
        same: list[str] = []
        for row in db.execute(_KNOWN).fetchall():
            (same if row["unchanged"] else changed).append(row["request_id"])
        new = db.execute(_ADD, {"now": now}).rowcount
        db.execute(_ADD_SUBMISSIONS, {"now": now})
        db.execute("UPDATE dsar.request SET source_updated = false WHERE request_id = ANY(%s)", [same])
        reopened = _reopen(db, same, now) if retry_failed and same else 0
        db.execute("DROP TABLE incoming, incoming_submission")
        return Planned(new, len(same) - reopened, reopened, tuple(changed))


def retry_open(db: Database, *, now: datetime, request_ids: Sequence[str] | None) -> int:
    """Plans failed submissions of requests that are still open once more. Returns how many."""
    rows = db.execute(_FAILED_OPEN, {"request_ids": request_ids}).fetchall()
    return len(_replan(db, [row["id"] for row in rows], now))


def planned(db: Database, *, request_ids: Sequence[str] | None = None) -> dict[str, dict[str, int]]:
    """How many submissions wait to be sent, by account and action."""
    counts: dict[str, dict[str, int]] = {}
    for row in db.execute(_PLANNED, {"request_ids": request_ids}).fetchall():
        counts.setdefault(row["account"], {})[row["action"]] = row["n"]
    return counts


def refs(db: Database, request_ids: Sequence[str]) -> list[int]:
    """The ledger's ids of those requests that it knows."""
    rows = db.execute("SELECT id FROM dsar.request WHERE request_id = ANY(%s)", [list(request_ids)])
    return sorted(row["id"] for row in rows)


def _stage(db: Database, requests: Iterable[PlannedRequest]) -> None:
    db.execute(_STAGING)
    with db.cursor() as cursor:
        with cursor.copy(
            "COPY incoming (request_id, action, regulation, received_at, due_at, fingerprint) FROM STDIN"
        ) as copy:
            for r in requests:
                copy.write_row((r.request_id, r.action, r.regulation, r.received_at, r.due_at, r.fingerprint))
        with cursor.copy(
            "COPY incoming_submission (request_id, account, vendor, state, reason, identity, identity_hash,"
            " identifiers) FROM STDIN"
        ) as copy:
            for r in requests:
                for s in r.submissions:
                    known = None if s.identifiers is None else identifiers_json(s.identifiers)
                    copy.write_row(
                        (
                            r.request_id,
                            s.account,
                            s.vendor,
                            s.state,
                            s.reason,
                            s.identity,
                            s.identity_hash,
                            known,
                        )
                    )
    db.execute("ANALYZE incoming")
    db.execute("ANALYZE incoming_submission")


def _reopen(db: Database, request_ids: Sequence[str], now: datetime) -> int:
    failed = [row["id"] for row in db.execute(_FAILED_CLOSED, {"request_ids": request_ids}).fetchall()]
    sealed = [row["id"] for row in db.execute(_SEALED, {"failed": failed}).fetchall()]
    reopened = db.execute(_REOPEN, {"submissions": failed + sealed}).rowcount
    _replan(db, failed, now)
    _replan(db, sealed, now, leave=State.COMPLETED, reason=SEALED)
    return reopened


def _replan(
    db: Database,
    submissions: Sequence[int],
    now: datetime,
    leave: State = State.FAILED,
    reason: str = ASKED_AGAIN,
) -> set[int]:
    moves = [Move(submission, State.PLANNED, reason) for submission in submissions]
    moved = move(db, moves, leave=leave, now=now)
    insist(moved, submissions, leave=leave)
    return moved


_STAGING = """
CREATE TEMP TABLE incoming (
    request_id text PRIMARY KEY, action text, regulation text, received_at timestamptz, due_at timestamptz,
    fingerprint text
);
CREATE TEMP TABLE incoming_submission (
    request_id text, account text, vendor text, state text, reason text, identity text, identity_hash text,
    identifiers jsonb
);
"""

# LATERAL with OFFSET 0, here and below: the ledger is looked up for what comes in, and never read whole.
_KNOWN = """
SELECT i.request_id, r.fingerprint = i.fingerprint AS unchanged
  FROM incoming i,
       LATERAL (SELECT fingerprint FROM dsar.request WHERE request_id = i.request_id OFFSET 0) AS r
"""

_ADD = """
INSERT INTO dsar.request (request_id, action, regulation, received_at, due_at, fingerprint, planned_at)
SELECT request_id, action, regulation, received_at, due_at, fingerprint, %(now)s FROM incoming
 ORDER BY due_at, request_id
ON CONFLICT (request_id) DO NOTHING
"""

# Only requests without any submission are new: every request gets all of its own in one transaction.
_ADD_SUBMISSIONS = """
INSERT INTO dsar.submission (request, account, vendor, identity, identity_hash, identifiers, state, reason,
                             due_at, changed_at, finished_at)
SELECT r.id, s.account, s.vendor, s.identity, s.identity_hash, s.identifiers, s.state, s.reason, r.due_at,
       %(now)s, CASE WHEN NOT dsar.is_open(s.state) THEN %(now)s END
  FROM incoming_submission s
  JOIN (SELECT i.request_id, known.id, known.due_at
          FROM incoming i,
               LATERAL (SELECT id, due_at FROM dsar.request WHERE request_id = i.request_id OFFSET 0) AS known
         WHERE NOT EXISTS (SELECT FROM dsar.submission o WHERE o.request = known.id OFFSET 0)
        OFFSET 0) AS r USING (request_id)
 ORDER BY r.id
"""

# What is planned is of open requests: said, it keeps PostgreSQL from reading all that ever were.
_PLANNED = """
SELECT s.account, r.action, count(*) AS n
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.state = 'planned' AND r.status = 'in_progress'
   AND (%(request_ids)s::text[] IS NULL OR r.request_id = ANY(%(request_ids)s))
 GROUP BY s.account, r.action
"""

_FAILED_OPEN = """
SELECT s.id FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.state = 'failed' AND r.status = 'in_progress' AND s.identifiers IS NOT NULL
   AND (%(request_ids)s::text[] IS NULL OR r.request_id = ANY(%(request_ids)s))
"""

_FAILED_CLOSED = """
SELECT s.id
  FROM dsar.request r
  JOIN dsar.submission s ON s.request = r.id AND s.state = 'failed'
  JOIN incoming_submission i ON i.request_id = r.request_id AND i.account = s.account
                            AND i.identity_hash = s.identity_hash
 WHERE r.request_id = ANY(%(request_ids)s) AND r.status <> 'in_progress'
"""

# What such a request has in a sealed package, we cannot take from there for the next one.
_SEALED = """
SELECT s.id
  FROM dsar.request r
  JOIN dsar.submission s ON s.request = r.id AND s.state = 'completed' AND s.file_path IS NOT NULL
  JOIN incoming_submission i ON i.request_id = r.request_id AND i.account = s.account
                            AND i.identity_hash = s.identity_hash
 WHERE r.id IN (SELECT request FROM dsar.submission WHERE id = ANY(%(failed)s))
   AND r.export_uri LIKE '%%.age'
"""

# The identifiers were erased when the request closed; the source's row brings them back, and the
# keyed hash tells where each belongs.
_REOPEN = """
WITH restored AS (
    UPDATE dsar.submission s SET identifiers = i.identifiers
      FROM dsar.request r, incoming_submission i
     WHERE s.id = ANY(%(submissions)s) AND r.id = s.request AND i.request_id = r.request_id
       AND i.account = s.account AND i.identity_hash = s.identity_hash
    RETURNING s.request
)
UPDATE dsar.request
   SET status = 'in_progress', status_reason = NULL, closed_at = NULL, source_updated = false
 WHERE id IN (SELECT request FROM restored)
"""
