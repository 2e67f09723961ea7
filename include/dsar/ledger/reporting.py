"""Reads the numbers for the daily report and the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from include.dsar.ledger.database import Database


@dataclass(frozen=True)
class AccountDay:
    """Counts of one account's submissions: those that ended since the day began, and those that are open
    now.
    """

    account: str
    ended: dict[str, int]
    open: dict[str, int]
    due_soonest: datetime | None


@dataclass(frozen=True)
class OpenJobs:
    """Figures about one account's open jobs at the vendor."""

    count: int
    oldest_submitted_at: datetime


@dataclass(frozen=True)
class Backlog:
    """The work that is open now. `jobs` has one entry per account."""

    open_requests: int  # all that has a due date and is not done: see dsar.unresolved
    overdue_requests: int  # of these
    failed_requests: int  # of these: closed, and they failed or left an account out
    invalid_rows: int  # of these: rows of the source that are no requests
    due_soonest: datetime | None  # of these
    jobs: dict[str, OpenJobs]
    uncertain_since: dict[str, datetime]  # of the oldest uncertain submission of each account
    unconfirmed: dict[str, int]  # outcomes that wait for an operator, by account


def backlog(db: Database, *, now: datetime) -> Backlog:
    """Counts unresolved requests and rows, and the jobs that vendors work on."""
    rows = db.execute(_OPEN_JOBS).fetchall()
    requests = db.execute(_OPEN_REQUESTS, {"now": now}).fetchone()
    assert requests is not None
    waiting = db.execute(_UNCONFIRMED).fetchall()
    uncertain = db.execute(_OLDEST_UNCERTAIN).fetchall()
    return Backlog(
        **requests,
        jobs={row["account"]: OpenJobs(row["n"], row["oldest_submitted_at"]) for row in rows},
        uncertain_since={row["account"]: row["since"] for row in uncertain},
        unconfirmed={row["account"]: row["n"] for row in waiting},
    )


def account_days(db: Database, since: datetime) -> list[AccountDay]:
    """Returns the counts of every account that has open work, or work that ended since this time."""
    days: dict[str, AccountDay] = {}
    for row in db.execute(_ACCOUNTS, {"since": since}).fetchall():
        day = days.setdefault(row["account"], AccountDay(row["account"], {}, {}, row["due_soonest"]))
        (day.open if row["is_open"] else day.ended)[row["state"]] = row["n"]
    return list(days.values())


def request_counts(db: Database, since: datetime) -> dict[str, int]:
    """Counts the requests that are open now. Also counts, by status, the requests that were closed since
    this time.
    """
    rows = db.execute(
        "SELECT status, count(*) AS n FROM dsar.request"
        " WHERE status = 'in_progress' OR closed_at >= %s GROUP BY status",
        [since],
    ).fetchall()
    return {row["status"]: row["n"] for row in rows}


def reported_before(db: Database, run_after: datetime) -> datetime | None:
    """Returns the time of the last report of an earlier run, or None. This run's own report does not count,
    so that a cleared task reports the same events again.
    """
    row = db.execute(_REPORTED, {"run_after": run_after}).fetchone()
    assert row is not None
    return row["at"]  # type: ignore[no-any-return]


def is_past(db: Database, run_after: datetime, *, today: datetime) -> bool:
    """Returns whether the register of the run's UTC day is final. `today` is the start of the current UTC
    day.

    The register is final if this run reported before today, or if a run of a later day has reported.
    """
    row = db.execute(_IS_PAST, {"run_after": run_after, "today": today}).fetchone()
    assert row is not None
    return bool(row["is_past"])


def reported(db: Database, run_after: datetime, *, at: datetime) -> None:
    """Remembers when the report of this run read the ledger."""
    db.execute(_REPORT, {"run_after": run_after, "at": at})


def register(db: Database, since: datetime) -> Iterator[dict[str, Any]]:
    """Yields one row for each request and account, and one for each row of the source that is not a request.

    Covers open requests and requests that were closed since this time. Also covers earlier failed requests,
    until they have an acknowledgement without an end.
    """
    with db.transaction(), db.cursor("register") as cursor:
        cursor.execute(_REGISTER, {"since": since})
        yield from cursor


_ACCOUNTS = """
SELECT account, state, count(*) AS n,
       dsar.is_open(state) AS is_open,
       min(min(due_at) FILTER (WHERE dsar.is_open(state))) OVER (PARTITION BY account) AS due_soonest
  FROM dsar.submission
 WHERE dsar.is_open(state) OR finished_at >= %(since)s
 GROUP BY account, state
 ORDER BY account, state
"""

_OPEN_REQUESTS = """
SELECT count(*) AS open_requests, count(*) FILTER (WHERE due_at <= %(now)s) AS overdue_requests,
       count(*) FILTER (WHERE kind IN ('completed', 'partial', 'failed')) AS failed_requests,
       count(*) FILTER (WHERE kind IN ('invalid', 'unknown')) AS invalid_rows, min(due_at) AS due_soonest
  FROM dsar.unresolved(%(now)s)
"""

_OPEN_JOBS = """
SELECT account, count(DISTINCT job_id) AS n, min(submitted_at) AS oldest_submitted_at
  FROM dsar.submission WHERE state = 'submitted' GROUP BY account
"""

_UNCONFIRMED = """
SELECT account, count(*) AS n FROM dsar.submission WHERE is_unconfirmed GROUP BY account
"""

_OLDEST_UNCERTAIN = """
SELECT account, min(changed_at) AS since FROM dsar.submission WHERE state = 'uncertain' GROUP BY account
"""

_REPORTED = """
SELECT max(reported_at) AS at FROM dsar.report WHERE run_after < %(run_after)s
"""

_IS_PAST = """
SELECT EXISTS (
    SELECT FROM dsar.report
     WHERE (run_after = %(run_after)s AND reported_at < %(today)s)
        OR (run_after AT TIME ZONE 'UTC')::date > (%(run_after)s::timestamptz AT TIME ZONE 'UTC')::date
) AS is_past
"""

_REPORT = """
INSERT INTO dsar.report (run_after, reported_at) VALUES (%(run_after)s, %(at)s)
    ON CONFLICT (run_after) DO UPDATE SET reported_at = excluded.reported_at
"""

# LATERAL with OFFSET 0 looks up the submissions of these requests, and never reads all of them.
_REGISTER = """
SELECT r.request_id, r.action AS request_type, r.regulation, r.received_at, r.due_at, r.zone, r.status,
       r.closed_at, s.account, s.vendor, string_agg(DISTINCT s.state, '+' ORDER BY s.state) AS outcome,
       string_agg(DISTINCT s.reason, '; ') AS reason, count(*) FILTER (WHERE s.attempts > 0) AS submissions,
       min(s.submitted_at) AS submitted_at, max(s.finished_at) AS finished_at
  FROM dsar.request r,
       LATERAL (SELECT * FROM dsar.submission WHERE request = r.id OFFSET 0) AS s
 WHERE r.status = 'in_progress' OR r.closed_at >= %(since)s OR r.is_unresolved
 GROUP BY r.id, s.account, s.vendor
UNION ALL
SELECT coalesce(request_id, '#' || id), action, regulation, received_at, due_at, NULL, kind, NULL, NULL, NULL,
       NULL, reason, 0, NULL, NULL
  FROM dsar.unplanned_row WHERE resolved_at IS NULL
 ORDER BY due_at, request_id, account
"""
