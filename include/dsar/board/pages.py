"""Each page of the board, from what is asked to HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from include.dsar.board import (
    charts,
    one_account,
    one_request,
    one_run,
    overview,
    request_list,
    words,
)
from include.dsar.board.filters import CHOICES, PERIODS, PeriodFilter, RequestFilter
from include.dsar.board.one_run import Run
from include.dsar.board.overview import STEPS, Closing, Day
from include.dsar.board.rendering import render
from include.dsar.board.site import Site
from include.dsar.board.tries import Try, find, windows
from include.dsar.ledger.database import Database

STEP_NAMES = (
    f"under {STEPS[0]} d",
    *(f"{begin}–{end} d" for begin, end in pairwise(STEPS)),
    f"over {STEPS[-1]} d",
)


def overview_page(db: Database, site: Site, period: PeriodFilter) -> str:
    """How urgent, how many, how long, and what each account is doing."""
    since = _begin(site.now, period)
    accounts = overview.accounts(db, site.accounts, since=since, midnight=_midnight(site.now))
    stuck = [each.account for each in accounts if each.uncertain and site.doubts(each.account) != "settled"]
    per_day = overview.days(db, first=since.date(), last=site.now.date())
    closing = overview.closing(db, since)
    return render(
        "overview",
        site=site,
        period=period,
        periods=PERIODS,
        open=overview.open_requests(db, site.now),
        per_day=per_day,
        flow=charts.bar_chart(
            [f"{each.day:%-d %b}" for each in per_day],
            [
                ("received", [each.received for each in per_day]),
                ("closed", [each.closed for each in per_day]),
            ],
        ),
        flow_text=_flow_in_words(per_day),
        closing=closing,
        took=charts.bar_chart(STEP_NAMES, [("requests", closing.by_days)]),
        took_text=_closing_in_words(closing),
        took_rows=list(zip(STEP_NAMES, closing.by_days, strict=True)),
        accounts=accounts,
        undecided=one_account.undecided(db, stuck, or_stuck=True),
        most_undecided=one_account.MOST_UNDECIDED,
    )


def requests_page(db: Database, site: Site, wanted: RequestFilter) -> str:
    """Requests and what each account has done with them."""
    page = request_list.page(db, wanted, site.now)
    return render(
        "requests",
        site=site,
        wanted=wanted,
        choices=CHOICES,
        page=page,
        most_counted=request_list.MOST_COUNTED,
        accounts=_columns(site, page.accounts),
    )


def request_page(
    db: Database,
    site: Site,
    request_id: str,
    tries_between: Callable[[datetime, datetime], Sequence[Try]],
) -> str | None:
    """Everything about one request; None where the ledger does not know it."""
    one = one_request.one_request(db, request_id)
    if one is None:
        return None
    by_tasks = [event.at for event in one.events if event.by_task]
    tries = tries_between(min(by_tasks), max(by_tasks))
    return render(
        "request",
        site=site,
        one=one,
        request=one.request,
        events=[
            (event, find(tries, event.at, event.account) if event.by_task else None) for event in one.events
        ],
    )


def account_page(db: Database, site: Site, account: str, period: PeriodFilter) -> str | None:
    """What one account is doing; None where neither the deployment nor the ledger knows it."""
    if account not in site.accounts and not one_account.is_known(db, account):
        return None
    (figures,) = overview.accounts(
        db, [account], since=_begin(site.now, period), midnight=_midnight(site.now), others=False
    )
    return render(
        "account",
        site=site,
        period=period,
        periods=PERIODS,
        each=figures,
        jobs=one_account.jobs(db, account),
        most_jobs=one_account.MOST_JOBS,
        undecided=one_account.undecided(db, [account]),
        most_undecided=one_account.MOST_UNDECIDED,
    )


def run_page(db: Database, site: Site, run: Run, *, after: int) -> str:
    """What one run of the DAG did."""
    at_work = windows(run.tries, site.now)
    touched = one_run.touched(db, at_work, accounts=site.accounts, after=after)
    return render(
        "run",
        site=site,
        run=run,
        touched=touched,
        accounts=_columns(site, {account for each in touched.requests for account in each.cells}),
        after=after,
    )


def problem_page(site: Site, title: str, text: str) -> str:
    """Why there is nothing to see, and what to do about it."""
    return render("problem", site=site, title=title, text=text)


def _columns(site: Site, found: set[str]) -> list[str]:
    """The accounts of this deployment, and those that it had."""
    return [*site.accounts, *sorted(found - set(site.accounts))]


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _begin(now: datetime, period: PeriodFilter) -> datetime:
    """The first day of the period; today is its last."""
    return _midnight(now) - timedelta(days=period.length - 1)


def _flow_in_words(per_day: Sequence[Day]) -> str:
    received, closed = sum(each.received for each in per_day), sum(each.closed for each in per_day)
    return f"In {len(per_day)} days {received:,} requests were received and {closed:,} closed."


def _closing_in_words(closing: Closing) -> str:
    if not closing.total:
        return "No request was closed in this period."
    late = f"{closing.late:,} after their due date" if closing.late else "none after its due date"
    return (
        f"{closing.total:,} requests were closed, {late}. Half of them took up to "
        f"{words.span(closing.median)}, 95 of 100 up to {words.span(closing.p95)}."
    )
