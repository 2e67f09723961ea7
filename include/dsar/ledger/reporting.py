"""Reads the numbers for the daily report and the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from include.dsar.ledger import approvals
from include.dsar.ledger.approvals import Held
from include.dsar.ledger.database import Database
from include.dsar.ledger.outcome_breaker import waiting_requests
from include.dsar.ledger.uncertain import MAX_UNCERTAIN_ATTEMPTS, REASON_NOT_RECONCILED, undecided

LONG_UNCERTAIN = timedelta(days=1)


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
class Attention:
    """The ids of requests that need an operator. `held` requests have a submission that an operator must
    decide about.
    """

    overdue: list[str]
    failed: dict[str, list[str]]  # account: requests
    rejected: dict[str, list[str]]
    held: dict[str, list[str]]
    unconfirmed: dict[str, list[str]] = field(default_factory=dict)  # outcomes that wait for an operator
    unreconciled: dict[str, list[Unreconciled]] = field(default_factory=dict)
    volumes: list[Held] = field(default_factory=list)  # unusual numbers of submissions on hold
    held_labels: dict[str, list[str]] = field(default_factory=dict)  # of the first held request: see label()


@dataclass(frozen=True)
class Unreconciled:
    """A request with a submission that has been uncertain for two runs, and that no run could reconcile."""

    request_id: str
    since: datetime
    reason: str | None


@dataclass(frozen=True)
class OpenJobs:
    """Figures about one account's open jobs at the vendor."""

    count: int
    oldest_submitted_at: datetime


@dataclass(frozen=True)
class Backlog:
    """The work that is open now. `jobs` has one entry per account."""

    open_requests: int
    overdue_requests: int
    due_soonest: datetime | None
    jobs: dict[str, OpenJobs]
    uncertain_since: dict[str, datetime]  # of the oldest uncertain submission of each account
    unconfirmed: dict[str, int]  # outcomes that wait for an operator, by account


def backlog(db: Database, *, now: datetime) -> Backlog:
    """Counts open requests and the jobs that vendors work on."""
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
    """Counts the requests that are open now, and those closed since this time by status."""
    rows = db.execute(
        "SELECT status, count(*) AS n FROM dsar.request"
        " WHERE status = 'in_progress' OR closed_at >= %s GROUP BY status",
        [since],
    ).fetchall()
    return {row["status"]: row["n"] for row in rows}


def attention(
    db: Database, *, now: datetime, since: datetime | None, held: list[str], run_after: datetime | None = None
) -> Attention:
    """Returns the requests that need an operator: overdue requests, requests that failed or were rejected
    since this time (None: at any time), requests with outcomes that wait, and uncertain requests.

    An uncertain request is included only if its account is in `held`, if it was uncertain
    MAX_UNCERTAIN_ATTEMPTS times, or if it became uncertain before `run_after`.
    """
    overdue = db.execute(_OVERDUE, {"now": now}).fetchall()
    wrong: dict[str, dict[str, list[str]]] = {"failed": {}, "rejected": {}, "uncertain": {}}
    for row in db.execute(
        _WRONG, {"since": since, "held": held, "max_uncertain_attempts": MAX_UNCERTAIN_ATTEMPTS}
    ).fetchall():
        wrong[row["state"]].setdefault(row["account"], []).append(row["request_id"])
    unreconciled: dict[str, list[Unreconciled]] = {}
    for row in db.execute(
        _UNRECONCILED,
        {
            "held": held,
            "max_uncertain_attempts": MAX_UNCERTAIN_ATTEMPTS,
            "tried": REASON_NOT_RECONCILED,
            "run_after": run_after or now,
            "long_ago": now - LONG_UNCERTAIN,
        },
    ).fetchall():
        unreconciled.setdefault(row.pop("account"), []).append(Unreconciled(**row))
    return Attention(
        [row["request_id"] for row in overdue],
        wrong["failed"],
        wrong["rejected"],
        wrong["uncertain"],
        waiting_requests(db),
        unreconciled,
        approvals.on_hold(db),
        {
            account: [one.label for one in undecided(db, first, account)]
            for account, (first, *_) in wrong["uncertain"].items()
        },
    )


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
    """Yields one row for each request and account. Covers requests that are open or were closed since this
    time.
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
       min(due_at) AS due_soonest
  FROM dsar.request WHERE status = 'in_progress'
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

_OVERDUE = """
SELECT request_id FROM dsar.request
 WHERE status = 'in_progress' AND due_at <= %(now)s ORDER BY due_at, id
"""

_WRONG = """
SELECT DISTINCT s.state, s.account, (SELECT request_id FROM dsar.request WHERE id = s.request) AS request_id
  FROM dsar.submission s
 WHERE (s.state IN ('failed', 'rejected') AND NOT s.is_unconfirmed
        AND s.finished_at >= coalesce(%(since)s::timestamptz, '-infinity'))
    OR (s.state = 'uncertain' AND (
           s.account = ANY(%(held)s)
           OR s.uncertain_count >= %(max_uncertain_attempts)s))
 ORDER BY s.state, s.account, request_id
"""

# After two runs: it was uncertain before this run began, and this run could not reconcile it. A vendor that
# is asked again on the next UTC day (ID5) has a day.
_UNRECONCILED = """
SELECT s.account, (SELECT request_id FROM dsar.request WHERE id = s.request) AS request_id,
       min(s.changed_at) AS since, max(s.reason) AS reason
  FROM dsar.submission s
 WHERE s.state = 'uncertain' AND NOT s.account = ANY(%(held)s)
   AND s.uncertain_count < %(max_uncertain_attempts)s AND s.changed_at < %(run_after)s
   AND (starts_with(s.reason, %(tried)s) OR s.changed_at < %(long_ago)s)
 GROUP BY s.account, s.request ORDER BY s.account, since, request_id
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

_REGISTER = """
SELECT r.request_id, r.action AS request_type, r.regulation, r.received_at, r.due_at, r.zone, r.status,
       r.closed_at, s.account, s.vendor, string_agg(DISTINCT s.state, '+' ORDER BY s.state) AS outcome,
       string_agg(DISTINCT s.reason, '; ') AS reason, count(*) FILTER (WHERE s.attempts > 0) AS submissions,
       min(s.submitted_at) AS submitted_at, max(s.finished_at) AS finished_at
  FROM dsar.request r JOIN dsar.submission s ON s.request = r.id
 WHERE r.status = 'in_progress' OR r.closed_at >= %(since)s
 GROUP BY r.id, s.account, s.vendor
 ORDER BY r.due_at, r.id, s.account
"""
