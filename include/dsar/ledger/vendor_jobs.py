"""Reads the jobs that vendors work on, and the jobs with a result to collect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from psycopg.rows import tuple_row

from include.dsar.accounts import WHOLE, Shard
from include.dsar.ledger.database import Database
from include.dsar.model import Action, IdentityKind


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job at the vendor. It may contain many submissions."""

    job_id: str
    action: Action
    submitted_at: datetime
    submissions: tuple[int, ...]
    subject_count: int  # in the whole job; several requests of one data subject may share it
    unknown_since: datetime | None = None  # see trust.py

    @classmethod
    def of(cls, row: JobRow) -> OpenJob:
        job_id, action, submitted_at, submissions, subject_count, unknown_since = row
        return cls(job_id, Action(action), submitted_at, submissions, subject_count, unknown_since)


# An open job between two polls. Python's garbage collector ignores tuples of plain values. It would stop the
# triggerer again and again to scan 100,000 objects.
JobRow = tuple[str, str, datetime, tuple[int, ...], int, datetime | None]


@dataclass(frozen=True)
class Member:
    """One submission of a job."""

    submission: int
    request: int
    request_id: str
    identifiers: dict[IdentityKind, str] = field(repr=False)


def open_jobs(
    db: Database, account: str, *, request_pks: Sequence[int] | None, shard: Shard = WHOLE
) -> list[JobRow]:
    """Returns the shard's open jobs at this account, oldest first."""
    with db.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(_OPEN_JOBS, {"account": account, "request_pks": request_pks, **shard._asdict()})
        return [
            (job_id, action, at, tuple(ids), n, unknown) for job_id, action, at, ids, n, unknown in cursor
        ]


def poll_position(db: Database, account: str, shard: Shard) -> float:
    """Returns the place of the first job that the shard's last incomplete window did not reach. 0 if every
    window reached all jobs.
    """
    row = db.execute(_POSITION, {"account": account, **shard._asdict()}).fetchone()
    return row["position"] if row else 0.0


def put_poll_position(db: Database, account: str, shard: Shard, position: float) -> None:
    """Stores the place of the first job that a window did not reach."""
    db.execute(_PUT_POSITION, {"account": account, **shard._asdict(), "position": position})


def members(db: Database, account: str, job_ids: Sequence[str], *, state: str) -> dict[str, list[Member]]:
    """Returns the submissions of each of these jobs that are in this state."""
    found: dict[str, list[Member]] = {job_id: [] for job_id in job_ids}
    for row in db.execute(_MEMBERS, {"account": account, "job_ids": list(job_ids), "state": state}):
        identifiers = {IdentityKind(kind): value for kind, value in row["identifiers"].items()}
        found[row["job_id"]].append(Member(row["id"], row["request"], row["request_id"], identifiers))
    return found


@dataclass(frozen=True, slots=True)
class ReadyJob:
    """A job with a result to collect."""

    job_id: str
    since: datetime
    unknown_since: datetime | None = None


def ready_jobs(
    db: Database, account: str, *, request_pks: Sequence[int] | None, shard: Shard = WHOLE
) -> list[ReadyJob]:
    """Returns the shard's jobs with a result to collect. The oldest come first because results expire."""
    rows = db.execute(
        _READY_JOBS, {"account": account, "request_pks": request_pks, **shard._asdict()}
    ).fetchall()
    return [ReadyJob(row["job_id"], row["since"], row["unknown_since"]) for row in rows]


def has_other_ended(db: Database, account: str, job_ids: Sequence[str], *, since: datetime) -> bool:
    """Returns whether any other job of the account has ended at the vendor since this time. `job_ids` are
    the jobs that do not count.
    """
    parameters = {"account": account, "job_ids": list(job_ids), "since": since}
    row = db.execute(_HAS_OTHER_ENDED, parameters).fetchone()
    assert row is not None
    return bool(row["has_ended"])


def lost_results(db: Database, member: Member) -> int:
    """Returns how often a result of this submission was lost and asked for again. The count begins again
    when the submission fails.
    """
    row = db.execute(_LOST_RESULTS, {"request": member.request, "submission": member.submission}).fetchone()
    assert row is not None
    return int(row["n"])


def mark_unknown(db: Database, account: str, job_ids: Sequence[str], *, now: datetime) -> None:
    """Records when the vendor first reported that it does not have these jobs. Keeps a time that is already
    recorded.
    """
    if job_ids:
        db.execute(_MARK_UNKNOWN, {"account": account, "job_ids": job_ids, "now": now})


def mark_known(db: Database, account: str, job_ids: Sequence[str]) -> None:
    """Removes the times that `mark_unknown` recorded, because the vendor has these jobs."""
    if job_ids:
        db.execute(_MARK_UNKNOWN, {"account": account, "job_ids": job_ids, "now": None})


# A hash of its id assigns each job to one shard, so that no claims are needed.
_OPEN_JOBS = """
SELECT s.job_id, min(r.action), min(s.submitted_at) AS submitted_at,
       array_agg(s.id) FILTER (WHERE %(request_pks)s::bigint[] IS NULL OR s.request = ANY(%(request_pks)s)),
       count(DISTINCT s.identity_hash), min(s.unknown_since)
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.account = %(account)s AND s.state = 'submitted'
   AND (hashtext(s.job_id) & 2147483647) %% %(of)s = %(number)s - 1
 GROUP BY s.job_id
HAVING %(request_pks)s::bigint[] IS NULL OR bool_or(s.request = ANY(%(request_pks)s))
 ORDER BY submitted_at
"""

_POSITION = """
SELECT position FROM dsar.poll_position
 WHERE account = %(account)s AND shards = %(of)s AND shard = %(number)s
"""

_PUT_POSITION = """
INSERT INTO dsar.poll_position (account, shards, shard, position)
VALUES (%(account)s, %(of)s, %(number)s, %(position)s)
    ON CONFLICT (account, shards, shard) DO UPDATE SET position = excluded.position
"""

_MEMBERS = """
SELECT s.job_id, s.id, s.request, r.request_id, s.identifiers
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.account = %(account)s AND s.state = %(state)s AND s.job_id = ANY(%(job_ids)s)
 ORDER BY s.id
"""

_READY_JOBS = """
SELECT job_id, min(changed_at) AS since, min(unknown_since) AS unknown_since FROM dsar.submission
 WHERE account = %(account)s AND state = 'ready'
   AND (hashtext(job_id) & 2147483647) %% %(of)s = %(number)s - 1
   AND (%(request_pks)s::bigint[] IS NULL OR request = ANY(%(request_pks)s))
 GROUP BY job_id
 ORDER BY min(submitted_at)
"""

_HAS_OTHER_ENDED = """
SELECT EXISTS (
    SELECT FROM dsar.submission
     WHERE account = %(account)s AND finished_at >= %(since)s AND state IN ('completed', 'no_data')
       AND NOT job_id = ANY(%(job_ids)s)
    UNION ALL
    SELECT FROM dsar.submission
     WHERE account = %(account)s AND state = 'ready' AND changed_at >= %(since)s
       AND NOT job_id = ANY(%(job_ids)s)
) AS has_ended
"""

_LOST_RESULTS = """
SELECT count(*) FILTER (WHERE e.leaves = 'ready' AND e.enters = 'planned' AND e.id > coalesce((
           SELECT max(f.id) FROM dsar.event f
            WHERE f.request = %(request)s AND f.submission = %(submission)s AND f.enters = 'failed'), 0)) AS n
  FROM dsar.event e WHERE e.request = %(request)s AND e.submission = %(submission)s
"""

# Locked in the order of their ids, as a move locks them.
_MARK_UNKNOWN = """
WITH marked AS (
    SELECT id FROM dsar.submission
     WHERE account = %(account)s AND state IN ('submitted', 'ready') AND job_id = ANY(%(job_ids)s)
     ORDER BY id FOR UPDATE
)
UPDATE dsar.submission s
   SET unknown_since = CASE WHEN %(now)s::timestamptz IS NOT NULL THEN coalesce(s.unknown_since, %(now)s) END
  FROM marked WHERE s.id = marked.id
"""
