"""Each request is added to the ledger once, with all its submissions."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from include.dsar.ledger import closing, database
from include.dsar.ledger.database import Database
from tests.integration.requests_given import plan, request, rows, submission


def test_one_submission_per_request_account_and_identity(db: Database) -> None:
    """A unique constraint refuses a second submission. Then the whole request is not planned."""
    with pytest.raises(psycopg.errors.UniqueViolation):
        plan(db, request("r-1", submission("u1"), submission("u1")))
    assert rows(db) == []
    plan(db, request("r-1", submission("u1"), submission("u1", account="batch")), request("r-2"))
    assert len(rows(db)) == 3


def test_two_sessions_that_plan_the_same_requests_plan_them_once(dsn: str, db: Database) -> None:
    """Each request is new in only one of the sessions. It has each submission once."""
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


def test_times_do_not_depend_on_the_zone_of_the_server(db: Database) -> None:
    """A time that was written is read back as the same moment."""
    db.execute("SET timezone = 'Pacific/Auckland'")
    plan(db, request("r-1", due_at=datetime(2026, 12, 1, tzinfo=UTC)))
    (pending,) = closing.pending_write_backs(db, limit=1)
    assert pending.due_at == datetime(2026, 12, 1, tzinfo=UTC)
