"""Reads the batches that have not ended, and the usual time of an account's jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from include.dsar.accounts import WHOLE, Shard
from include.dsar.ledger.database import Database
from include.dsar.model import Action

HISTORY = timedelta(days=90)
MIN_HISTORY = 20  # submissions; fewer say nothing about the usual time
MAX_HISTORY = 2000  # of the latest submissions
MAX_RECENT = 2000  # submissions whose jobs are compared


@dataclass(frozen=True)
class OpenBatch:
    """An open job at the vendor that contains several data subjects."""

    job_id: str
    action: Action
    submitted_at: datetime
    due_at: datetime  # the soonest of its requests
    submissions: tuple[int, ...]  # those of this run
    subject_count: int  # in the whole job


@dataclass(frozen=True)
class RecentJob:
    """A job that was submitted lately. `has_ended` says whether the vendor has ended it."""

    job_id: str
    action: Action
    submitted_at: datetime
    has_ended: bool


def open_batches(
    db: Database,
    account: str,
    *,
    before: datetime,
    request_pks: Sequence[int] | None,
    shard: Shard = WHOLE,
) -> list[OpenBatch]:
    """Returns the shard's open batches that were submitted before this time, oldest first."""
    parameters = {"account": account, "before": before, "request_pks": request_pks, **shard._asdict()}
    return [
        OpenBatch(
            row["job_id"],
            Action(row["action"]),
            row["submitted_at"],
            row["due_at"],
            tuple(row["ids"]),
            row["subject_count"],
        )
        for row in db.execute(_OPEN_BATCHES, parameters).fetchall()
    ]


def usual_time(db: Database, account: str, action: Action, *, now: datetime) -> timedelta | None:
    """Returns the time in which 95 % of the account's latest submissions ended. None without a history.

    The time of a submission ends when we notice its end. So the time includes the wait for the next poll
    and, for access, the download.
    """
    parameters = {"account": account, "action": action, "since": now - HISTORY, "limit": MAX_HISTORY}
    row = db.execute(_USUAL_TIME, parameters).fetchone()
    assert row is not None
    return row["usual"] if row["total"] >= MIN_HISTORY else None


def recent_jobs(db: Database, account: str, *, since: datetime) -> list[RecentJob]:
    """Returns the account's latest jobs that were sent after this time, latest first."""
    rows = db.execute(_RECENT_JOBS, {"account": account, "since": since, "limit": MAX_RECENT}).fetchall()
    return [RecentJob(**{**row, "action": Action(row["action"])}) for row in rows]


_OPEN_BATCHES = """
SELECT s.job_id, min(r.action) AS action, min(s.submitted_at) AS submitted_at, min(s.due_at) AS due_at,
       array_agg(s.id ORDER BY s.id)
           FILTER (WHERE %(request_pks)s::bigint[] IS NULL OR s.request = ANY(%(request_pks)s)) AS ids,
       count(DISTINCT s.identity_hash) AS subject_count
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.account = %(account)s AND s.state = 'submitted'
   AND (hashtext(s.job_id) & 2147483647) %% %(of)s = %(number)s - 1
 GROUP BY s.job_id
HAVING count(DISTINCT s.identity_hash) > 1 AND min(s.submitted_at) < %(before)s
   AND (%(request_pks)s::bigint[] IS NULL OR bool_or(s.request = ANY(%(request_pks)s)))
 ORDER BY submitted_at, s.job_id
"""

_USUAL_TIME = """
SELECT count(*) AS total,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY finished_at - submitted_at) AS usual
  FROM (SELECT s.finished_at, s.submitted_at FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
         WHERE s.account = %(account)s AND s.finished_at >= %(since)s AND r.action = %(action)s
           AND s.state IN ('completed', 'no_data') AND s.submitted_at IS NOT NULL
         ORDER BY s.finished_at DESC LIMIT %(limit)s) AS latest
"""

# A failed job says nothing: perhaps we gave up on it.
_RECENT_JOBS = """
SELECT job_id, action, max(submitted_at) AS submitted_at, bool_and(state <> 'submitted') AS has_ended
  FROM (SELECT s.job_id, r.action, s.submitted_at, s.state
          FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
         WHERE s.account = %(account)s AND s.attempted_at >= %(since)s AND s.job_id IS NOT NULL
           AND s.submitted_at IS NOT NULL AND s.state IN ('submitted', 'ready', 'completed', 'no_data')
         ORDER BY s.attempted_at DESC LIMIT %(limit)s) AS latest
 GROUP BY job_id, action
 ORDER BY submitted_at DESC
"""
