"""Rows of the ledger, made by hand: what the board must say of them can be counted on one's fingers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

MARKERS = {"email": "zq7x.jane@example.org", "user_id": "zq7x-user", "phone": "+12025550147"}


def given(
    dsn: str,
    request_id: str = "r-1",
    *accounts: dict[str, Any],
    received: datetime | None = None,
    due: datetime | None = None,
    closed: datetime | None = None,
    **columns: Any,
) -> int:
    """A request and a submission for each of `accounts`; returns its id in the ledger.

    Every submission of an open request holds the identifiers of MARKERS.
    """
    with psycopg.connect(dsn) as db:
        now = db.execute("SELECT now()").fetchone()
        assert now is not None
        received = received or now[0] - timedelta(days=2)
        values = {
            "action": "erasure", "regulation": "GDPR", "received_at": received,
            "due_at": due or received + timedelta(days=30), "fingerprint": "zq7x-fingerprint",
            "status": "completed" if closed else "in_progress", "planned_at": received + timedelta(hours=1),
            "closed_at": closed, "source_told": True, **columns,
        }  # fmt: skip
        request = _insert(db, "request", {"request_id": request_id, **values})
        for n, account in enumerate(accounts or ({},)):
            submission = {
                "account": "besitos", "vendor": "besitos", "identity": "email", "state": "planned",
                "identity_hash": f"zq7x-hash-{n}", "identifiers": None if closed else Jsonb(MARKERS),
                "changed_at": values["planned_at"], "due_at": values["due_at"], **account,
            }  # fmt: skip
            _insert(db, "submission", {"request": request, **submission})
        return request


def event(dsn: str, request: int, at: datetime, **columns: Any) -> None:
    """A row of the event log, of the request's first submission."""
    with psycopg.connect(dsn) as db:
        row = db.execute("SELECT min(id) FROM dsar.submission WHERE request = %s", [request]).fetchone()
        assert row is not None
        _insert(db, "event", {"request": request, "submission": row[0], "at": at, **columns})


def _insert(db: psycopg.Connection[Any], table: str, values: dict[str, Any]) -> int:
    statement = sql.SQL("INSERT INTO dsar.{} ({}) VALUES ({}) RETURNING id").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(map(sql.Placeholder, values)),
    )
    row = db.execute(statement, values).fetchone()
    assert row is not None
    return int(row[0])
