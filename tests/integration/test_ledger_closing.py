"""A request is closed when all its submissions have ended. Then its status is written to the source."""

from __future__ import annotations

from datetime import timedelta

import pytest

from include.dsar.errors import TransitionLost
from include.dsar.ledger import closing, planning
from include.dsar.ledger.closing import Closed
from include.dsar.ledger.database import Database
from include.dsar.model import State, Status
from tests.integration.requests_given import NOW, plan, put_into, request, rows, submission

LATER = NOW + timedelta(hours=1)


def close(db: Database, *request_ids: str, status: Status = Status.COMPLETED) -> None:
    closed = [Closed(n, status, None, f"file:///{n}") for n in planning.request_pks_of(db, request_ids)]
    closing.close(db, closed, now=LATER)


def test_closing_erases_all_identifiers_and_keeps_the_hash(db: Database) -> None:
    """Only a keyed hash of the identifiers remains."""
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
    """If one of several requests cannot be closed, all of them stay open and keep their identifiers."""
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
    """The second session that closes the request gets TransitionLost."""
    plan(db, request("r-1"))
    put_into(db, [found["id"] for found in rows(db)], {"state": "completed", "finished_at": NOW})
    close(db, "r-1")
    with pytest.raises(TransitionLost):
        close(db, "r-1")


def test_a_status_that_changes_during_a_write_back_is_written_again(db: Database) -> None:
    """While a slow session writes a status to the source, another session may change the status. The slow
    session does not mark the newer status as written.
    """
    plan(db, request("r-1"))
    (late,) = closing.pending_write_backs(db, limit=10)
    put_into(db, [found["id"] for found in rows(db)], {"state": "completed", "finished_at": NOW})
    close(db, "r-1")
    closing.mark_written_back(db, closing.pending_write_backs(db, limit=10))
    assert closing.pending_write_backs(db, limit=10) == []
    closing.mark_written_back(db, [late])
    assert [p.status for p in closing.pending_write_backs(db, limit=10)] == [Status.COMPLETED]
