"""The states of a submission, guarded by the ledger itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import psycopg
import pytest

from include.dsar.errors import TransitionLost
from include.dsar.ledger import claiming, closing, database, planning, uncertain
from include.dsar.ledger.closing import Closed
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import ORDINARY, TRANSITIONS, Move, move, require_moved
from include.dsar.model import CollectedFile, IdentityKind, State, Status
from include.stack import postgres
from include.stack.home import Home
from tests.integration.requests_given import (
    NOW,
    events,
    plan,
    put_into,
    request,
    row,
    rows,
    submission,
)

LATER = NOW + timedelta(hours=1)
FILE = CollectedFile("work/r-1/besitos/user_id_1.json", "user_id_1.json", "ab" * 32, 17)
ALLOWED = list(TRANSITIONS)
REFUSED = [pair for pair in product(State, State) if pair not in ALLOWED]


@pytest.fixture(scope="module")
def shared_dsn(server: Home) -> Iterator[str]:
    """One database for the many small tests that leave nothing behind."""
    with psycopg.connect(postgres.url(server, "postgres"), autocommit=True) as db:
        db.execute("CREATE DATABASE transitions TEMPLATE ledger")
        yield postgres.url(server, "transitions")
        db.execute("DROP DATABASE transitions WITH (FORCE)")


@pytest.fixture
def scratch(shared_dsn: str) -> Iterator[Database]:
    """A ledger whose changes are rolled back."""
    with database.connect(shared_dsn) as db, db.transaction(force_rollback=True):
        yield db


def given(db: Database, state: State, **columns: Any) -> int:
    """A submission in that state, as far on its way as it must be."""
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
def test_an_allowed_transition_moves_and_sets_what_belongs_to_the_new_state(
    scratch: Database, leave: State, to: State
) -> None:
    """Times, job, worker, batch size and file are those of the state that is entered."""
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
def test_every_other_pair_is_refused(scratch: Database, leave: State, to: State) -> None:
    """A transition that the table does not have raises before the ledger is asked."""
    one = given(scratch, leave)
    before = row(scratch, one)
    with pytest.raises(ValueError, match="no transition"):
        move(scratch, [Move(one, to)], leave=leave, now=LATER)
    assert row(scratch, one) == before
    assert events(scratch) == []


@pytest.mark.parametrize("state", list(State))
def test_a_submission_in_another_state_does_not_move_and_is_reported(scratch: Database, state: State) -> None:
    """The guard holds against every transition that leaves another state."""
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
    """Not even a statement past the guards can write one."""
    one = given(db, State.PLANNED)
    with pytest.raises(psycopg.errors.CheckViolation):
        put_into(db, [one], {"state": "done"})


def test_only_what_a_worker_holds_moves_in_its_name(scratch: Database) -> None:
    """A record that comes too late does not touch what another worker has claimed since."""
    one = given(scratch, State.SUBMITTING)
    assert move(scratch, [Move(one, State.SUBMITTED)], leave=State.SUBMITTING, now=LATER, worker=8) == set()
    assert move(scratch, [Move(one, State.SUBMITTED)], leave=State.SUBMITTING, now=LATER, worker=7) == {one}


def test_the_outcome_of_an_earlier_job_does_not_reach_a_submission_in_a_later_one(scratch: Database) -> None:
    """What was sent again meanwhile waits for its own job."""
    one = given(scratch, State.SUBMITTED, job_id="job-2")
    stale = Move(one, State.FAILED, "the job failed", of_job="job-1")
    assert move(scratch, [stale], leave=State.SUBMITTED, now=LATER) == set()
    assert row(scratch, one)["state"] == State.SUBMITTED


def test_an_attempt_that_was_none_does_not_count(scratch: Database) -> None:
    """A claim whose call was never made leaves neither an attempt nor an event."""
    one = given(scratch, State.SUBMITTING)
    move(scratch, [Move(one, State.PLANNED, untried=True)], leave=State.SUBMITTING, now=LATER)
    assert (row(scratch, one)["attempts"], events(scratch)) == (0, [])


@pytest.mark.parametrize(("leave", "to"), ALLOWED)
def test_events_are_written_for_what_departs_from_the_ordinary_way(
    scratch: Database, leave: State, to: State
) -> None:
    """An event holds the transition, its reason, attempt and job."""
    one = given(scratch, leave)
    move(scratch, [Move(one, to, "why", job_id="job-2")], leave=leave, now=LATER)
    (event,) = events(scratch)
    assert (event["leaves"], event["enters"], event["reason"], event["at"]) == (leave, to, "why", LATER)
    attempts = 0 if leave is State.PLANNED else 1
    assert (event["submission"], event["attempt"], event["job_id"]) == (one, attempts, "job-2")


@pytest.mark.parametrize(("leave", "to"), sorted(ORDINARY))
def test_the_ordinary_way_leaves_no_event(scratch: Database, leave: State, to: State) -> None:
    """Where a move has no reason, the times in the row say all."""
    move(scratch, [Move(given(scratch, leave), to, job_id="job-2")], leave=leave, now=LATER)
    assert events(scratch) == []


@pytest.mark.parametrize("state", State)
def test_sql_and_python_agree_on_which_states_are_open(db: Database, state: State) -> None:
    """dsar.is_open is State.is_open."""
    found = db.execute("SELECT dsar.is_open(%s) AS is_open", [state]).fetchone()
    assert found == {"is_open": state.is_open}
    assert state.is_terminal != state.is_open


def test_the_ordinary_way_is_a_part_of_the_table() -> None:
    """No pair is called ordinary that does not exist."""
    assert set(ALLOWED) > ORDINARY


def test_events_are_append_only_and_name_no_person(db: Database) -> None:
    """No event can be changed or deleted, and none holds an identifier."""
    plan(db, request("r-1", submission("jane-marker@example.com", kind=IdentityKind.EMAIL)))
    (one,) = rows(db)
    put_into(db, [one["id"]], {"state": "uncertain", "attempts": 1})
    move(db, [Move(one["id"], State.PLANNED, "sent again")], leave=State.UNCERTAIN, now=LATER)
    assert "jane-marker" not in repr(events(db))
    for statement in ("UPDATE dsar.event SET reason = 'x'", "DELETE FROM dsar.event", "TRUNCATE dsar.event"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            db.execute(statement)


def test_two_who_move_the_same_rows_in_other_orders_do_not_deadlock(dsn: str, db: Database) -> None:
    """Rows are locked in the order of their ids, whatever the order of the moves."""
    plan(db, request("r-1", *(submission(f"u{n}") for n in range(400))))
    ids = [found["id"] for found in rows(db)]
    errors: list[BaseException] = []

    def swing(order: list[int]) -> None:
        try:
            with database.connect(dsn) as own:
                for _ in range(8):
                    move(own, [Move(n, State.SUBMITTING) for n in order], leave=State.PLANNED, now=LATER)
                    move(own, [Move(n, State.PLANNED) for n in order], leave=State.SUBMITTING, now=LATER)
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=swing, args=(order,)) for order in (ids, ids[::-1], ids[::2] + ids[1::2])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_one_submission_per_request_account_and_identity(db: Database) -> None:
    """The ledger itself refuses a second one, and the request with it."""
    with pytest.raises(psycopg.errors.UniqueViolation):
        plan(db, request("r-1", submission("u1"), submission("u1")))
    assert rows(db) == []
    plan(db, request("r-1", submission("u1"), submission("u1", account="batch")), request("r-2"))
    assert len(rows(db)) == 3


def test_planning_twice_plans_nothing_twice(db: Database) -> None:
    """Known requests are counted as known, new ones of the same chunk are added."""
    first = plan(db, request("r-1"), request("r-2", submission("u2"), submission("u3")))
    assert (first.new, first.known, first.changed) == (2, 0, 0)
    before = rows(db)
    again = plan(db, request("r-2", submission("u2"), submission("u3")), request("r-1"), request("r-3"))
    assert (again.new, again.known, again.changed) == (1, 2, 0)
    assert rows(db)[:3] == before


def test_a_changed_row_is_reported_and_changes_nothing(db: Database) -> None:
    """What was accepted stays as it was accepted."""
    plan(db, request("r-1"))
    before = rows(db)
    again = plan(db, request("r-1", submission("somebody else"), fingerprint="otherwise"))
    assert (again.new, again.known, again.changed) == (0, 0, 1)
    assert rows(db) == before


def test_two_who_plan_the_same_requests_at_once_plan_them_once(dsn: str, db: Database) -> None:
    """Each request is new to one of them, and all its submissions are there once."""
    requests = [request(f"r-{n}", submission("a"), submission("b")) for n in range(300)]
    new: list[int] = []

    def take_in(order: list[Any]) -> None:
        with database.connect(dsn) as own:
            new.append(plan(own, *order).new)

    threads = [threading.Thread(target=take_in, args=(order,)) for order in (requests, requests[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(new) == 300
    assert len(rows(db)) == 600


def close(db: Database, *request_ids: str, status: Status = Status.COMPLETED) -> None:
    closed = [Closed(n, status, None, f"file:///{n}") for n in planning.request_pks_of(db, request_ids)]
    closing.close(db, closed, now=LATER)


def test_closing_erases_all_identifiers_and_keeps_the_hash(db: Database) -> None:
    """What stays of the person is a keyed hash."""
    plan(db, request("r-1", submission("a"), submission("b", account="batch")), request("r-2"))
    put_into(db, [found["id"] for found in rows(db)], {"state": "completed", "finished_at": NOW})
    close(db, "r-1")
    *of_one, other = rows(db)
    assert [found["identifiers"] for found in of_one] == [None, None]
    assert {found["identity_hash"] for found in of_one} == {"user_id:a", "user_id:b"}
    assert other["identifiers"] == {"user_id": "u1"}
    closed = db.execute("SELECT * FROM dsar.request WHERE request_id = 'r-1'").fetchone()
    assert closed is not None
    assert (closed["status"], closed["closed_at"], closed["source_updated"]) == ("completed", LATER, False)


@pytest.mark.parametrize("state", [s for s in State if s.is_open])
def test_a_request_with_an_open_submission_cannot_be_closed(db: Database, state: State) -> None:
    """None of those that were to be closed with it is closed either, and none is erased."""
    plan(db, request("r-1"), request("r-2"))
    one, two = rows(db)
    put_into(db, [one["id"]], {"state": "completed", "finished_at": NOW})
    put_into(db, [two["id"]], {"state": state})
    with pytest.raises(TransitionLost):
        close(db, "r-1", "r-2")
    assert db.execute("SELECT count(*) AS n FROM dsar.request WHERE status = 'in_progress'").fetchone() == {
        "n": 2
    }
    assert all(found["identifiers"] for found in rows(db))


def test_a_request_is_not_closed_twice(db: Database) -> None:
    """The second who closes it is told."""
    plan(db, request("r-1"))
    put_into(db, [found["id"] for found in rows(db)], {"state": "completed", "finished_at": NOW})
    close(db, "r-1")
    with pytest.raises(TransitionLost):
        close(db, "r-1")


def test_the_source_is_told_anew_what_changed_while_it_was_told(db: Database) -> None:
    """A late writer that told an older status does not have the last word."""
    plan(db, request("r-1"))
    (late,) = closing.pending_write_backs(db, limit=10)
    put_into(db, [found["id"] for found in rows(db)], {"state": "completed", "finished_at": NOW})
    close(db, "r-1")
    closing.mark_written_back(db, closing.pending_write_backs(db, limit=10))
    assert closing.pending_write_backs(db, limit=10) == []
    closing.mark_written_back(db, [late])
    assert [n.status for n in closing.pending_write_backs(db, limit=10)] == [Status.COMPLETED]


def test_what_is_due_soonest_is_claimed_first_and_never_twice(dsn: str, db: Database) -> None:
    """Two workers who claim at once share the planned submissions out."""
    due = [NOW + timedelta(days=days) for days in (9, 1, 5, 3, 7)]
    plan(db, *(request(f"r-{at.day}", submission(f"u{at.day}"), due_at=at) for at in due))
    with database.connect(dsn) as other, other.transaction():
        first = claiming.claim(
            other, "besitos", worker=1, limit=2, now=LATER, request_pks=None, one_job_per_subject=False
        )
        second = claiming.claim(
            db, "besitos", worker=2, limit=2, now=LATER, request_pks=None, one_job_per_subject=False
        )
    assert [c.subject.request_id for c in first] == ["r-21", "r-23"]
    assert [c.subject.request_id for c in second] == ["r-25", "r-27"]
    claimed = row(db, first[0].subject.submission)
    assert (claimed["state"], claimed["worker"], claimed["attempts"]) == ("submitting", 1, 1)
    assert claimed["attempted_at"] == LATER


def test_what_is_not_to_be_sent_yet_is_not_claimed(db: Database) -> None:
    """A claim takes only the account's own, of the requests asked for, whose time has come."""
    plan(db, request("r-1"), request("r-2", submission("u2")), request("r-3", submission(account="batch")))
    one, two, _ = rows(db)
    put_into(db, [one["id"]], {"not_before": LATER})
    wanted = [one["request"]]
    assert (
        claiming.claim(
            db, "besitos", worker=1, limit=9, now=NOW, request_pks=wanted, one_job_per_subject=False
        )
        == []
    )
    (claimed,) = claiming.claim(
        db, "besitos", worker=1, limit=9, now=NOW, request_pks=None, one_job_per_subject=False
    )
    assert claimed.subject.submission == two["id"]
    assert (
        claiming.next_planned_at(db, "besitos", now=NOW, request_pks=None, one_job_per_subject=False) == LATER
    )


def test_a_doubt_that_another_worker_has_settled_meanwhile_is_left_alone(db: Database) -> None:
    """Though it is in doubt again: what was read about it before says nothing about the new try."""
    plan(db, request("r-1"))
    (one,) = rows(db)
    put_into(db, [one["id"]], {"state": "uncertain", "changed_at": LATER, "attempted_at": LATER})
    (doubt,) = uncertain.uncertain_submissions(db, "besitos", request_pks=None)
    for since, moved in ((NOW, set()), (doubt.since, {one["id"]})):
        again = Move(one["id"], State.PLANNED, "sent again", since=since)
        assert move(db, [again], leave=State.UNCERTAIN, now=LATER) == moved


def test_only_a_dead_workers_claims_become_uncertain(dsn: str, db: Database) -> None:
    """A worker lives as long as its session; its claims are nobody else's until then."""
    plan(db, request("r-1"), request("r-2", submission("u2")))
    me = claiming.register(db)
    with database.connect(dsn) as living:
        with database.connect(dsn) as dying:
            for own in (living, dying):
                claiming.claim(
                    own,
                    "besitos",
                    worker=claiming.register(own),
                    limit=1,
                    now=NOW,
                    request_pks=None,
                    one_job_per_subject=False,
                )
            assert uncertain.mark_abandoned(db, "besitos", worker=me, now=LATER) == 0
            dying_pid = dying.info.backend_pid
        while db.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [dying_pid]).fetchone() is not None:
            time.sleep(0.01)
        assert uncertain.mark_abandoned(db, "besitos", worker=me, now=LATER) == 1
    assert [found["state"] for found in rows(db)] == ["submitting", "uncertain"]
    (event,) = events(db)
    assert (event["enters"], event["reason"]) == ("uncertain", uncertain.REASON_WORKER_DIED)


def test_times_of_the_ledger_keep_their_zone(db: Database) -> None:
    """Whatever zone the server has, what comes out is the moment that went in."""
    db.execute("SET timezone = 'Pacific/Auckland'")
    plan(db, request("r-1", due_at=datetime(2026, 12, 1, tzinfo=UTC)))
    (told,) = closing.pending_write_backs(db, limit=1)
    assert told.due_at == datetime(2026, 12, 1, tzinfo=UTC)


def test_a_claim_of_many_planned_is_quick_before_and_after_their_statistics(db: Database) -> None:
    """It looks at what it takes, not at all that is planned: 20,000 here, just put in."""
    plan(db, *(request(f"r-{n}", submission(f"u{n}")) for n in range(20_000)))
    for statistics in (False, True):
        if statistics:
            db.execute("ANALYZE dsar.submission")
        began = time.monotonic()
        claimed = claiming.claim(
            db, "besitos", worker=1, limit=500, now=LATER, request_pks=None, one_job_per_subject=False
        )
        assert len(claimed) == 500
        assert time.monotonic() - began < 2
