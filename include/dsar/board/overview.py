"""The figures of the overview, of all requests and of each account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from include.dsar.ledger.database import Database

MOST_REASONS = 5  # of an account's failures; the rest are counted together


@dataclass(frozen=True)
class OpenRequests:
    """Requests in progress, by what is left until their due date."""

    overdue: int
    under_3_days: int
    under_10_days: int
    more: int

    @property
    def all(self) -> int:
        return self.overdue + self.under_3_days + self.under_10_days + self.more


@dataclass(frozen=True)
class Day:
    """One UTC day."""

    day: date
    received: int
    closed: int


@dataclass(frozen=True)
class Closing:
    """Requests closed in the period, by the days from receipt to closing."""

    total: int
    late: int  # closed after their due date
    median: timedelta | None
    p95: timedelta | None
    by_days: tuple[int, ...]  # one for each step of STEPS, and the rest


STEPS = (1, 3, 7, 14, 21, 30)  # days


@dataclass(frozen=True)
class Failures:
    """Submissions of one account that failed or were rejected in the period, for one reason."""

    state: str
    reason: str | None  # None: the rarer reasons together
    submissions: int


@dataclass
class AccountFigures:
    """One account: open now, and ended in the period."""

    account: str
    planned: int = 0
    unsettled: int = 0  # submitting or uncertain
    uncertain: int = 0
    open_jobs: int = 0
    submitted: int = 0
    ready: int = 0
    oldest_job: datetime | None = None
    ended: int = 0  # completed, or without data
    median: timedelta | None = None
    p95: timedelta | None = None
    failures: list[Failures] = field(default_factory=list)
    sent_today: int = 0  # what a quota of the day counts: submissions claimed since midnight UTC

    @property
    def failed(self) -> int:
        return sum(each.submissions for each in self.failures)


def open_requests(db: Database, now: datetime) -> OpenRequests:
    """How urgent the open requests are."""
    return OpenRequests(**_one(db, _OPEN, {"now": now}))


def days(db: Database, *, first: date, last: date) -> list[Day]:
    """Requests received and closed on each day, both ends included."""
    rows = db.execute(_DAYS, {"first": first, "last": last}).fetchall()
    return [Day(**row) for row in rows]


def closing(db: Database, since: datetime) -> Closing:
    """How long requests took that were closed since then."""
    row = _one(db, _CLOSING, {"since": since, "steps": [timedelta(days=step) for step in STEPS]})
    counted = {each["step"]: each["n"] for each in row.pop("steps")}
    return Closing(**row, by_days=tuple(counted.get(step, 0) for step in range(len(STEPS) + 1)))


def accounts(
    db: Database, names: Sequence[str], *, since: datetime, midnight: datetime, others: bool = True
) -> list[AccountFigures]:
    """The figures of these accounts; with `others`, of any other too that has open work."""
    figures = {name: AccountFigures(name) for name in names}
    for row in db.execute(_ACCOUNTS_OPEN).fetchall():
        if not others and row["account"] not in figures:
            continue
        account = figures.setdefault(row["account"], AccountFigures(row["account"]))
        for name in ("planned", "unsettled", "uncertain", "open_jobs", "submitted", "ready", "oldest_job"):
            setattr(account, name, row[name])
    known = {"accounts": list(figures), "since": since}
    for row in db.execute(_ACCOUNTS_ENDED, known).fetchall():
        account = figures[row["account"]]
        account.ended, account.median, account.p95 = row["ended"], row["median"], row["p95"]
    for row in db.execute(_ACCOUNTS_FAILED, {**known, "most": MOST_REASONS}).fetchall():
        figures[row["account"]].failures.append(Failures(row["state"], row["reason"], row["n"]))
    for row in db.execute(_ACCOUNTS_SENT, {**known, "midnight": midnight}).fetchall():
        figures[row["account"]].sent_today = row["n"]
    return list(figures.values())


def _one(db: Database, statement: str, parameters: dict[str, Any]) -> dict[str, Any]:
    row = db.execute(statement, parameters).fetchone()
    assert row is not None
    return row


_OPEN = """
SELECT count(*) FILTER (WHERE due_at <= %(now)s) AS overdue,
       count(*) FILTER (WHERE due_at > %(now)s
                          AND due_at <= %(now)s + interval '3 days') AS under_3_days,
       count(*) FILTER (WHERE due_at > %(now)s + interval '3 days'
                          AND due_at <= %(now)s + interval '10 days') AS under_10_days,
       count(*) FILTER (WHERE due_at > %(now)s + interval '10 days') AS more
  FROM dsar.request WHERE status = 'in_progress'
"""

_DAYS = """
SELECT day::date AS day, coalesce(r.n, 0) AS received, coalesce(c.n, 0) AS closed
  FROM generate_series(%(first)s::timestamp, %(last)s::timestamp, interval '1 day') AS day
  LEFT JOIN (SELECT (received_at AT TIME ZONE 'UTC')::date AS on_day, count(*) AS n
               FROM dsar.request
              WHERE received_at >= %(first)s::timestamp AT TIME ZONE 'UTC'
              GROUP BY on_day) r ON r.on_day = day::date
  LEFT JOIN (SELECT (closed_at AT TIME ZONE 'UTC')::date AS on_day, count(*) AS n
               FROM dsar.request
              WHERE closed_at >= %(first)s::timestamp AT TIME ZONE 'UTC'
              GROUP BY on_day) c ON c.on_day = day::date
 ORDER BY day
"""

_CLOSING = """
WITH closed AS MATERIALIZED (
    SELECT closed_at - received_at AS took, closed_at > due_at AS late
      FROM dsar.request WHERE closed_at >= %(since)s
),
counted AS (
    SELECT width_bucket(took, %(steps)s::interval[]) AS step, count(*) AS n FROM closed GROUP BY step
)
SELECT count(*) AS total, count(*) FILTER (WHERE late) AS late,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY took) AS median,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY took) AS p95,
       (SELECT coalesce(json_agg(counted), '[]') FROM counted) AS steps
  FROM closed
"""

# One arm for each partial index: a single `state IN (…)` would read the whole table.
_ACCOUNTS_OPEN = """
WITH open AS (
    SELECT account, state, NULL AS job_id, NULL::timestamptz AS submitted_at, count(*) AS n
      FROM dsar.submission WHERE state = 'planned' GROUP BY account, state
    UNION ALL
    SELECT account, state, NULL, NULL, count(*)
      FROM dsar.submission WHERE state IN ('submitting', 'uncertain') GROUP BY account, state
    UNION ALL
    SELECT account, state, job_id, min(submitted_at), count(*)
      FROM dsar.submission WHERE state IN ('submitted', 'ready') GROUP BY account, state, job_id
)
SELECT account,
       coalesce(sum(n) FILTER (WHERE state = 'planned'), 0)::bigint AS planned,
       coalesce(sum(n) FILTER (WHERE state IN ('submitting', 'uncertain')), 0)::bigint AS unsettled,
       coalesce(sum(n) FILTER (WHERE state = 'uncertain'), 0)::bigint AS uncertain,
       count(*) FILTER (WHERE state = 'submitted') AS open_jobs,
       coalesce(sum(n) FILTER (WHERE state = 'submitted'), 0)::bigint AS submitted,
       coalesce(sum(n) FILTER (WHERE state = 'ready'), 0)::bigint AS ready,
       min(submitted_at) FILTER (WHERE state = 'submitted') AS oldest_job
  FROM open GROUP BY account ORDER BY account
"""

_ACCOUNTS_ENDED = """
SELECT account, count(*) AS ended,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY finished_at - submitted_at) AS median,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY finished_at - submitted_at) AS p95
  FROM dsar.submission
 WHERE finished_at >= %(since)s AND state IN ('completed', 'no_data') AND submitted_at IS NOT NULL
   AND account = ANY(%(accounts)s)
 GROUP BY account
"""

_ACCOUNTS_FAILED = """
WITH counted AS (
    SELECT account, state, reason, count(*) AS n,
           row_number() OVER (PARTITION BY account ORDER BY count(*) DESC, state, reason) AS place
      FROM dsar.submission
     WHERE state IN ('failed', 'rejected') AND finished_at >= %(since)s AND account = ANY(%(accounts)s)
     GROUP BY account, state, reason
)
SELECT account, state, CASE WHEN place <= %(most)s THEN reason END AS reason, sum(n)::bigint AS n
  FROM counted
 GROUP BY account, state, CASE WHEN place <= %(most)s THEN reason END, least(place, %(most)s + 1)
 ORDER BY account, min(place)
"""

_ACCOUNTS_SENT = """
SELECT account, n
  FROM unnest(%(accounts)s::text[]) AS account,
       LATERAL (SELECT count(*) AS n FROM dsar.submission s
                 WHERE s.account = account.account AND s.attempted_at >= %(midnight)s AND s.attempts > 0) c
"""
