"""Closes requests whose submissions have all ended, and writes their status back to the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from include.dsar.accounts import WHOLE, Shard
from include.dsar.errors import TransitionLost
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import (
    AccountRecord,
    Action,
    CollectedFile,
    RequestRecord,
    State,
    Status,
    SubmissionRecord,
)
from include.dsar.zones import in_zone

WRITE_BACK_LOCK = 0x6473617202
REASON_SEALED = "the result was sealed before the request was closed, and we cannot open it"


@dataclass(frozen=True)
class Closed:
    """A request whose receipt is in storage."""

    request: int
    status: Status
    status_reason: str | None
    export_uri: str


@dataclass(frozen=True)
class PendingWriteBack:
    """A status that has not been written back to the source yet."""

    request: int
    request_id: str
    status: Status
    status_reason: str | None
    due_at: datetime
    closed_at: datetime | None
    export_uri: str | None


def closable(db: Database, *, request_pks: Sequence[int] | None, shard: Shard = WHOLE) -> list[int]:
    """Returns the ledger ids of the shard's open requests whose submissions have all ended, soonest due
    date first.

    A request stays open if one of its outcomes waits for an operator, or if an operator must answer it.
    """
    rows = db.execute(_CLOSABLE, {"request_pks": request_pks, **shard._asdict()}).fetchall()
    return [row["id"] for row in rows]


def records(db: Database, ids: Sequence[int], *, chunk: int = 200) -> Iterator[list[RequestRecord]]:
    """Yields the records of these requests, in chunks."""
    for start in range(0, len(ids), chunk):
        rows = db.execute(_RECORDS, {"ids": list(ids[start : start + chunk])}).fetchall()
        yield [_record(list(of_one)) for _, of_one in groupby(rows, key=lambda row: row["id"])]


def close(db: Database, closed: Sequence[Closed], *, now: datetime) -> None:
    """Closes requests and erases their identifiers, in one transaction.

    A request that failed, or that left an account out, is unresolved until it is retried or acknowledged.
    Raises TransitionLost and closes no request if one of the requests is no longer open.
    """
    parameters = {
        "now": now,
        "id": [c.request for c in closed],
        "status": [c.status for c in closed],
        "reason": [c.status_reason for c in closed],
        "uri": [c.export_uri for c in closed],
    }
    with db.transaction():
        if db.execute(_CLOSE, parameters).rowcount != len(closed):
            raise TransitionLost("a request cannot be closed, because it is no longer open")
        db.execute(_ERASE, {"ids": parameters["id"]})


def replan_sealed(db: Database, request: int, file_paths: Sequence[str], *, now: datetime) -> None:
    """Plans submissions again if their results exist only in a sealed package. `file_paths` are the paths
    of these results.

    Raises TransitionLost if the request was closed in the meantime.
    """
    with db.transaction():
        rows = db.execute(_WITH_RESULT, {"request": request, "paths": list(file_paths)}).fetchall()
        moves = [Move(row["id"], State.PLANNED, REASON_SEALED) for row in rows]
        moved = move(db, moves, leave=State.COMPLETED, now=now)
        if len(moved) != len(file_paths):
            raise TransitionLost("a result cannot be collected again, because its request is no longer open")


@contextmanager
def one_write_back_at_a_time(db: Database) -> Iterator[None]:
    """Waits until no other session writes back.

    Without this lock, a slow session could overwrite a newer status in the source with an older one.
    """
    db.execute("SELECT pg_advisory_lock(%s)", [WRITE_BACK_LOCK])
    try:
        yield
    finally:
        db.execute("SELECT pg_advisory_unlock(%s)", [WRITE_BACK_LOCK])


def pending_write_backs(db: Database, *, limit: int, after: int = 0) -> list[PendingWriteBack]:
    """Returns up to `limit` statuses that the source does not have yet, for ledger ids above `after`."""
    rows = db.execute(_PENDING_WRITE_BACKS, {"limit": limit, "after": after}).fetchall()
    return [PendingWriteBack(**{**row, "status": Status(row["status"])}) for row in rows]


def mark_written_back(db: Database, written: Sequence[PendingWriteBack]) -> None:
    """Records that the source has these statuses. If a request has changed in the meantime, its new status
    stays pending.
    """
    parameters = {
        "ids": [n.request for n in written],
        "status": [n.status for n in written],
        "closed_at": [n.closed_at for n in written],
    }
    db.execute(_MARK_WRITTEN_BACK, parameters)


def _record(rows: list[dict[str, Any]]) -> RequestRecord:
    accounts = tuple(
        _account(account, list(of_one)) for account, of_one in groupby(rows, key=lambda row: row["account"])
    )
    status, reason = summarise({a.account: a.outcome for a in accounts})
    first = in_zone(rows[0])
    return RequestRecord(
        id=first["id"],
        request_id=first["request_id"],
        action=Action(first["action"]),
        regulation=first["regulation"],
        received_at=first["received_at"],
        due_at=first["due_at"],
        status=status,
        status_reason=reason,
        accounts=accounts,
    )


def _account(account: str, rows: list[dict[str, Any]]) -> AccountRecord:
    reasons = sorted({row["reason"] for row in rows if row["reason"]})
    return AccountRecord(
        account=account,
        vendor=rows[0]["vendor"],
        outcome=account_outcome({State(row["state"]) for row in rows}),
        reason="; ".join(reasons) or None,
        submissions=tuple(_submission(row) for row in rows if row["state"] != State.NOT_APPLICABLE),
    )


def _submission(row: dict[str, Any]) -> SubmissionRecord:
    return SubmissionRecord(
        identity=row["identity"],
        outcome=State(row["state"]),
        reason=row["reason"],
        job_id=row["job_id"],
        submitted_at=row["submitted_at"],
        finished_at=row["finished_at"],
        attempts=row["attempts"],
        file=row["file_path"]
        and CollectedFile(row["file_path"], row["file_name"], row["file_sha256"], row["file_bytes"]),
    )


def account_outcome(outcomes: set[State]) -> State | Status:
    """Returns the outcome of an account for a request, from the outcomes of all its submissions."""
    good, bad = outcomes - {State.REJECTED, State.FAILED}, outcomes & {State.REJECTED, State.FAILED}
    if bad:
        if good & {State.COMPLETED, State.NO_DATA}:
            return Status.PARTIAL
        return State.FAILED if State.FAILED in bad else State.REJECTED
    if State.COMPLETED in good:
        return State.COMPLETED
    return State.NO_DATA if State.NO_DATA in good else State.NOT_APPLICABLE


def summarise(outcomes: dict[str, State | Status]) -> tuple[Status, str | None]:
    """Returns the status of a request from the outcomes of its accounts, and the reason if it is not
    completed.
    """
    wrong = {a: o for a, o in outcomes.items() if o in (State.FAILED, State.REJECTED, Status.PARTIAL)}
    if not wrong:
        return Status.COMPLETED, None
    reason = ", ".join(f"{account}: {outcome.value}" for account, outcome in sorted(wrong.items()))
    asked = {a: o for a, o in outcomes.items() if o != State.NOT_APPLICABLE}
    all_wrong = len(wrong) == len(asked) and Status.PARTIAL not in wrong.values()
    return (Status.FAILED if all_wrong else Status.PARTIAL), reason


# Each request belongs to one shard, by a hash of its id: no claim has to be kept or given back.
_CLOSABLE = """
SELECT r.id FROM dsar.request r
 WHERE r.status = 'in_progress' AND NOT r.needs_answer
   AND (hashint8(r.id) & 2147483647) %% %(of)s = %(number)s - 1
   AND (%(request_pks)s::bigint[] IS NULL OR r.id = ANY(%(request_pks)s))
   AND NOT EXISTS (
       SELECT FROM dsar.submission s
        WHERE s.request = r.id AND dsar.keeps_request_open(s))
 ORDER BY r.due_at, r.id
"""

_RECORDS = """
SELECT r.id, r.request_id, r.action, r.regulation, r.received_at, r.due_at, r.zone,
       s.account, s.vendor, s.identity, s.state, s.reason, s.job_id, s.submitted_at,
       s.finished_at, s.attempts, s.file_path, s.file_name, s.file_sha256, s.file_bytes
  FROM dsar.request r JOIN dsar.submission s ON s.request = r.id
 WHERE r.id = ANY(%(ids)s)
 ORDER BY r.due_at, r.id, s.account, s.id
"""

_CLOSE = """
UPDATE dsar.request r
   SET status = c.status, status_reason = c.reason, export_uri = c.uri, closed_at = %(now)s,
       source_updated = false,
       is_unresolved = c.status IN ('failed', 'partial')
                       OR (r.answered_at IS NULL AND dsar.is_left_out(r.not_asked, %(now)s))
  FROM unnest(%(id)s::bigint[], %(status)s::text[], %(reason)s::text[], %(uri)s::text[])
       AS c (id, status, reason, uri)
 WHERE r.id = c.id AND r.status = 'in_progress' AND NOT r.needs_answer
   AND NOT EXISTS (
       SELECT FROM dsar.submission s
        WHERE s.request = r.id AND dsar.keeps_request_open(s))
"""

_ERASE = """
UPDATE dsar.submission SET identifiers = NULL WHERE request = ANY(%(ids)s) AND identifiers IS NOT NULL
"""

_WITH_RESULT = """
SELECT s.id FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE r.id = %(request)s AND r.status = 'in_progress'
   AND s.state = 'completed' AND s.file_path = ANY(%(paths)s)
"""

_PENDING_WRITE_BACKS = """
SELECT id AS request, request_id, status, status_reason, due_at, closed_at, export_uri
  FROM dsar.request WHERE NOT source_updated AND id > %(after)s ORDER BY id LIMIT %(limit)s
"""

_MARK_WRITTEN_BACK = """
UPDATE dsar.request r
   SET source_updated = r.status = n.status AND r.closed_at IS NOT DISTINCT FROM n.closed_at
  FROM unnest(%(ids)s::bigint[], %(status)s::text[], %(closed_at)s::timestamptz[])
       AS n (id, status, closed_at)
 WHERE r.id = n.id
"""
