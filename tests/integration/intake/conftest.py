"""Fixtures for the tests of intake: a ledger and a source table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from include.dsar.intake.rows import Rules
from include.dsar.intake.source import Source
from include.dsar.ledger import closing, planning
from include.dsar.ledger.closing import Closed
from include.dsar.ledger.database import Database
from include.dsar.model import Status
from include.dsar.stages.intake import Intake, TakenIn
from tests.integration.conftest import Row, put, source_rows
from tests.integration.requests_given import NOW, RULES, put_into, rows

MARKER = "jane-marker"
TABLES = (
    "dsar.request", "dsar.submission", "dsar.event", "dsar.deployment", "dsar.unplanned_row",
    "public.dsar_requests",
)  # fmt: skip


@dataclass
class IntakeCase:
    dsn: str
    db: Database
    source: Source

    def run(self, rules: Rules = RULES, **options: Any) -> TakenIn:
        return Intake(self.db, self.source, rules, **options).run()

    def put(self, *source: Row) -> None:
        put(self.dsn, *source)

    def change_source(self, statement: str) -> None:
        with psycopg.connect(self.dsn) as other:
            other.execute(statement.encode())

    @property
    def in_source(self) -> dict[str, dict[str, Any]]:
        return source_rows(self.dsn)

    @property
    def reasons(self) -> dict[str, str]:
        """Returns the reasons of the rows that are marked invalid."""
        return {
            name: row["status_reason"] for name, row in self.in_source.items() if row["status"] == "invalid"
        }

    @property
    def requests(self) -> dict[str, dict[str, Any]]:
        return {row["request_id"]: row for row in self.db.execute("SELECT * FROM dsar.request").fetchall()}

    @property
    def submissions(self) -> list[dict[str, Any]]:
        return rows(self.db)

    def everything(self) -> Sequence[Any]:
        """Returns all rows of the ledger and the source."""
        with psycopg.connect(self.dsn) as db:
            return [db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in TABLES]

    def end(self, request_id: str, *, closed: bool, **state: Any) -> None:
        """Moves all planned submissions of a request into the given state."""
        planned = [s for s in self.submissions if (s["request_id"], s["state"]) == (request_id, "planned")]
        put_into(self.db, [s["id"] for s in planned], {"attempts": 1, "finished_at": NOW, **state})
        if closed:
            (pk,) = planning.request_pks_of(self.db, [request_id])
            closing.close(self.db, [Closed(pk, Status.FAILED, "batch: failed", "file:///x")], now=NOW)


@pytest.fixture
def case(dsn: str, db: Database, source_table: Source) -> IntakeCase:
    return IntakeCase(dsn, db, source_table)


@pytest.fixture
def keyless(case: IntakeCase) -> None:
    """Removes the key of the source, so that a request_id can occur more than once."""
    case.change_source("ALTER TABLE public.dsar_requests DROP CONSTRAINT dsar_requests_pkey")
