"""The figures on the overview and on the page of an account are correct."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from fastapi.testclient import TestClient

from include.dsar.ledger.board import accounts, overview
from include.dsar.ledger.board.accounts import AccountFigures, Failures
from include.dsar.ledger.board.overview import ClosingTimes, Day, OpenRequests
from include.dsar.ledger.database import Database
from tests.conftest import SetConnection
from tests.integration.board.given import Rows

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_open_requests_are_counted_by_days_left(rows: Rows, db: Database) -> None:
    """Requests are counted by steps of days left. A step includes its upper limit, but not its lower limit.
    Closed requests do not count.
    """
    second = timedelta(seconds=1)
    for n, left in enumerate([-DAY, 0 * DAY, second, 3 * DAY, 3 * DAY + second, 10 * DAY, 10 * DAY + second]):
        rows.request(f"r-{n}", due=NOW + left)
    rows.request("closed", due=NOW - DAY, closed=NOW)
    counts = overview.open_requests(db, NOW)
    assert (counts, counts.all) == (OpenRequests(2, 2, 2, 1), 7)


def test_received_and_closed_requests_are_counted_per_utc_day(rows: Rows, db: Database) -> None:
    """A day without requests has zeros. Events before the first day do not count."""
    midnight = NOW.replace(hour=0)
    rows.request("last-moment", received=midnight - timedelta(seconds=1), closed=midnight)
    rows.request("first-moment", received=midnight)
    rows.request("long-ago", received=NOW - 40 * DAY, closed=NOW - 39 * DAY)
    db.execute("SET TIME ZONE 'Asia/Tokyo'")
    assert overview.days(db, first=date(2026, 11, 18), last=date(2026, 11, 20)) == [
        Day(date(2026, 11, 18), 0, 0),
        Day(date(2026, 11, 19), 1, 0),
        Day(date(2026, 11, 20), 1, 1),
    ]


def test_closing_times_are_those_of_requests_closed_in_the_period(rows: Rows, db: Database) -> None:
    """The figures are the total, the late requests, the median, the 95th percentile and the distribution."""
    for n, took in enumerate([0.5, 1, 2, 6.9, 7, 20, 29, 45]):
        rows.request(f"r-{n}", received=NOW - timedelta(days=took), closed=NOW)
    rows.request("before", received=NOW - 60 * DAY, closed=NOW - 50 * DAY)
    rows.request("open", received=NOW - 60 * DAY)
    assert overview.closing_times(db, NOW - DAY) == ClosingTimes(
        total=8, late=1, median=timedelta(days=6.9), p95=45 * DAY, by_step=(1, 2, 1, 1, 1, 1, 1)
    )
    assert overview.closing_times(db, NOW + DAY) == ClosingTimes(0, 0, None, None, (0,) * 7)


def test_open_submissions_and_jobs_of_an_account_are_counted(rows: Rows, db: Database) -> None:
    """A job with several submissions counts as one job."""
    old, new = NOW - 3 * DAY, NOW - DAY
    rows.request(
        "r-1",
        {"state": "planned"},
        {"state": "submitting"},
        {"state": "uncertain", "changed_at": new},
        {"state": "submitted", "job_id": "j-1", "submitted_at": old},
        {"state": "submitted", "job_id": "j-1", "submitted_at": old},
        {"state": "submitted", "job_id": "j-2", "submitted_at": new},
        {"state": "ready", "job_id": "j-3", "submitted_at": old - DAY},
        {"state": "planned", "account": "gone", "vendor": "batch"},
    )
    (besitos, gone) = accounts.figures(db, ["besitos"], since=NOW, midnight=NOW)
    assert besitos == AccountFigures(
        "besitos",
        planned=1,
        uncertain=1,
        open_jobs=2,
        submitted=3,
        ready=1,
        oldest_job=old,
        oldest_uncertain=new,
    )
    assert gone == AccountFigures("gone", planned=1)
    (alone,) = accounts.figures(db, ["besitos"], since=NOW, midnight=NOW, others=False)
    assert alone == besitos


def test_times_and_failures_of_an_account_are_those_of_the_period(rows: Rows, db: Database) -> None:
    """Failures are counted by reason. Rare reasons are counted together."""
    done = [
        {"state": "completed", "submitted_at": NOW - timedelta(hours=hours), "finished_at": NOW}
        for hours in range(1, 20)
    ]
    no_data = {"state": "no_data", "submitted_at": NOW - timedelta(hours=100), "finished_at": NOW}
    before = {"state": "completed", "submitted_at": NOW - 9 * DAY, "finished_at": NOW - 8 * DAY}
    failed = [
        {"state": "failed", "reason": f"reason {n}", "finished_at": NOW}
        for n in range(7)
        for _ in range(7 - n)
    ]
    rejected = {"state": "rejected", "reason": "reason 0", "finished_at": NOW}
    nothing = {"state": "not_applicable", "finished_at": NOW}
    rows.request("r-1", *done, no_data, before, *failed, rejected, nothing)
    (besitos,) = accounts.figures(db, ["besitos"], since=NOW - DAY, midnight=NOW)
    assert (besitos.ended, besitos.median, besitos.p95) == (20, timedelta(hours=10), timedelta(hours=19))
    assert besitos.failures == [
        Failures("failed", "reason 0", 7),
        Failures("failed", "reason 1", 6),
        Failures("failed", "reason 2", 5),
        Failures("failed", "reason 3", 4),
        Failures("failed", "reason 4", 3),
        Failures("failed", None, 2 + 1),
        Failures("rejected", None, 1),
    ]


def test_submissions_sent_since_midnight_are_counted(rows: Rows, db: Database) -> None:
    """An attempt without a call does not count as sent."""
    rows.request(
        "r-1",
        {"attempted_at": NOW, "attempts": 1},
        {"attempted_at": NOW, "attempts": 0},
        {"attempted_at": NOW - DAY, "attempts": 1},
    )
    (besitos,) = accounts.figures(db, ["besitos"], since=NOW, midnight=NOW.replace(hour=0))
    assert besitos.sent_today == 1


def test_open_jobs_and_uncertain_requests_of_an_account_are_listed(rows: Rows, db: Database) -> None:
    """Jobs are ordered by age, and each job shows its earliest due date. Uncertain requests are ordered by
    due date.
    """
    job = {"state": "submitted", "submitted_at": NOW - DAY}
    rows.request("later", {**job, "job_id": "j-2"}, {"state": "uncertain"}, due=NOW + 9 * DAY)
    rows.request(
        "sooner", {**job, "job_id": "j-2"}, {"state": "uncertain"}, {"state": "uncertain"}, due=NOW + DAY
    )
    rows.request("first", {**job, "job_id": "j-1", "submitted_at": NOW - 2 * DAY}, due=NOW + 5 * DAY)
    rows.request("other", {"account": "batch", "vendor": "batch", "state": "uncertain"})
    jobs = accounts.open_jobs(db, "besitos")
    assert [(each.job_id, each.submissions, each.due_soonest) for each in jobs] == [
        ("j-1", 1, NOW + 5 * DAY),
        ("j-2", 2, NOW + DAY),
    ]
    assert [each.request_id for each in accounts.uncertain_requests(db, ["besitos"])] == ["sooner", "later"]
    assert accounts.uncertain_requests(db, []) == []
    assert accounts.is_known(db, "batch")
    assert not accounts.is_known(db, "id5")


def test_the_overview_shows_the_daily_quota_of_each_connection(
    viewer: TestClient, rows: Rows, set_connection: SetConnection
) -> None:
    """If a connection is broken, the page shows no quota for it and still works."""
    set_connection("id5", extra={"daily_quota": 1234})
    set_connection("besitos", password=None)
    rows.request("r-1", {"account": "id5", "vendor": "id5", "attempts": 1, "attempted_at": NOW})
    assert "of 1,234" in viewer.get("/dsar/").text
