"""Renders each page of the board as HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise

from include.dsar.board import charts, words
from include.dsar.board.filters import CHOICES, PERIODS, PeriodFilter, RequestFilter, midnight
from include.dsar.board.rendering import render
from include.dsar.board.runs import Run, Try, find
from include.dsar.board.site import NextStep, Site
from include.dsar.board.timeline import timeline
from include.dsar.board.uncertain import uncertain_accounts
from include.dsar.ledger import approvals
from include.dsar.ledger.board import accounts, one_request, one_run, overview, request_list, waiting
from include.dsar.ledger.board.overview import STEPS, ClosingTimes, Day
from include.dsar.ledger.database import Database
from include.dsar.ledger.reply_shapes import checks

STEP_NAMES = (
    f"under {STEPS[0]} d",
    *(f"{begin}–{end} d" for begin, end in pairwise(STEPS)),
    f"over {STEPS[-1]} d",
)


def overview_page(db: Database, site: Site, period: PeriodFilter) -> str:
    """Returns the overview: urgency, volume and duration of requests, and the open work of each account."""
    since = period.begins(site.now)
    figures = accounts.figures(db, site.accounts, since=since, midnight=midnight(site.now))
    for_operator = [
        each.account for each in figures if each.uncertain and site.next_step(each.account) != NextStep.RUN
    ]
    per_day = overview.days(db, first=since.date(), last=site.now.date())
    closing = overview.closing_times(db, since)
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
        took=charts.bar_chart(STEP_NAMES, [("requests", closing.by_step)]),
        took_text=_closing_in_words(closing),
        took_rows=list(zip(STEP_NAMES, closing.by_step, strict=True)),
        accounts=figures,
        volumes=approvals.on_hold(db),
        uncertain=accounts.uncertain_requests(db, for_operator, or_stuck=True),
        max_uncertain=accounts.MAX_UNCERTAIN,
        rows=waiting.rows(db, site.now),
        failed=waiting.failed(db, site.now),
        unanswered=waiting.unanswered(db),
        max_listed=waiting.MAX_LISTED,
    )


def requests_page(db: Database, site: Site, wanted: RequestFilter) -> str:
    """Returns a page of the list of requests, with the state of each request at each account."""
    page = request_list.page(
        db,
        wanted.criteria(site.now),
        latest_first=wanted.latest_first,
        after=wanted.after,
        before=wanted.before,
    )
    return render(
        "requests",
        site=site,
        wanted=wanted,
        choices={**CHOICES, "regulation": {"": "any regulation"} | {law: law for law in site.regulations}},
        page=page,
        max_counted=request_list.MAX_COUNTED,
        accounts=_columns(site, page.requests),
    )


def request_page(
    db: Database, site: Site, request_id: str, tries_between: Callable[[datetime, datetime], Sequence[Try]]
) -> str | None:
    """Returns the page of one request. None if the ledger has no such request."""
    one = one_request.one_request(db, request_id)
    if one is None:
        return None
    events = timeline(one)
    by_tasks = [event.at for event in events if event.by_task]
    tries = tries_between(min(by_tasks), max(by_tasks))
    return render(
        "request",
        site=site,
        one=one,
        request=one.request,
        uncertain=uncertain_accounts(site, one.submissions),
        events=[(event, find(tries, event.at, event.account) if event.by_task else None) for event in events],
    )


def account_page(db: Database, site: Site, account: str, period: PeriodFilter) -> str | None:
    """Returns the page of one account. None if neither the deployment nor the ledger has this account."""
    if account not in site.accounts and not accounts.is_known(db, account):
        return None
    since = period.begins(site.now)
    (figures,) = accounts.figures(db, [account], since=since, midnight=midnight(site.now), others=False)
    return render(
        "account",
        site=site,
        period=period,
        periods=PERIODS,
        each=figures,
        volumes=[one for one in approvals.on_hold(db) if one.account == account],
        jobs=accounts.open_jobs(db, account),
        max_jobs=accounts.MAX_JOBS,
        check=next(iter(checks(db, [account])), None),
        uncertain=accounts.uncertain_requests(db, [account]),
        max_uncertain=accounts.MAX_UNCERTAIN,
    )


def run_page(db: Database, site: Site, run: Run, *, after: int) -> str:
    """Returns the page of one run of the DAG, with the changes that the run made."""
    changes = one_run.changes(db, run.windows(site.now), accounts=site.accounts, after=after)
    return render(
        "run", site=site, run=run, changes=changes, accounts=_columns(site, changes.requests), after=after
    )


def problem_page(site: Site, title: str, text: str) -> str:
    """Returns the page for an error. It says what happened and what to do."""
    return render("problem", site=site, title=title, text=text)


def _columns(site: Site, requests: Sequence[request_list.ListedRequest]) -> list[str]:
    """Returns the accounts for the columns: the configured accounts, then other accounts of these
    requests.
    """
    found = {account for request in requests for account in request.cells}
    return [*site.accounts, *sorted(found - set(site.accounts))]


def _flow_in_words(per_day: Sequence[Day]) -> str:
    received, closed = sum(each.received for each in per_day), sum(each.closed for each in per_day)
    return f"In {len(per_day)} days: {received:,} received, {closed:,} closed."


def _closing_in_words(closing: ClosingTimes) -> str:
    if not closing.total:
        return "No request was closed in this period."
    return (
        f"{closing.total:,} closed, {closing.late:,} of them after the due date. "
        f"Half of them took at most {words.span(closing.median)}, and 95 % took at most "
        f"{words.span(closing.p95)}."
    )
