"""Workers claim submissions in order of due date. Each submission is claimed once, when it can be sent."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from include.dsar.ledger import claiming, database, uncertain
from include.dsar.ledger.claiming import Claim
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import State
from tests.integration.requests_given import NOW, events, plan, put_into, request, row, rows, submission

LATER = NOW + timedelta(hours=1)


def claim(db: Database, *, worker: int = 1, limit: int = 9, now: Any = LATER, of: Any = None) -> list[Claim]:
    return claiming.claim(
        db, "besitos", worker=worker, limit=limit, now=now, request_pks=of, one_job_per_subject=False
    )


def test_what_is_due_first_is_claimed_first_and_by_one_worker(dsn: str, db: Database) -> None:
    """Submissions with the earliest due date are claimed first. Two workers that claim at the same time get
    different submissions.
    """
    due = [NOW + timedelta(days=days) for days in (9, 1, 5, 3, 7)]
    plan(db, *(request(f"r-{at.day}", submission(f"u{at.day}"), due_at=at) for at in due))
    with database.connect(dsn) as other, other.transaction():
        first = claim(other, worker=1, limit=2)
        second = claim(db, worker=2, limit=2)
    assert [c.subject.request_id for c in first] == ["r-21", "r-23"]
    assert [c.subject.request_id for c in second] == ["r-25", "r-27"]
    claimed = row(db, first[0].subject.submission)
    assert (claimed["state"], claimed["worker"], claimed["attempts"]) == ("submitting", 1, 1)
    assert claimed["attempted_at"] == LATER


def test_a_claim_takes_only_what_can_be_sent_now(db: Database) -> None:
    """A claim includes only submissions of the given account and the given requests. Submissions that must
    wait for a later time are left out.
    """
    plan(db, request("r-1"), request("r-2", submission("u2")), request("r-3", submission(account="batch")))
    one, two, _ = rows(db)
    put_into(db, [one["id"]], {"not_before": LATER})
    assert claim(db, now=NOW, of=[one["request"]]) == []
    (claimed,) = claim(db, now=NOW)
    assert claimed.subject.submission == two["id"]
    next_at = claiming.next_planned_at(db, "besitos", now=NOW, request_pks=None, one_job_per_subject=False)
    assert next_at == LATER


def test_submissions_that_wait_for_another_one_have_no_next_time(db: Database) -> None:
    """Some submissions cannot be claimed, because they wait for another submission. Such submissions have
    no next time, so submit does not wake up for them.
    """
    plan(db, *(request(f"r-{n}", due_at=NOW + timedelta(days=20 + n)) for n in range(3)))
    first, *_ = rows(db)
    put_into(db, [first["id"]], {"state": "uncertain", "attempts": 1, "attempted_at": LATER})
    assert claim(db) == []
    times = {
        one_job: claiming.next_planned_at(
            db, "besitos", now=LATER, request_pks=None, one_job_per_subject=one_job
        )
        for one_job in (True, False)
    }
    assert times == {True: None, False: None}


def test_an_older_job_is_never_shared(db: Database) -> None:
    """A request does not share a job that is older than the request. If the vendor may refuse a second job,
    the request has no next time, so submit does not wake up without work.
    """
    plan(db, request("first"), request("second"))
    first, _ = rows(db)
    requested_at = NOW - timedelta(hours=1)  # before the second request was planned
    job = {"job_id": "j", "attempts": 1, "attempted_at": requested_at, "submitted_at": requested_at}
    put_into(db, [first["id"]], {"state": "submitted", **job})
    assert claiming.share_jobs(db, "besitos", now=LATER, request_pks=None) == 0
    given: dict[str, Any] = {"now": LATER, "request_pks": None}
    assert claiming.next_planned_at(db, "besitos", **given, one_job_per_subject=True) is None
    assert claiming.next_planned_at(db, "besitos", **given, one_job_per_subject=False) == LATER


def test_a_claim_without_a_call_uses_no_quota(db: Database) -> None:
    """A claim without a call uses no quota. Submit makes no call, for example, after the vendor refused our
    credentials.
    """
    plan(db, request())
    (claimed,) = claim(db)
    assert claiming.attempted_since(db, "besitos", NOW) == 1
    untried = Move(claimed.subject.submission, State.PLANNED, untried=True)
    move(db, [untried], leave=State.SUBMITTING, now=LATER)
    assert claiming.attempted_since(db, "besitos", NOW) == 0


def test_only_claims_of_dead_workers_become_uncertain(dsn: str, db: Database) -> None:
    """A worker counts as alive while its session is open."""
    plan(db, request("r-1"), request("r-2", submission("u2")))
    me = claiming.register(db)
    with database.connect(dsn) as living:
        with database.connect(dsn) as dying:
            for own in (living, dying):
                claim(own, worker=claiming.register(own), limit=1)
            assert uncertain.mark_abandoned(db, "besitos", worker=me, now=LATER) == 0
            dying_pid = dying.info.backend_pid
        while db.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [dying_pid]).fetchone() is not None:
            time.sleep(0.01)
        assert uncertain.mark_abandoned(db, "besitos", worker=me, now=LATER) == 1
    assert [(found["state"], found["uncertain_count"]) for found in rows(db)] == [
        ("submitting", 0),
        ("uncertain", 1),
    ]
    (event,) = events(db)
    assert (event["enters"], event["reason"]) == ("uncertain", uncertain.REASON_WORKER_DIED)


def test_a_claim_from_many_is_quick_with_and_without_statistics(db: Database) -> None:
    """A claim reads only the submissions that it returns, not all 20,000 planned submissions."""
    plan(db, *(request(f"r-{n}", submission(f"u{n}")) for n in range(20_000)))
    for statistics in (False, True):
        if statistics:
            db.execute("ANALYZE dsar.submission")
        began = time.monotonic()
        assert len(claim(db, limit=500)) == 500
        assert time.monotonic() - began < 2
