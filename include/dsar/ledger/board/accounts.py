"""Figures about each account: its open work, its jobs at the vendor, its failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from include.dsar.ledger.database import Database
from include.dsar.ledger.uncertain import MAX_UNCERTAIN_ATTEMPTS

MAX_REASONS = 5  # per account; the other reasons are counted together
MAX_JOBS = 50
MAX_UNCERTAIN = 50


@dataclass(frozen=True)
class Failures:
    """How many submissions of one account failed or were rejected for the same reason."""

    state: str
    reason: str | None  # None: all other reasons
    submissions: int


@dataclass
class AccountFigures:
    """Figures about the submissions of one account. The fields `ended` to `failures` cover the chosen
    period.
    """

    account: str
    planned: int = 0  # can be sent
    held: int = 0  # on hold, because their volume is unusual
    uncertain: int = 0
    open_jobs: int = 0
    submitted: int = 0
    ready: int = 0
    oldest_job: datetime | None = None
    oldest_uncertain: datetime | None = None
    unconfirmed: int = 0  # outcomes that wait for an operator
    ended: int = 0  # completed or no data
    median: timedelta | None = None
    p95: timedelta | None = None
    failures: list[Failures] = field(default_factory=list)
    sent_today: int = 0  # since midnight UTC; counts against a daily quota


@dataclass(frozen=True)
class OpenJob:
    job_id: str
    state: str
    submissions: int
    submitted_at: datetime
    due_soonest: datetime


@dataclass(frozen=True)
class UncertainRequest:
    """A request that has an uncertain submission at an account."""

    request_id: str
    account: str
    due_at: datetime
    since: datetime


def figures(
    db: Database, accounts: Sequence[str], *, since: datetime, midnight: datetime, others: bool = True
) -> list[AccountFigures]:
    """Returns the figures of these accounts. With `others`, includes any other account that has open work."""
    found = {name: AccountFigures(name) for name in accounts}
    for row in db.execute(_OPEN).fetchall():
        if others or row["account"] in found:
            found[row["account"]] = AccountFigures(**row)
    parameters = {"accounts": list(found), "since": since, "midnight": midnight, "limit": MAX_REASONS}
    for statement in (_ENDED, _SENT_TODAY, _UNCONFIRMED):
        for row in db.execute(statement, parameters).fetchall():
            vars(found[row["account"]]).update(row)
    for row in db.execute(_FAILURES, parameters).fetchall():
        found[row.pop("account")].failures.append(Failures(**row))
    return list(found.values())


def open_jobs(db: Database, account: str) -> list[OpenJob]:
    """Returns at most MAX_JOBS open jobs of the account, oldest first."""
    rows = db.execute(_OPEN_JOBS, {"account": account, "limit": MAX_JOBS}).fetchall()
    return [OpenJob(**row) for row in rows]


def uncertain_requests(
    db: Database, accounts: Sequence[str], *, or_stuck: bool = False
) -> list[UncertainRequest]:
    """Returns the uncertain requests at these accounts, soonest due date first, at most MAX_UNCERTAIN.

    With `or_stuck`, also includes requests at any other account if no run reconciles them any more, because
    they were uncertain MAX_UNCERTAIN_ATTEMPTS times.
    """
    parameters = {
        "accounts": list(accounts),
        "or_stuck": or_stuck,
        "max_uncertain_attempts": MAX_UNCERTAIN_ATTEMPTS,
        "limit": MAX_UNCERTAIN,
    }
    return [UncertainRequest(**row) for row in db.execute(_UNCERTAIN, parameters).fetchall()]


def is_known(db: Database, account: str) -> bool:
    """Returns whether the ledger has a submission to this account."""
    row = db.execute("SELECT FROM dsar.submission WHERE account = %s LIMIT 1", [account]).fetchone()
    return row is not None


# One arm per partial index. A single `state IN (…)` would read the whole table.
_OPEN = """
WITH open AS (
    SELECT account, state, NULL AS job_id, NULL::timestamptz AS since, count(*) AS n
      FROM dsar.submission WHERE state = 'planned' AND NOT is_held GROUP BY account, state
    UNION ALL
    SELECT account, 'held', NULL, NULL, count(*)
      FROM dsar.submission WHERE state = 'planned' AND is_held GROUP BY account
    UNION ALL
    SELECT account, state, NULL, min(changed_at), count(*)
      FROM dsar.submission WHERE state IN ('submitting', 'uncertain') GROUP BY account, state
    UNION ALL
    SELECT account, state, job_id, min(submitted_at), count(*)
      FROM dsar.submission WHERE state IN ('submitted', 'ready') GROUP BY account, state, job_id
)
SELECT account,
       coalesce(sum(n) FILTER (WHERE state = 'planned'), 0)::bigint AS planned,
       coalesce(sum(n) FILTER (WHERE state = 'held'), 0)::bigint AS held,
       coalesce(sum(n) FILTER (WHERE state = 'uncertain'), 0)::bigint AS uncertain,
       count(*) FILTER (WHERE state = 'submitted') AS open_jobs,
       coalesce(sum(n) FILTER (WHERE state = 'submitted'), 0)::bigint AS submitted,
       coalesce(sum(n) FILTER (WHERE state = 'ready'), 0)::bigint AS ready,
       min(since) FILTER (WHERE state = 'submitted') AS oldest_job,
       min(since) FILTER (WHERE state = 'uncertain') AS oldest_uncertain
  FROM open GROUP BY account ORDER BY account
"""

_UNCONFIRMED = """
SELECT account, count(*) AS unconfirmed FROM dsar.submission
 WHERE is_unconfirmed AND account = ANY(%(accounts)s) GROUP BY account
"""

_ENDED = """
SELECT account, count(*) AS ended,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY finished_at - submitted_at) AS median,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY finished_at - submitted_at) AS p95
  FROM dsar.submission
 WHERE finished_at >= %(since)s AND state IN ('completed', 'no_data') AND submitted_at IS NOT NULL
   AND account = ANY(%(accounts)s)
 GROUP BY account
"""

_FAILURES = """
WITH counted AS (
    SELECT account, state, reason, count(*) AS n,
           row_number() OVER (PARTITION BY account ORDER BY count(*) DESC, state, reason) AS place
      FROM dsar.submission
     WHERE state IN ('failed', 'rejected') AND finished_at >= %(since)s AND account = ANY(%(accounts)s)
     GROUP BY account, state, reason
)
SELECT account, state, CASE WHEN place <= %(limit)s THEN reason END AS reason, sum(n)::bigint AS submissions
  FROM counted
 GROUP BY account, state, CASE WHEN place <= %(limit)s THEN reason END, least(place, %(limit)s + 1)
 ORDER BY account, min(place)
"""

_SENT_TODAY = """
SELECT account, sent_today
  FROM unnest(%(accounts)s::text[]) AS account,
       LATERAL (SELECT count(*) AS sent_today FROM dsar.submission s
                 WHERE s.account = account.account AND s.attempted_at >= %(midnight)s AND s.attempts > 0) c
"""

_OPEN_JOBS = """
SELECT job_id, state, count(*) AS submissions, min(submitted_at) AS submitted_at, min(due_at) AS due_soonest
  FROM dsar.submission
 WHERE account = %(account)s AND state IN ('submitted', 'ready')
 GROUP BY job_id, state ORDER BY min(submitted_at), job_id LIMIT %(limit)s
"""

# Uncertain submissions belong to open requests. The condition on status lets PostgreSQL begin there.
_UNCERTAIN = """
SELECT r.request_id, s.account, r.due_at, min(s.changed_at) AS since
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.state = 'uncertain' AND r.status = 'in_progress' AND (
           s.account = ANY(%(accounts)s)
           OR %(or_stuck)s AND s.uncertain_count >= %(max_uncertain_attempts)s)
 GROUP BY r.id, s.account ORDER BY r.due_at, r.id, s.account LIMIT %(limit)s
"""
