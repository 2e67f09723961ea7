"""In a ledger with a million submissions, closed requests slow down neither a run nor the board."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import scalar_row
from psycopg.sql import Composable

from include.accounts import ACCOUNTS
from include.dsar.accounts import Shard
from include.dsar.board import pages
from include.dsar.board.filters import PeriodFilter, RequestFilter
from include.dsar.board.runs import Run, Try
from include.dsar.board.site import Site
from include.dsar.ledger import (
    acknowledging,
    attention,
    claiming,
    closing,
    database,
    outcome_breaker,
    planning,
    reporting,
    stuck_jobs,
    uncertain,
    vendor_jobs,
)
from include.dsar.ledger.acknowledging import Acknowledgement
from include.dsar.ledger.board.request_list import MAX_COUNTED
from include.dsar.ledger.closing import Closed
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import Action, State, Status
from include.stack.home import Home
from tests.integration.conftest import own_database
from tests.integration.million import fill
from tests.integration.requests_given import plan, request, submission

REQUESTS = 250_000
OPEN = 20_000  # submissions of requests that are open
NOW = datetime.now(UTC)


@dataclass
class Scan:
    """One scan of a table in a query plan: its type and the number of rows that it read."""

    how: str
    table: str
    rows: int

    @classmethod
    def of(cls, plan: dict[str, Any]) -> Iterator[Scan]:
        if plan.get("Schema") == "dsar":
            removed = sum(plan.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
            rows = int((plan["Actual Rows"] + removed) * plan["Actual Loops"])
            yield cls(plan["Node Type"], plan["Relation Name"], rows)
        for child in plan.get("Plans", ()):
            yield from cls.of(child)


SCANS: list[Scan] = []


class Explaining(psycopg.Cursor[Any]):
    """A cursor that runs each statement twice: first with EXPLAIN ANALYZE and a rollback, then normally."""

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Any:
        text = query.as_string(self) if isinstance(query, Composable) else query
        if isinstance(text, str) and text.lstrip().startswith(
            ("SELECT", "WITH", "UPDATE", "INSERT", "DELETE")
        ):
            explain = f"EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) {text}"
            with (
                self.connection.transaction(force_rollback=True),
                psycopg.Cursor(self.connection, row_factory=scalar_row) as plain,
            ):
                SCANS.extend(Scan.of(plain.execute(explain.encode(), params).fetchone()[0]["Plan"]))
        return super().execute(query, params, **kwargs)


@pytest.fixture(scope="module")
def db(server: Home) -> Iterator[Database]:
    with own_database(server) as url, database.connect(url) as db:
        fill(url, requests=REQUESTS)
        db.cursor_factory = Explaining
        yield db


def planned(db: Database) -> None:
    """Plans new requests, and known requests with retry_failed."""
    new = [request(f"new-{n}", submission(f"new-{n}"), submission(f"new-{n}", "id5")) for n in range(500)]
    known = [request(f"r-{n}", submission(f"u{n}")) for n in range(7, 249_000, 500)]
    with db.transaction(force_rollback=True):
        plan(db, *new, *known, retry_failed=True)


def claimed(db: Database) -> None:
    """Claims repeatedly, so that PostgreSQL may use a generic plan."""
    with db.transaction(force_rollback=True):
        worker = claiming.register(db)
        for _ in range(12):
            assert claiming.claim(
                db, "batch", worker=worker, limit=50, now=NOW, request_pks=None, one_job_per_subject=True
            )


def moved(db: Database) -> None:
    jobs = map(vendor_jobs.OpenJob.of, vendor_jobs.open_jobs(db, "besitos", request_pks=None)[:200])
    moves = [Move(one, State.COMPLETED, of_job=job.job_id) for job in jobs for one in job.submissions]
    with db.transaction(force_rollback=True):
        assert len(move(db, moves, leave=State.SUBMITTED, now=NOW)) == len(moves)


def closed(db: Database) -> None:
    with db.transaction(force_rollback=True):
        (first, *_) = closing.records(db, closing.closable(db, request_pks=None))
        done = [Closed(record.id, Status.COMPLETED, None, "file:///r") for record in first]
        closing.close(db, done, now=NOW)
        closing.mark_written_back(db, closing.pending_write_backs(db, limit=1000))


def acknowledged(db: Database) -> None:
    given = Acknowledgement("jane", "answered by post", NOW, None)
    with db.transaction(force_rollback=True):
        assert acknowledging.is_left_out(db, "id5")
        assert acknowledging.acknowledge_account(db, "id5", given)
        assert acknowledging.acknowledge_request(db, 7, given)
        row = acknowledging.open_row(db, "bad-7")
        assert row is not None
        acknowledging.acknowledge_row(db, row, given)


def a_job(db: Database, state: str) -> str:
    with psycopg.Cursor(db, row_factory=scalar_row) as plain:
        plain.execute(
            "SELECT job_id FROM dsar.submission WHERE account = 'besitos' AND state = %s LIMIT 1", [state]
        )
        return str(plain.fetchone())


SITE = Site(
    root="/dsar",
    dag="/dags/dsar_daily",
    now=NOW,
    connections={account.name: account.connection for account in ACCOUNTS},
    regulations=["GDPR", "CCPA"],
    version="1",
    load_settings=dict,
    in_airflow=str,
    task=str,
)
TODAYS_RUN = Run("today", [Try("today", "intake", -1, NOW - timedelta(hours=12), NOW - timedelta(hours=1))])


def listed(**fields: str) -> Callable[[Database], str]:
    return lambda db: pages.requests_page(db, SITE, RequestFilter.parse(fields))


SOME = list(range(245_100, 245_120))  # ledger ids of open requests
TODAY = NOW - timedelta(hours=12)

STATEMENTS = {
    "intake: plan": planned,
    "intake: retry": lambda db: planning.retry_open(db, now=NOW, request_ids=None),
    "intake: dry run": lambda db: planning.planned(db),
    "intake: ledger ids": lambda db: planning.request_pks_of(db, [f"r-{n}" for n in SOME]),
    "submit: abandoned": lambda db: uncertain.mark_abandoned(db, "batch", worker=1, now=NOW),
    "submit: reconcile": lambda db: uncertain.uncertain_submissions(db, "batch", request_pks=None),
    "submit: shared": lambda db: claiming.share_jobs(db, "batch", now=NOW, request_pks=None),
    "submit: counts": lambda db: claiming.planned_counts(db, "batch", request_pks=None),
    "submit: quota": lambda db: claiming.attempted_since(db, "batch", TODAY),
    "submit: claim": claimed,
    "submit: next": lambda db: claiming.next_planned_at(
        db, "batch", now=NOW, request_pks=None, one_job_per_subject=True
    ),
    "submit: old batches": lambda db: stuck_jobs.open_batches(db, "besitos", before=NOW, request_pks=None),
    "submit: old batches, some requests": lambda db: stuck_jobs.open_batches(
        db, "besitos", before=NOW, request_pks=SOME
    ),
    "submit: usual time": lambda db: stuck_jobs.usual_time(db, "besitos", Action.ERASURE, now=NOW),
    "submit: recent jobs": lambda db: stuck_jobs.recent_jobs(db, "besitos", since=NOW - timedelta(days=30)),
    "submit: decide": lambda db: uncertain.undecided(db, "r-245104", "batch", "user_id"),
    "submit: some requests": lambda db: claiming.next_planned_at(
        db, "batch", now=NOW, request_pks=SOME, one_job_per_subject=True
    ),
    "poll: open": lambda db: vendor_jobs.open_jobs(db, "besitos", request_pks=None),
    "poll: open, a shard": lambda db: vendor_jobs.open_jobs(db, "id5", request_pks=None, shard=Shard(2, 4)),
    "poll: open, some requests": lambda db: vendor_jobs.open_jobs(db, "besitos", request_pks=SOME),
    "poll: other jobs": lambda db: vendor_jobs.has_other_ended(
        db, "besitos", ["j-1"], since=NOW - timedelta(hours=1)
    ),
    "poll: members": lambda db: vendor_jobs.members(
        db, "besitos", [a_job(db, "submitted")], state=State.SUBMITTED
    ),
    "poll: move": moved,
    "collect: ready": lambda db: vendor_jobs.ready_jobs(db, "besitos", request_pks=None),
    "collect: members": lambda db: vendor_jobs.members(
        db, "besitos", [a_job(db, "ready")], state=State.READY
    ),
    "package: close": closed,
    "package: some requests": lambda db: closing.closable(db, request_pks=SOME),
    "package: write back": lambda db: closing.pending_write_backs(db, limit=1000),
    "report: counts": lambda db: reporting.request_counts(db, TODAY),
    "report: backlog": lambda db: reporting.backlog(db, now=NOW),
    "report: accounts": lambda db: reporting.account_days(db, TODAY),
    "report: attention": lambda db: attention.attention(db, now=NOW, since=TODAY, held=["besitos"]),
    "breaker: outcomes": lambda db: outcome_breaker.hold_implausible(db, {}, now=NOW),
    "breaker: outcomes of an account": lambda db: outcome_breaker.hold_implausible(
        db, {}, account="besitos", now=NOW
    ),
    "breaker: history": lambda db: outcome_breaker._usual(db, "besitos", NOW),
    "breaker: waiting": lambda db: outcome_breaker.waiting_requests(db),
    "report: reported before": lambda db: reporting.reported_before(db, NOW),
    "report: all that ever failed": lambda db: attention.attention(db, now=NOW, since=None, held=[]),
    "decisions: acknowledge": acknowledged,
    "report: register": lambda db: db.execute(reporting._REGISTER, {"since": TODAY}),
}

PAGES = {
    "overview": lambda db: pages.overview_page(db, SITE, PeriodFilter()),
    "account": lambda db: pages.account_page(db, SITE, "besitos", PeriodFilter(name="besitos")),
    "run": lambda db: pages.run_page(db, SITE, TODAYS_RUN, after=0),
    "an open request": lambda db: pages.request_page(db, SITE, "r-249000", lambda *_: []),
    "a closed request": lambda db: pages.request_page(db, SITE, "r-7", lambda *_: []),
    "open requests": listed(),
    "open requests, a page on": listed(after="246000"),
    "open requests, a page back": listed(before="246000"),
    "due soon": listed(left="under_10"),
    "overdue": listed(left="overdue"),
    "all requests": listed(status="any"),
    "all requests, a page on": listed(status="any", after="120000"),
    "all requests, the oldest": listed(status="any", order="soonest"),
    "failed requests": listed(status="failed", regulation="CCPA"),
    "unresolved requests": listed(status="unresolved"),
    "unresolved requests of an account": listed(status="unresolved", account="batch", state="failed"),
    "by id": listed(status="any", id="r-2468"),
    "uncertain": listed(account="besitos", state="uncertain"),
}

SEARCHES = {
    "failed at an account": listed(status="any", account="attentive", state="failed"),
    "an account that is not there": listed(status="any", account="nobody"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_reads_only_open_requests(db: Database, name: str) -> None:
    """The statement uses an index. It reads at most three rows for each open submission. The table of
    acknowledgements is small, because it holds only acknowledgements that are in force.
    """
    SCANS.clear()
    STATEMENTS[name](db)
    assert SCANS
    assert [scan for scan in SCANS if scan.how == "Seq Scan" and scan.table != "acknowledgement"] == []
    assert [scan for scan in SCANS if scan.rows > 3 * OPEN] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_board_reads_few_rows(db: Database, name: str) -> None:
    """The page uses an index, or stops counting when its heading has enough rows."""
    SCANS.clear()
    PAGES[name](db)
    assert SCANS
    assert [scan for scan in SCANS if scan.how == "Seq Scan" and scan.rows > MAX_COUNTED + 1] == []
    assert [scan for scan in SCANS if scan.rows > 3 * OPEN] == []


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_of_closed_requests_by_account_reads_each_row_once(db: Database, name: str) -> None:
    """A search by account uses no index and reads each row once. An index would make every write of a
    submission slower.
    """
    SCANS.clear()
    SEARCHES[name](db)
    assert SCANS
    assert [scan for scan in SCANS if scan.rows > 4 * REQUESTS] == []
