"""The states of a submission, and the one statement that moves it from one to the next.

    planned ──► submitting ──► submitted ──► ready ──► completed
       ├───────────────────────────┤                                 shares another request's job
       │            │              ├─────────────────► completed      erasure: nothing to collect
       │            │              ├─────────────────► no_data | failed
       │            │              └──► planned                       its batch failed: a smaller one
       │            ├──► rejected                                     the vendor refused our input
       │            ├──► planned                                      the vendor surely took nothing
       │            └──► uncertain ──► submitted                      found at the vendor
       │                     └───────► planned                        safe to send again
       └──► not_applicable
    ready ──► no_data | failed                                        the result says nothing, or is lost
    failed ──► planned                                                a person asked for it
    completed ──► planned                                             its result, needed again, is sealed

Every move is guarded by the state that it leaves. What departs from the ordinary way, or has a
reason, also leaves a row in `dsar.event`, in the same statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from include.dsar.errors import TransitionLost
from include.dsar.ledger.database import Database
from include.dsar.model import CollectedFile, State

TRANSITIONS = {
    State.PLANNED: {State.SUBMITTING, State.SUBMITTED},
    State.SUBMITTING: {State.SUBMITTED, State.REJECTED, State.PLANNED, State.UNCERTAIN},
    State.UNCERTAIN: {State.SUBMITTED, State.PLANNED},
    State.SUBMITTED: {State.READY, State.COMPLETED, State.NO_DATA, State.FAILED, State.PLANNED},
    State.READY: {State.COMPLETED, State.NO_DATA, State.FAILED},
    State.FAILED: {State.PLANNED},
    State.COMPLETED: {State.PLANNED},
}

ORDINARY = {  # without a reason it tells no more than the times in the row itself
    (State.PLANNED, State.SUBMITTING),
    (State.SUBMITTING, State.SUBMITTED),
    (State.SUBMITTED, State.READY),
    (State.SUBMITTED, State.COMPLETED),
    (State.SUBMITTED, State.NO_DATA),
    (State.READY, State.COMPLETED),
    (State.READY, State.NO_DATA),
}


@dataclass(frozen=True)
class Move:
    """One submission's way into another state."""

    submission: int
    to: State
    reason: str | None = None
    job_id: str | None = None
    not_before: datetime | None = None
    batch_limit: int | None = None
    file: CollectedFile | None = None
    untried: bool = False  # nothing was sent after all: the attempt does not count
    of_job: str | None = None  # moves only while it is in this job
    since: datetime | None = None  # moves only where nobody has moved it since
    submitted_at: datetime | None = None  # when its job was submitted, where that is not now


def move(
    db: Database,
    moves: Sequence[Move],
    *,
    leave: State,
    now: datetime,
    worker: int | None = None,
) -> set[int]:
    """Moves submissions out of `leave`, all in one statement, and returns the ids that moved.

    `worker` narrows the guard to what this worker holds. A submission that is in another state, or
    job, by now does not move; the caller decides what that means (`insist` where it must not happen).
    """
    wrong = {m.to for m in moves} - TRANSITIONS[leave]
    if wrong:
        raise ValueError(f"no transition from {leave} to {', '.join(sorted(wrong))}")
    if not moves:
        return set()
    rows = db.execute(
        _MOVE,
        {
            "leave": leave,
            "now": now,
            "worker": worker,
            "id": [m.submission for m in moves],
            "enters": [m.to for m in moves],
            "reason": [m.reason for m in moves],
            "job_id": [m.job_id for m in moves],
            "not_before": [m.not_before for m in moves],
            "batch_limit": [m.batch_limit for m in moves],
            "untried": [m.untried for m in moves],
            "of_job": [m.of_job for m in moves],
            "since": [m.since for m in moves],
            "submitted_at": [m.submitted_at for m in moves],
            "file_path": [m.file and m.file.path for m in moves],
            "file_name": [m.file and m.file.name for m in moves],
            "file_sha256": [m.file and m.file.sha256 for m in moves],
            "file_bytes": [m.file and m.file.bytes for m in moves],
            "noteworthy": [m.reason is not None or (leave, m.to) not in ORDINARY for m in moves],
        },
    ).fetchall()
    return {row["id"] for row in rows}


def insist(moved: set[int], wanted: Iterable[int], *, leave: State) -> None:
    """Raises TransitionLost where a submission did not move that nobody else may have touched."""
    lost = sorted(set(wanted) - moved)
    if lost:
        raise TransitionLost(
            f"{len(lost)} submissions were not {leave} any more, the first of them ledger id {lost[0]}"
        )


_MOVE = """
WITH move AS (
    SELECT * FROM unnest(
        %(id)s::bigint[], %(enters)s::text[], %(reason)s::text[], %(job_id)s::text[],
        %(not_before)s::timestamptz[], %(batch_limit)s::int[], %(untried)s::boolean[], %(of_job)s::text[],
        %(since)s::timestamptz[], %(submitted_at)s::timestamptz[], %(file_path)s::text[],
        %(file_name)s::text[], %(file_sha256)s::text[], %(file_bytes)s::bigint[], %(noteworthy)s::boolean[]
    ) AS m (id, enters, reason, job_id, not_before, batch_limit, untried, of_job, since,
            submitted_at, file_path, file_name, file_sha256, file_bytes, noteworthy)
),
before AS (  -- locked in the order of their ids, so that two who move the same rows never deadlock
    SELECT s.id, s.job_id, s.attempts FROM dsar.submission s JOIN move USING (id)
     ORDER BY s.id FOR UPDATE OF s
),
moved AS (
    UPDATE dsar.submission s
       SET state = m.enters,
           reason = coalesce(m.reason, CASE WHEN s.state IN ('submitted', 'ready') THEN s.reason END),
           changed_at = %(now)s,
           worker = NULL,
           job_id = CASE WHEN m.enters = 'planned' THEN NULL ELSE coalesce(m.job_id, s.job_id) END,
           submitted_at = CASE m.enters WHEN 'submitted' THEN coalesce(m.submitted_at, %(now)s)
                          WHEN 'planned' THEN NULL ELSE s.submitted_at END,
           finished_at = CASE WHEN NOT dsar.is_open(m.enters) THEN %(now)s END,
           not_before = CASE WHEN m.enters = 'planned' THEN m.not_before END,
           batch_limit = CASE WHEN m.enters = 'planned' THEN coalesce(m.batch_limit, s.batch_limit)
                         ELSE s.batch_limit END,
           attempts = s.attempts - m.untried::int,
           uncertain_count = s.uncertain_count + (m.enters = 'uncertain')::int,
           unknown_since = NULL,
           is_unconfirmed = false,
           earlier_jobs = s.earlier_jobs
                          + (m.enters = 'planned' AND s.state IN ('submitted', 'failed', 'completed'))::int,
           file_path = m.file_path,
           file_name = m.file_name,
           file_sha256 = m.file_sha256,
           file_bytes = m.file_bytes
      FROM move m JOIN before USING (id)
     WHERE s.id = m.id
       AND s.state = %(leave)s
       AND (%(worker)s::int IS NULL OR s.worker = %(worker)s)
       AND (m.of_job IS NULL OR s.job_id = m.of_job)
       AND (m.since IS NULL OR s.changed_at = m.since)
    RETURNING s.id, s.request, m.enters, m.reason, m.noteworthy, m.job_id, m.untried
),
noted AS (
    INSERT INTO dsar.event (at, request, submission, leaves, enters, reason, attempt, job_id)
    SELECT %(now)s, moved.request, moved.id, %(leave)s, moved.enters, moved.reason,
           before.attempts, coalesce(moved.job_id, before.job_id)
      FROM moved JOIN before USING (id)
     WHERE moved.noteworthy AND NOT moved.untried
)
SELECT id FROM moved
"""
