"""The report fails because of items that are new, newly urgent or not acknowledged. All other items are
only listed.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError
from include.dsar.intake.decisions import Decision, decide, to_retry
from include.dsar.ledger import closing, planning, reporting, staging
from include.dsar.ledger.closing import Closed
from include.dsar.ledger.database import Database
from include.dsar.ledger.staging import PlannedRequest, Readable, SourceRow
from include.dsar.model import Action, State, Status
from tests.integration.requests_given import plan, put_into, request, rows, submission
from tests.integration.test_report import RUN, register, report, reported

DAY = timedelta(days=1)
DUE = RUN + 20 * DAY


def invalid(db: Database, request_id: str | None = "bad", *, due_at: datetime = DUE) -> None:
    """Takes in an invalid row."""
    readable = Readable(Action.ACCESS, "GDPR", RUN - 10 * DAY, due_at)
    row = SourceRow(1, None, request_id, None, "email is malformed", readable, row_key=f"key of {request_id}")
    staging.create(db)
    staging.add(db, [row])
    for numbers in staging.compare(db):
        planning.plan(db, numbers, now=RUN, retry_failed=False, limit=None)


def closed(
    db: Database,
    asked: PlannedRequest,
    state: str = "failed",
    status: Status = Status.FAILED,
    at: datetime = RUN,
) -> None:
    """Plans a request and closes it."""
    plan(db, asked)
    ids = [
        row["id"] for row in rows(db) if row["request_id"] == asked.request_id and row["state"] == "planned"
    ]
    put_into(db, ids, {"state": state, "finished_at": at, "attempts": 1})
    (pk,) = planning.request_pks_of(db, [asked.request_id])
    closing.close(db, [Closed(pk, status, None, "file:///r")], now=at)


def decided(db: Database, line: str, *, at: datetime = RUN + timedelta(hours=2)) -> None:
    assert decide(db, [Decision.parse(line)], by="jane in run 7", now=at, made_at=at) == 1


def due(db: Database, now: datetime = RUN + timedelta(hours=3)) -> tuple[int, int, datetime | None]:
    found = reporting.backlog(db, now=now)
    return found.open_requests, found.overdue_requests, found.due_soonest


def without_account(name: str = "by-hand") -> PlannedRequest:
    """Returns an access request that no account can serve."""
    none = submission(state=State.NOT_APPLICABLE)
    return request(name, none, action=Action.ACCESS, due_at=DUE)


def left_out(name: str = "a-1") -> PlannedRequest:
    """Returns an access request. ID5 may hold data of the data subject, but ID5 cannot be asked."""
    id5 = staging.PlannedSubmission("id5", "id5", State.NOT_APPLICABLE, "takes none", "", "", None, True)
    return request(name, submission(), id5, action=Action.ACCESS, due_at=DUE)


def test_an_invalid_row_is_in_each_report_and_counts(db: Database, storage: Storage) -> None:
    """An invalid row has a due date. The row counts as open. After the due date, it counts as overdue."""
    invalid(db)
    for days in range(2):
        (sentence,) = reported(db, storage, RUN + days * DAY)
        assert "1 row (bad: email is malformed)" in sentence
    assert due(db) == (1, 0, DUE)
    assert due(db, DUE) == (1, 1, DUE)
    overdue, _ = reported(db, storage, DUE)
    assert overdue.startswith("Past the legal due date: 1 request (bad)")


def test_the_register_has_what_is_not_done(db: Database, storage: Storage) -> None:
    """Invalid rows, and requests that failed on an earlier day, have lines in the register."""
    invalid(db)
    closed(db, request("r-1", submission("a", "batch"), due_at=DUE), at=RUN - 5 * DAY)
    closed(
        db, request("r-2", submission("b", "batch"), due_at=DUE), "completed", Status.COMPLETED, RUN - 5 * DAY
    )
    report(db, storage)
    assert [(line["request_id"], line["status"], line["reason"]) for line in register(storage)] == [
        ("bad", "invalid", "email is malformed"),
        ("r-1", "failed", ""),
    ]


def test_an_acknowledged_row_is_listed_and_the_report_succeeds(
    db: Database, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """When the acknowledgement has ended, the report fails again. The row counts as open the whole time."""
    caplog.set_level(logging.INFO)
    invalid(db)
    assert reported(db, storage, RUN) != []
    decided(db, "bad acknowledge 2026-11-25 the sender is asked")
    for days in range(1, 6):
        assert reported(db, storage, RUN + days * DAY) == []
    assert "acknowledged, rows that cannot be accepted: 1 item (bad until 2026-11-26)" in caplog.text
    assert due(db)[0] == 1
    assert reported(db, storage, RUN + 6 * DAY) != []


def test_an_acknowledged_item_is_reported_once_at_each_threshold(db: Database, storage: Storage) -> None:
    """The report fails once when the due date is three days away, and once when it has passed."""
    invalid(db)
    reported(db, storage, RUN)
    decided(db, "bad acknowledge always the sender is asked")
    red = [days for days in range(1, 24) if reported(db, storage, RUN + days * DAY)]
    assert red == [17, 20]


def test_another_fault_of_a_row_is_not_covered(db: Database, storage: Storage) -> None:
    """An acknowledgement of a row covers only earlier faults, so the report fails because of a new fault."""
    invalid(db)
    decided(db, "bad acknowledge always the sender is asked", at=RUN - timedelta(hours=1))
    assert report(db, storage) != []


@pytest.mark.parametrize("name", ["bad", "#1"])
def test_a_dismissed_row_is_no_longer_listed(db: Database, storage: Storage, name: str) -> None:
    """To dismiss a row without a safe request_id, the operator enters its number."""
    invalid(db, None if name == "#1" else name)
    assert name in report(db, storage)[0]
    decided(db, f"{name} dismiss a test row")
    assert report(db, storage) == []
    assert due(db)[0] == 0


@pytest.mark.parametrize("status", [Status.FAILED, Status.PARTIAL])
def test_a_failed_request_counts_until_it_is_acknowledged(
    db: Database, storage: Storage, status: Status
) -> None:
    """A closed request that failed is still counted by its days left, and then as overdue."""
    closed(db, request("r-1", submission("a", "batch"), due_at=DUE), status=status)
    assert due(db) == (1, 0, DUE)
    assert due(db, DUE) == (1, 1, DUE)
    (sentence,) = report(db, storage)
    assert sentence.startswith("batch failed for 1 request (r-1)")
    decided(db, "r-1 acknowledge always answered by post")
    assert due(db, DUE) == (0, 0, None)
    assert report(db, storage) == []


def test_an_acknowledgement_of_a_failure_can_end(db: Database, storage: Storage) -> None:
    closed(db, request("r-1", submission("a", "batch"), due_at=DUE))
    decided(db, "r-1 acknowledge 2026-11-25 the vendor is asked")
    assert (due(db)[0], due(db, RUN + 6 * DAY)[0]) == (0, 1)
    assert report(db, storage) == []
    assert report(db, storage, RUN + 6 * DAY) != []


def test_a_later_failure_of_a_request_is_not_covered(db: Database, storage: Storage) -> None:
    """If an acknowledged request fails again after a retry, the report fails again."""
    closed(db, request("r-1", submission("a", "batch"), due_at=DUE))
    decided(db, "r-1 acknowledge 2026-12-01 the vendor is asked")
    db.execute("UPDATE dsar.request SET status = 'in_progress', closed_at = NULL, is_unresolved = false")
    put_into(db, [1], {"finished_at": RUN + DAY})
    (pk,) = planning.request_pks_of(db, ["r-1"])
    closing.close(db, [Closed(pk, Status.FAILED, None, "file:///r")], now=RUN + DAY)
    assert due(db, RUN + 2 * DAY)[0] == 1
    assert report(db, storage, RUN + 2 * DAY) != []


def test_an_overdue_request_can_be_acknowledged(db: Database, storage: Storage) -> None:
    """The acknowledged request is still open and overdue, and the report lists it."""
    plan(db, request("late", due_at=RUN - DAY))
    assert reported(db, storage, RUN) != []
    decided(db, "late acknowledge 2026-12-01 the data subject knows")
    assert report(db, storage, RUN + DAY) == []
    assert due(db)[:2] == (1, 1)


def test_a_request_that_comes_near_its_due_date_is_reported_once(db: Database, storage: Storage) -> None:
    plan(db, request("r-1", due_at=DUE))
    red = [days for days in range(15, 20) if reported(db, storage, RUN + days * DAY)]
    assert red == [17]


def test_a_request_with_an_account_that_was_not_asked_stays_in_sight(db: Database, storage: Storage) -> None:
    """The report has one line per account. The request counts until an operator acknowledges it."""
    closed(db, left_out(), "completed", Status.COMPLETED)
    closed(db, left_out("a-2"), "completed", Status.COMPLETED)
    (sentence,) = report(db, storage)
    assert sentence.startswith("id5 may hold data of 2 requests (a-1, a-2) and was not asked")
    assert due(db) == (2, 0, DUE)
    decided(db, "a-1 acknowledge always asked by mail")
    assert due(db) == (1, 0, DUE)


def test_an_account_that_is_asked_in_another_way_is_acknowledged_once(db: Database, storage: Storage) -> None:
    """The acknowledgement covers requests that are already closed, and requests that are closed later."""
    closed(db, left_out(), "completed", Status.COMPLETED)
    decided(db, "id5 acknowledge always we ask them by mail")
    closed(db, left_out("a-2"), "completed", Status.COMPLETED, at=RUN + timedelta(hours=3))
    assert report(db, storage, RUN + DAY) == []
    assert due(db)[0] == 0


def test_a_request_that_no_account_can_serve_waits_for_an_answer(db: Database, storage: Storage) -> None:
    """The request is open and has a due date until an operator has answered it."""
    plan(db, without_account())
    assert closing.closable(db, request_pks=None) == []
    (sentence,) = report(db, storage)
    assert sentence.startswith("No account can serve 1 request (by-hand)")
    assert due(db) == (1, 0, DUE)
    decided(db, "by-hand answered sent by post")
    assert closing.closable(db, request_pks=None) != []
    assert report(db, storage) == []


def test_a_retry_plans_what_failed_of_an_open_request(db: Database) -> None:
    """The failed submissions of the request are planned again. Other requests stay unchanged."""
    for name in ("r-1", "r-2"):
        plan(db, request(name, submission(name, "batch"), submission(name, "id5")))
    put_into(db, [1, 3], {"state": "failed", "finished_at": RUN, "attempts": 1})
    decided(db, "r-1 retry the account is repaired")
    assert [row["state"] for row in rows(db)] == ["planned", "planned", "failed", "planned"]


def test_a_retry_reads_the_rows_of_requests_that_were_closed_before_its_run(db: Database) -> None:
    """If the run is cleared later, it does not retry requests that were closed in the meantime."""
    closed(db, request("r-1", submission("a", "batch")))
    closed(db, request("r-2", submission("b", "batch")), at=RUN + DAY)
    decisions = [Decision.parse(f"{name} retry repaired") for name in ("r-1", "r-2", "nobody")]
    assert to_retry(db, decisions, made_at=RUN + timedelta(hours=1)) == {"r-1"}


def test_each_decision_is_recorded_with_author_time_and_reason(db: Database) -> None:
    """A refused decision is recorded too. A repeated run records nothing twice."""
    closed(db, request("r-1", submission("a", "batch"), due_at=DUE))
    for _ in range(2):
        decided(db, "r-1 acknowledge 2026-12-01 answered by post")
    with pytest.raises(ConfigurationError, match="no row with this name waits"):
        decided(db, "nobody dismiss a test row")
    recorded = db.execute(
        "SELECT kind, request, author, given_at, reason, details, refused FROM dsar.instruction ORDER BY id"
    ).fetchall()
    at = RUN + timedelta(hours=2)
    assert [tuple(row.values()) for row in recorded] == [
        (
            "acknowledge",
            1,
            "jane in run 7",
            at,
            "answered by post",
            {"until": "2026-12-02T00:00:00+00:00"},
            None,
        ),
        ("dismiss", None, "jane in run 7", at, "a test row", {"until": None}, "no row with this name waits"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "r-1 acknowledge always answered",  # nothing about it failed
        "r-9 acknowledge always answered",
        "r-1 answered by post",
        "r-1 retry the account is repaired",
    ],
)
def test_a_decision_that_contradicts_the_state_is_refused(db: Database, line: str) -> None:
    """The other decisions are carried out."""
    closed(db, request("r-1", submission("a", "batch")), "completed", Status.COMPLETED)
    invalid(db)
    decisions = [Decision.parse(line), Decision.parse("bad dismiss a test row")]
    with pytest.raises(ConfigurationError, match=f"could not be carried out: {line.split()[0]}"):
        decide(db, decisions, by="jane", now=RUN, made_at=RUN)
    assert due(db)[0] == 0


@pytest.mark.parametrize(
    "line", ["r-1 dismiss", "r-1 acknowledge always", "r-1 acknowledge soon a reason", "r-1 retry"]
)
def test_a_decision_needs_a_reason_and_an_acknowledgement_a_date(line: str) -> None:
    with pytest.raises(ConfigurationError):
        Decision.parse(line)
