"""Every figure of the overview, against rows made by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from include.dsar.board import one_account, overview
from include.dsar.board.overview import AccountFigures, Closing, Day, Failures, OpenRequests
from include.dsar.ledger.database import Database
from tests.integration.board.rows_given import given

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_open_requests_are_counted_by_days_left(dsn: str, db: Database) -> None:
    """Each step holds its upper end and not its lower one; closed requests are in none."""
    second = timedelta(seconds=1)
    for n, left in enumerate([-DAY, 0 * DAY, second, 3 * DAY, 3 * DAY + second, 10 * DAY, 10 * DAY + second]):
        given(dsn, f"r-{n}", due=NOW + left)
    given(dsn, "closed", due=NOW - DAY, closed=NOW)
    assert overview.open_requests(db, NOW) == OpenRequests(2, 2, 2, 1)
    assert overview.open_requests(db, NOW).all == 7


def test_days_count_what_was_received_and_closed_by_the_utc_day(dsn: str, db: Database) -> None:
    """Days without any are there, with zeros; what lies before the first day is not counted."""
    midnight = NOW.replace(hour=0)
    given(dsn, "last-moment", received=midnight - timedelta(seconds=1), closed=midnight)
    given(dsn, "first-moment", received=midnight)
    given(dsn, "long-ago", received=NOW - 40 * DAY, closed=NOW - 39 * DAY)
    db.execute("SET TIME ZONE 'Asia/Tokyo'")
    assert overview.days(db, first=date(2026, 11, 18), last=date(2026, 11, 20)) == [
        Day(date(2026, 11, 18), 0, 0),
        Day(date(2026, 11, 19), 1, 0),
        Day(date(2026, 11, 20), 1, 1),
    ]


def test_closing_says_how_long_it_took_and_how_many_were_late(dsn: str, db: Database) -> None:
    """A distribution, its middle and its slow end, of what was closed in the period and nothing else."""
    for n, took in enumerate([0.5, 1, 2, 6.9, 7, 20, 29, 45]):
        given(dsn, f"r-{n}", received=NOW - timedelta(days=took), closed=NOW)
    given(dsn, "before", received=NOW - 60 * DAY, closed=NOW - 50 * DAY)
    given(dsn, "open", received=NOW - 60 * DAY)
    assert overview.closing(db, NOW - DAY) == Closing(
        total=8, late=1, median=timedelta(days=6.9), p95=45 * DAY, by_days=(1, 2, 1, 1, 1, 1, 1)
    )
    assert overview.closing(db, NOW + DAY) == Closing(0, 0, None, None, (0,) * 7)


def test_an_accounts_open_work_is_counted_by_what_it_waits_for(dsn: str, db: Database) -> None:
    """Submissions by state; jobs, which may hold several, once; the age of the oldest job."""
    old, new = NOW - 3 * DAY, NOW - DAY
    given(
        dsn,
        "r-1",
        {"state": "planned"},
        {"state": "submitting"},
        {"state": "uncertain"},
        {"state": "submitted", "job_id": "j-1", "submitted_at": old},
        {"state": "submitted", "job_id": "j-1", "submitted_at": old},
        {"state": "submitted", "job_id": "j-2", "submitted_at": new},
        {"state": "ready", "job_id": "j-3", "submitted_at": old - DAY},
        {"state": "planned", "account": "gone", "vendor": "batch"},
    )
    (besitos, gone) = overview.accounts(db, ["besitos"], since=NOW, midnight=NOW)
    assert besitos == AccountFigures(
        "besitos", planned=1, unsettled=2, uncertain=1, open_jobs=2, submitted=3, ready=1, oldest_job=old
    )
    assert gone == AccountFigures("gone", planned=1)
    (alone,) = overview.accounts(db, ["besitos"], since=NOW, midnight=NOW, others=False)
    assert alone == besitos


def test_an_accounts_times_and_failures_are_of_the_period(dsn: str, db: Database) -> None:
    """The median and the slow end of what was done; failures by reason, the rarer ones together."""
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
    given(dsn, "r-1", *done, no_data, before, *failed, rejected, nothing)
    (besitos,) = overview.accounts(db, ["besitos"], since=NOW - DAY, midnight=NOW)
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
    assert besitos.failed == 29


def test_what_a_quota_counts_is_what_was_sent_since_midnight(dsn: str, db: Database) -> None:
    """An attempt that did not count, and yesterday's, are left out."""
    given(
        dsn,
        "r-1",
        {"attempted_at": NOW, "attempts": 1},
        {"attempted_at": NOW, "attempts": 0},
        {"attempted_at": NOW - DAY, "attempts": 1},
    )
    (besitos,) = overview.accounts(db, ["besitos"], since=NOW, midnight=NOW.replace(hour=0))
    assert besitos.sent_today == 1


def test_jobs_and_doubts_of_an_account(dsn: str, db: Database) -> None:
    """The oldest job first, with the due date of its most urgent request; doubts by due date."""
    job = {"state": "submitted", "submitted_at": NOW - DAY}
    given(dsn, "later", {**job, "job_id": "j-2"}, {"state": "uncertain"}, due=NOW + 9 * DAY)
    given(
        dsn, "sooner", {**job, "job_id": "j-2"}, {"state": "uncertain"}, {"state": "uncertain"}, due=NOW + DAY
    )
    given(dsn, "first", {**job, "job_id": "j-1", "submitted_at": NOW - 2 * DAY}, due=NOW + 5 * DAY)
    given(dsn, "other", {"account": "batch", "vendor": "batch", "state": "uncertain"})
    jobs = one_account.jobs(db, "besitos")
    assert [(each.job_id, each.submissions, each.due_soonest) for each in jobs] == [
        ("j-1", 1, NOW + 5 * DAY),
        ("j-2", 2, NOW + DAY),
    ]
    assert [each.request_id for each in one_account.undecided(db, ["besitos"])] == ["sooner", "later"]
    assert one_account.undecided(db, []) == []
    assert one_account.is_known(db, "batch")
    assert not one_account.is_known(db, "id5")
