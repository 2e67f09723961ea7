"""The states of a submission, and the one statement that moves a submission from one state to another.

    start          -> planned, not_applicable
    planned        -> submitting, submitted
    submitting     -> submitted, rejected, planned, uncertain
    uncertain      -> submitted, planned
    submitted      -> ready, completed, no_data, failed, planned
    ready          -> completed, no_data, failed, planned
    completed      -> planned, end
    no_data        -> planned, end
    not_applicable -> end
    rejected       -> planned, end
    failed         -> planned, end

`make docs` writes this diagram from TRANSITIONS, which also gives the cause of each move. A submission moves
only if it is still in the state that the move leaves. A move that is not ORDINARY, or has a reason, also
adds a row to `dsar.event` in the same statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from include.dsar.errors import TransitionLost
from include.dsar.ledger.database import Database
from include.dsar.model import CollectedFile, State

FIRST_STATES = (State.PLANNED, State.NOT_APPLICABLE)

# From which state to which, and why. The texts have no colon and no semicolon: Mermaid cannot show them.
TRANSITIONS: dict[tuple[State, State], str] = {
    (State.PLANNED, State.SUBMITTING): "a worker claims it",
    (State.PLANNED, State.SUBMITTED): "it shares another request's job",
    (State.SUBMITTING, State.SUBMITTED): "the vendor accepted it",
    (State.SUBMITTING, State.REJECTED): "the vendor refused our input",
    (State.SUBMITTING, State.PLANNED): "the vendor certainly did not accept it",
    (State.SUBMITTING, State.UNCERTAIN): "no usable reply, or the worker died",
    (State.UNCERTAIN, State.SUBMITTED): "found at the vendor",
    (State.UNCERTAIN, State.PLANNED): "safe to send again",
    (State.SUBMITTED, State.READY): "a result can be collected",
    (State.SUBMITTED, State.COMPLETED): "the vendor erased the data",
    (State.SUBMITTED, State.NO_DATA): "the vendor has no data",
    (State.SUBMITTED, State.FAILED): "the job failed",
    (State.SUBMITTED, State.PLANNED): "its batch failed or did not end, and a smaller batch may succeed",
    (State.READY, State.COMPLETED): "the result is collected",
    (State.READY, State.NO_DATA): "the result is empty",
    (State.READY, State.FAILED): "the result is lost or unusable",
    (State.READY, State.PLANNED): "the result is damaged or has expired",
    (State.FAILED, State.PLANNED): "an operator asked for another try",
    (State.REJECTED, State.PLANNED): "an operator asked for another try",
    (State.NO_DATA, State.PLANNED): "an operator discarded the outcome",
    (State.COMPLETED, State.PLANNED): "its result exists only in a sealed package",
}

ORDINARY = {  # without a reason, an event would say no more than the times in the row
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
    """A move of one submission to another state."""

    submission: int
    to: State
    reason: str | None = None
    job_id: str | None = None
    not_before: datetime | None = None
    batch_limit: int | None = None
    file: CollectedFile | None = None
    untried: bool = False  # nothing was sent after all: the attempt does not count
    of_job: str | None = None  # moves only if it is in this job
    since: datetime | None = None  # moves only if its last change was at this time
    submitted_at: datetime | None = None  # when its job was submitted; None: now


def move(
    db: Database, moves: Sequence[Move], *, leave: State, now: datetime, worker: int | None = None
) -> set[int]:
    """Moves submissions out of the state `leave` in one statement. Returns the ids of those that moved.

    A submission does not move if it is now in another state or job. If `worker` is given, the submission
    moves only if this worker has claimed it. The caller must check which submissions moved: see
    `require_moved`.
    """
    if wrong := {m.to for m in moves if (leave, m.to) not in TRANSITIONS}:
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


def require_moved(moved: set[int], wanted: Iterable[int], *, leave: State) -> None:
    """Raises TransitionLost if one of the `wanted` submissions did not move."""
    lost = sorted(set(wanted) - moved)
    if lost:
        raise TransitionLost(
            f"{len(lost)} submissions are no longer {leave}; the first of them has ledger id {lost[0]}"
        )


def render_states() -> str:
    """Returns the transitions as a Mermaid diagram for the documentation."""
    lines = [f"    {leave} --> {to}: {why}" for (leave, to), why in TRANSITIONS.items()]
    begin = [f"    [*] --> {state}" for state in FIRST_STATES]
    end = [f"    {state} --> [*]" for state in State if state.is_terminal]
    return "\n".join(["```mermaid", "stateDiagram-v2", *begin, *lines, *end, "```"])


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
before AS (  -- locked in the order of their ids: two sessions that move the same rows never deadlock
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
           confirmed_at = NULL,
           earlier_jobs = s.earlier_jobs
                          + (m.enters = 'planned' AND s.job_id IS NOT NULL)::int,
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
