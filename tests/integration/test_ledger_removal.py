"""Old requests can be removed with all their rows. Nothing else deletes events or instructions."""

from __future__ import annotations

import psycopg
import pytest

from include.dsar.ledger import closing, planning
from include.dsar.ledger.closing import Closed
from include.dsar.ledger.database import Database
from include.dsar.ledger.planning import REASON_RETRY
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import State, Status
from tests.integration.requests_given import NOW, plan, put_into, request, rows, submission

KEPT = {
    "open": "UPDATE dsar.request SET status = 'in_progress', closed_at = NULL",
    "unresolved": "UPDATE dsar.request SET is_unresolved = true WHERE request_id = 'r-1'",
    "on hold": "UPDATE dsar.request SET hold_reason = 'a dispute'",
    "not written back": "UPDATE dsar.request SET source_updated = false",
}


@pytest.fixture
def closed(db: Database) -> int:
    """Returns a closed request that has an event, an instruction and a hold."""
    plan(db, request("r-1", submission("u1")), request("r-2", submission("u2")))
    put_into(db, [1], {"state": "failed", "finished_at": NOW})
    move(db, [Move(1, State.PLANNED, REASON_RETRY)], leave=State.FAILED, now=NOW)
    put_into(db, [1], {"state": "completed", "finished_at": NOW})
    (pk,) = planning.request_pks_of(db, ["r-1"])
    closing.close(db, [Closed(pk, Status.COMPLETED, None, "file:///r")], now=NOW)
    db.execute("UPDATE dsar.request SET source_updated = true")
    db.execute(
        "INSERT INTO dsar.instruction (fingerprint, kind, request, origin, author, given_at, decided_at)"
        " VALUES ('f', 'hold', %s, 'airflow', 'jane', now(), now())",
        [pk],
    )
    db.execute(
        "INSERT INTO dsar.hold (request, kind, reason, author, held_at, released_at, released_by)"
        " VALUES (%s, 'legal', 'a dispute', 'jane', now(), now(), 'jane')",
        [pk],
    )
    return pk


def removed(db: Database, *request_pks: int) -> dict[str, int]:
    found = db.execute("SELECT * FROM dsar.remove_requests(%s)", [list(request_pks)]).fetchone()
    assert found is not None
    return found


def test_a_closed_request_is_removed_with_all_its_rows(db: Database, closed: int) -> None:
    (other,) = planning.request_pks_of(db, ["r-2"])
    assert removed(db, closed, other) == {"requests": 1, "submissions": 1, "events": 1}
    assert [row["request_id"] for row in rows(db)] == ["r-2"]
    left = db.execute("SELECT count(*) AS n FROM dsar.instruction").fetchone()
    assert left == {"n": 0}


@pytest.mark.parametrize("change", KEPT.values(), ids=KEPT)
def test_a_request_that_is_still_needed_is_not_removed(db: Database, closed: int, change: str) -> None:
    """A request stays if it is open, unresolved or on hold, or if its status is not written back."""
    db.execute(change.encode())
    assert removed(db, closed) == {"requests": 0, "submissions": 0, "events": 0}
    assert len(rows(db)) == 2


@pytest.mark.parametrize("table", ["event", "instruction"])
@pytest.mark.parametrize("statement", ["DELETE FROM dsar.{}", "UPDATE dsar.{} SET author = 'x'"])
def test_nothing_else_changes_what_was_recorded(
    db: Database, closed: int, statement: str, table: str
) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match=rf"dsar\.{table} is append-only"):
        db.execute(statement.format(table).encode())
