"""A submission on hold is not sent. An outcome that waits for an operator closes no request."""

from __future__ import annotations

from datetime import timedelta

import pytest

from include.dsar.errors import TransitionLost
from include.dsar.ledger import claiming, closing
from include.dsar.ledger.closing import Closed
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import State, Status
from tests.integration.requests_given import NOW, plan, put_into, request, row, rows, submission


def hold(db: Database, request_id: str, reason: str | None) -> None:
    db.execute("UPDATE dsar.request SET hold_reason = %s WHERE request_id = %s", [reason, request_id])


def claimed(db: Database) -> list[str]:
    worker = claiming.register(db)
    given = {"worker": worker, "limit": 9, "now": NOW, "request_pks": None, "one_job_per_subject": True}
    return [claim.subject.request_id for claim in claiming.claim(db, "batch", **given)]


def test_a_request_on_hold_is_not_sent(db: Database) -> None:
    """A request on hold is not sent, and other requests of the same data subject do not wait for it. The
    request is sent when the hold ends.
    """
    same = submission("u1", "batch")
    plan(db, request("held", same), request("free", same, due_at=NOW + timedelta(days=40)))
    hold(db, "held", "an unusual volume")
    next_at = claiming.next_planned_at(db, "batch", now=NOW, request_pks=None, one_job_per_subject=True)
    assert next_at == NOW
    assert claimed(db) == ["free"]
    assert claiming.next_planned_at(db, "batch", now=NOW, request_pks=None, one_job_per_subject=True) is None
    hold(db, "held", None)
    put_into(db, [2], {"state": "completed"})
    assert claimed(db) == ["held"]


def test_a_request_on_hold_shares_no_job(db: Database) -> None:
    """A job of another request must not end a request on hold. The two requests share the job when the hold
    ends.
    """
    same = submission("u1", "batch")
    plan(db, request("free", same), request("held", same))
    put_into(db, [1], {"state": "submitted", "job_id": "j", "submitted_at": NOW, "attempted_at": NOW})
    hold(db, "held", "an unusual volume")
    assert claiming.share_jobs(db, "batch", now=NOW, request_pks=None) == 0
    hold(db, "held", None)
    assert claiming.share_jobs(db, "batch", now=NOW, request_pks=None) == 1


def test_an_unconfirmed_outcome_keeps_its_request_open(db: Database) -> None:
    """The request stays open even if a package task has already selected it."""
    plan(db, request("r-1", submission("u1"), submission("u2")))
    put_into(db, [1, 2], {"state": "no_data", "finished_at": NOW})
    chosen = closing.closable(db, request_pks=None)
    put_into(db, [2], {"is_unconfirmed": True})
    assert closing.closable(db, request_pks=None) == []
    with pytest.raises(TransitionLost):
        closing.close(db, [Closed(chosen[0], Status.COMPLETED, None, "file:///r")], now=NOW)
    assert all(one["identifiers"] for one in rows(db))
    put_into(db, [2], {"is_unconfirmed": False})
    assert closing.closable(db, request_pks=None) == chosen


def test_a_submission_that_is_sent_again_is_neither_unknown_nor_unconfirmed(db: Database) -> None:
    plan(db, request())
    marked = {"state": "failed", "finished_at": NOW, "is_unconfirmed": True, "unknown_since": NOW}
    put_into(db, [1], marked)
    assert move(db, [Move(1, State.PLANNED)], leave=State.FAILED, now=NOW) == {1}
    assert (row(db, 1)["is_unconfirmed"], row(db, 1)["unknown_since"]) == (False, None)
