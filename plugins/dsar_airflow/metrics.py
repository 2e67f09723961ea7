"""The metrics that this project sends through Airflow's metrics (StatsD or OpenTelemetry).

The account is part of the name, because plain StatsD has no tags. The report of each run sends every gauge,
even if it is zero, so that no gauge keeps the value of an earlier run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.sdk.observability import stats

if TYPE_CHECKING:
    from include.dsar.execution.account_work import AccountWork
    from include.dsar.ledger.database import Database

# The table in docs/metrics.md: name, kind, meaning.
METRICS = (
    (
        "dsar.days_left", "gauge",
        "days until the most urgent of `dsar.open_requests` is due. Below 0: overdue. Not sent if there are "
        "none",
    ),
    (
        "dsar.open_requests", "gauge",
        "everything that is due and not done: requests that are not closed, failed requests that nobody has "
        "acknowledged, and invalid rows of the source",
    ),
    ("dsar.overdue_requests", "gauge", "the part of `dsar.open_requests` that is past its due date"),
    (
        "dsar.failed_requests", "gauge",
        "the part of `dsar.open_requests` that is closed: requests that failed, or left out an account that "
        "may hold data",
    ),
    ("dsar.invalid_rows", "gauge", "the part of `dsar.open_requests` that are invalid rows of the source"),
    (
        "dsar.submissions.<account>.<outcome>", "gauge",
        "submissions that ended in this run as `completed`, `no_data`, `rejected` or `failed`",
    ),
    ("dsar.open_jobs.<account>", "gauge", "jobs that the vendor is working on"),
    ("dsar.oldest_job_days.<account>", "gauge", "age of the oldest open job"),
    ("dsar.oldest_uncertain_days.<account>", "gauge", "age of the oldest uncertain submission"),
    ("dsar.unconfirmed_outcomes.<account>", "gauge", "implausible outcomes that wait for an operator"),
    ("dsar.held_submissions.<account>", "gauge", "submissions on hold, because their number is unusual"),
    ("dsar.reports", "counter", "runs that reached their report"),
    ("dsar.calls.<account>", "counter", "calls to the vendor"),
    ("dsar.refused_calls.<account>", "counter", "calls that were answered with 401, 403 or 429"),
)  # fmt: skip
OUTCOMES = ("completed", "no_data", "rejected", "failed")


@contextmanager
def counting_calls(work: AccountWork) -> Iterator[None]:
    """Counts the calls inside the block, even if the block raises an error."""
    try:
        yield
    finally:
        count_calls(work.account, work.client.calls, work.client.refused)


def count_calls(account: str, calls: int, refused: int) -> None:
    """Sends the number of calls of a task, and the number of calls answered with 401, 403 or 429."""
    stats.incr(f"dsar.calls.{account}", calls)
    stats.incr(f"dsar.refused_calls.{account}", refused)


def gauge_run(db: Database, accounts: Sequence[str], *, since: datetime) -> None:
    """Sends the counts of work that has ended since the run started, and of work that is open now."""
    from include.dsar.ledger import (  # not at the top: tasks that only count calls do not need it
        approvals,
        reporting,
    )

    now = datetime.now(UTC)
    ended = {day.account: day.ended for day in reporting.account_days(db, since)}
    backlog = reporting.backlog(db, now=now)
    held: Counter[str] = Counter()
    for one in approvals.on_hold(db):
        held[one.account] += one.held
    for account in accounts:
        for outcome in OUTCOMES:
            stats.gauge(f"dsar.submissions.{account}.{outcome}", ended.get(account, {}).get(outcome, 0))
        jobs = backlog.jobs.get(account)
        stats.gauge(f"dsar.open_jobs.{account}", jobs.count if jobs else 0)
        stats.gauge(f"dsar.oldest_job_days.{account}", _days(now - jobs.oldest_submitted_at) if jobs else 0)
        oldest = backlog.uncertain_since.get(account)
        stats.gauge(f"dsar.oldest_uncertain_days.{account}", _days(now - oldest) if oldest else 0)
        stats.gauge(f"dsar.held_submissions.{account}", held[account])
        stats.gauge(f"dsar.unconfirmed_outcomes.{account}", backlog.unconfirmed.get(account, 0))
    stats.gauge("dsar.open_requests", backlog.open_requests)
    stats.gauge("dsar.overdue_requests", backlog.overdue_requests)
    stats.gauge("dsar.failed_requests", backlog.failed_requests)
    stats.gauge("dsar.invalid_rows", backlog.invalid_rows)
    if backlog.due_soonest:
        stats.gauge("dsar.days_left", _days(backlog.due_soonest - now))
    stats.incr("dsar.reports")


def _days(time: timedelta) -> float:
    return time / timedelta(days=1)
