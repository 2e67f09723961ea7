"""Figures about all requests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from include.dsar.ledger.database import Database

STEPS = (1, 3, 7, 14, 21, 30)  # days from receipt to closing; each is the lower end of a step


@dataclass(frozen=True)
class OpenRequests:
    """Counts of unresolved requests and rows, by the time left until the due date: see dsar.unresolved."""

    overdue: int
    under_3_days: int
    under_10_days: int
    more: int

    @property
    def all(self) -> int:
        return self.overdue + self.under_3_days + self.under_10_days + self.more


@dataclass(frozen=True)
class Day:
    """Counts of requests on one UTC day."""

    day: date
    received: int
    closed: int


@dataclass(frozen=True)
class ClosingTimes:
    """The time from receipt to closing, for closed requests."""

    total: int
    late: int  # closed after their due date
    median: timedelta | None
    p95: timedelta | None
    by_step: tuple[int, ...]  # below the first of STEPS, between each two, above the last


def open_requests(db: Database, now: datetime) -> OpenRequests:
    """Counts unresolved requests and rows by urgency."""
    return OpenRequests(**_one(db, _OPEN, {"now": now}))


def days(db: Database, *, first: date, last: date) -> list[Day]:
    """Counts requests per day, from `first` to `last` inclusive."""
    return [Day(**row) for row in db.execute(_DAYS, {"first": first, "last": last}).fetchall()]


def closing_times(db: Database, since: datetime) -> ClosingTimes:
    """Measures the closing times of requests that were closed since this time."""
    row = _one(db, _CLOSING, {"since": since, "steps": [timedelta(days=step) for step in STEPS]})
    counts = {each["step"]: each["n"] for each in row.pop("steps")}
    return ClosingTimes(**row, by_step=tuple(counts.get(step, 0) for step in range(len(STEPS) + 1)))


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
  FROM dsar.unresolved(%(now)s)
"""

_DAYS = """
WITH happened AS (
    SELECT received_at AS at, 1 AS received, 0 AS closed
      FROM dsar.request WHERE received_at >= %(first)s::timestamp AT TIME ZONE 'UTC'
    UNION ALL
    SELECT closed_at, 0, 1
      FROM dsar.request WHERE closed_at >= %(first)s::timestamp AT TIME ZONE 'UTC'
)
SELECT day::date AS day, coalesce(sum(received), 0) AS received, coalesce(sum(closed), 0) AS closed
  FROM generate_series(%(first)s::timestamp, %(last)s::timestamp, interval '1 day') AS day
  LEFT JOIN happened ON (at AT TIME ZONE 'UTC')::date = day::date
 GROUP BY day ORDER BY day
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
