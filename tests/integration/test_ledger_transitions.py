"""The ledger allows only defined transitions between the states of a submission, and records events."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from typing import Any

import psycopg
import pytest

from include.dsar.errors import TransitionLost
from include.dsar.ledger import database, uncertain
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import ORDINARY, TRANSITIONS, Move, move, require_moved
from include.dsar.model import CollectedFile, IdentityKind, State
from include.stack.home import Home
from tests.integration.conftest import own_database
from tests.integration.requests_given import NOW, events, plan, put_into, request, row, rows, submission

LATER = NOW + timedelta(hours=1)
FILE = CollectedFile("work/r-1/besitos/user_id_1.json", "user_id_1.json", "ab" * 32, 17)
ALLOWED = list(TRANSITIONS)
REFUSED = [pair for pair in product(State, State) if pair not in ALLOWED]


@pytest.fixture(scope="module")
def shared_dsn(server: Home) -> Iterator[str]:
    """Yields one database for the many small tests that change nothing permanently."""
    with own_database(server) as url:
        yield url


@pytest.fixture
def scratch(shared_dsn: str) -> Iterator[Database]:
    """Yields a ledger session. Its changes are rolled back."""
    with database.connect(shared_dsn) as db, db.transaction(force_rollback=True):
        yield db


def given(db: Database, state: State, **columns: Any) -> int:
    """Adds a submission in the given state, with the columns that belong to the state."""
    plan(db, request("r-1", submission("u1")))
    (found,) = rows(db)
    sent = {State.SUBMITTED, State.READY, State.COMPLETED, State.NO_DATA, State.FAILED}
    begun: dict[str, Any] = {"state": state, "attempts": 1, "attempted_at": NOW}
    if state is State.PLANNED:
        begun = {"state": state}
    if state is State.SUBMITTING:
        begun["worker"] = 7
    if state in sent:
        begun |= {"job_id": "job-1", "submitted_at": NOW}
    if state.is_terminal:
        begun["finished_at"] = NOW
    put_into(db, [found["id"]], begun | columns)
    return int(found["id"])


@pytest.mark.parametrize(("leave", "to"), ALLOWED)
def test_an_allowed_transition_sets_the_columns_of_the_new_state(
    scratch: Database, leave: State, to: State
) -> None:
    """The columns are times, job, worker, batch size and file."""
    one = given(scratch, leave, batch_limit=10)
    moved = move(
        scratch,
        [Move(one, to, "why", job_id="job-2", not_before=LATER, batch_limit=3, file=FILE)],
        leave=leave,
        now=LATER,
    )
    after = row(scratch, one)
    assert moved == {one}
    assert (after["state"], after["reason"], after["changed_at"], after["worker"]) == (to, "why", LATER, None)
    planned = to is State.PLANNED
    assert after["job_id"] == (None if planned else "job-2")
    assert after["not_before"] == (LATER if planned else None)
    assert after["batch_limit"] == (3 if planned else 10)
    assert after["finished_at"] == (LATER if to.is_terminal else None)
    if to is State.SUBMITTED:
        assert after["submitted_at"] == LATER
    elif planned:
        assert after["submitted_at"] is None
    else:
        assert after["submitted_at"] == (NOW if leave in {State.SUBMITTED, State.READY} else None)
    assert after["file_path"] == FILE.path
    assert after["attempts"] == (0 if leave is State.PLANNED else 1)


@pytest.mark.parametrize(("leave", "to"), REFUSED)
def test_every_other_transition_is_refused(scratch: Database, leave: State, to: State) -> None:
    """A transition that is not allowed raises ValueError before any statement runs."""
    one = given(scratch, leave)
    before = row(scratch, one)
    with pytest.raises(ValueError, match="no transition"):
        move(scratch, [Move(one, to)], leave=leave, now=LATER)
    assert row(scratch, one) == before
    assert events(scratch) == []


@pytest.mark.parametrize("state", list(State))
def test_a_submission_in_another_state_does_not_move(scratch: Database, state: State) -> None:
    """A submission in another state than expected does not move. The function require_moved raises an
    error.
    """
    one = given(scratch, state)
    before = row(scratch, one)
    for leave, to in ALLOWED:
        if leave is state:
            continue
        moved = move(scratch, [Move(one, to, "why")], leave=leave, now=LATER)
        assert moved == set()
        with pytest.raises(TransitionLost, match=f"1 submissions are no longer {leave}"):
            require_moved(moved, [one], leave=leave)
    assert row(scratch, one) == before
    assert events(scratch) == []


def test_the_schema_refuses_a_state_that_does_not_exist(db: Database) -> None:
    """A statement without guards cannot write an unknown state either."""
    one = given(db, State.PLANNED)
    with pytest.raises(psycopg.errors.CheckViolation):
        put_into(db, [one], {"state": "done"})


def test_a_worker_moves_only_submissions_that_it_holds(scratch: Database) -> None:
    """A late result does not change a submission that another worker has claimed meanwhile."""
    one = given(scratch, State.SUBMITTING)
    assert move(scratch, [Move(one, State.SUBMITTED)], leave=State.SUBMITTING, now=LATER, worker=8) == set()
    assert move(scratch, [Move(one, State.SUBMITTED)], leave=State.SUBMITTING, now=LATER, worker=7) == {one}


def test_the_outcome_of_an_earlier_job_does_not_move_a_submission_in_a_later_job(scratch: Database) -> None:
    """A submission that was sent again waits for the outcome of its new job."""
    one = given(scratch, State.SUBMITTED, job_id="job-2")
    stale = Move(one, State.FAILED, "the job failed", of_job="job-1")
    assert move(scratch, [stale], leave=State.SUBMITTED, now=LATER) == set()
    assert row(scratch, one)["state"] == State.SUBMITTED


def test_a_claim_without_a_call_does_not_count_as_an_attempt(scratch: Database) -> None:
    """A claim without a call also adds no event."""
    one = given(scratch, State.SUBMITTING)
    move(scratch, [Move(one, State.PLANNED, untried=True)], leave=State.SUBMITTING, now=LATER)
    assert (row(scratch, one)["attempts"], events(scratch)) == (0, [])


@pytest.mark.parametrize(("leave", "to"), ALLOWED)
def test_a_move_with_a_reason_adds_an_event(scratch: Database, leave: State, to: State) -> None:
    """The event has the transition, its reason, the attempt and the job."""
    one = given(scratch, leave)
    move(scratch, [Move(one, to, "why", job_id="job-2")], leave=leave, now=LATER)
    (event,) = events(scratch)
    assert (event["leaves"], event["enters"], event["reason"], event["at"]) == (leave, to, "why", LATER)
    attempts = 0 if leave is State.PLANNED else 1
    assert (event["submission"], event["attempt"], event["job_id"]) == (one, attempts, "job-2")


@pytest.mark.parametrize(("leave", "to"), sorted(ORDINARY))
def test_an_ordinary_move_adds_no_event(scratch: Database, leave: State, to: State) -> None:
    """An ordinary move adds no event, because the times in the submission's row are enough."""
    move(scratch, [Move(given(scratch, leave), to, job_id="job-2")], leave=leave, now=LATER)
    assert events(scratch) == []


@pytest.mark.parametrize("state", State)
def test_sql_and_python_agree_on_which_states_are_open(db: Database, state: State) -> None:
    """The SQL function dsar.is_open gives the same result as State.is_open."""
    found = db.execute("SELECT dsar.is_open(%s) AS is_open", [state]).fetchone()
    assert found == {"is_open": state.is_open}
    assert state.is_terminal != state.is_open


def test_ordinary_moves_are_allowed_moves() -> None:
    """Every transition in ORDINARY is also in TRANSITIONS."""
    assert set(ALLOWED) > ORDINARY


def test_events_are_append_only_and_hold_no_identifier(db: Database) -> None:
    """No event can be changed or deleted. No event contains an identifier."""
    plan(db, request("r-1", submission("jane-marker@example.com", kind=IdentityKind.EMAIL)))
    (one,) = rows(db)
    put_into(db, [one["id"]], {"state": "uncertain", "attempts": 1})
    move(db, [Move(one["id"], State.PLANNED, "sent again")], leave=State.UNCERTAIN, now=LATER)
    assert "jane-marker" not in repr(events(db))
    for statement in ("UPDATE dsar.event SET reason = 'x'", "DELETE FROM dsar.event", "TRUNCATE dsar.event"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            db.execute(statement)


def test_sessions_that_move_the_same_rows_in_different_orders_do_not_deadlock(dsn: str, db: Database) -> None:
    """The ledger always locks rows in the order of their ids."""
    plan(db, request("r-1", *(submission(f"u{n}") for n in range(400))))
    ids = [found["id"] for found in rows(db)]
    errors: list[BaseException] = []

    def move_there_and_back(order: list[int]) -> None:
        try:
            with database.connect(dsn) as own:
                for _ in range(8):
                    move(own, [Move(n, State.SUBMITTING) for n in order], leave=State.PLANNED, now=LATER)
                    move(own, [Move(n, State.PLANNED) for n in order], leave=State.SUBMITTING, now=LATER)
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=move_there_and_back, args=(order,))
        for order in (ids, ids[::-1], ids[::2] + ids[1::2])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_stale_read_does_not_move_an_uncertain_submission(db: Database) -> None:
    """The submission became uncertain again after the read. The read is therefore about an earlier attempt
    and changes nothing.
    """
    plan(db, request("r-1"))
    (one,) = rows(db)
    put_into(db, [one["id"]], {"state": "uncertain", "changed_at": LATER, "attempted_at": LATER})
    (found,) = uncertain.uncertain_submissions(db, "besitos", request_pks=None)
    for since, moved in ((NOW, set()), (found.since, {one["id"]})):
        again = Move(one["id"], State.PLANNED, "sent again", since=since)
        assert move(db, [again], leave=State.UNCERTAIN, now=LATER) == moved
