"""The source table may be in different databases, and may refuse a statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb
from sqlalchemy import create_engine, event

from include.dsar.errors import ConfigurationError, SourceUnavailable
from include.dsar.intake import source as source_module
from include.dsar.intake.source import Source
from include.dsar.intake.write_back import write_back
from include.dsar.ledger import closing
from include.dsar.ledger.database import Database
from include.dsar.stages.intake import Intake
from tests.integration.conftest import Row
from tests.integration.intake.conftest import MARKER, IntakeCase
from tests.integration.requests_given import RULES


def test_a_status_that_the_source_refuses_stops_no_other(
    case: IntakeCase, caplog: pytest.LogCaptureFixture
) -> None:
    """The source refuses one status. All other statuses are written, and then the task fails. The next run
    tries the refused status again.
    """
    case.change_source(
        "ALTER TABLE public.dsar_requests ADD CHECK (request_id NOT LIKE '%narrow' OR length(status) < 8),"
        " ADD CHECK (length(status_reason) < 70)"
    )
    case.put(Row("a-1", user_id="u1"), Row("b-narrow", user_id="u2"), Row("c-1", user_id="u3"))
    case.put(Row("x-1", email="m"), Row("x-2", "unknown", user_id="u"), Row("x-3", user_id=""))
    with pytest.raises(ConfigurationError, match="refused the status of 1 requests"):
        case.run()
    assert {name: row["status"] for name, row in case.in_source.items()} == {
        "a-1": "in_progress", "b-narrow": "pending", "c-1": "in_progress",
        "x-1": "invalid", "x-2": "pending", "x-3": "invalid",
    }  # fmt: skip
    assert [p.request_id for p in closing.pending_write_backs(case.db, limit=9)] == ["b-narrow"]
    assert "23514" in caplog.text
    assert len(case.requests) == 3


def test_a_locked_source_table_is_named(case: IntakeCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and writing a locked table fail after five minutes, so the task does not wait forever. The
    error names the table.
    """
    assert "SET LOCAL lock_timeout = '5min'" in source_module.SETTINGS["postgresql"]
    soon = ("SET LOCAL lock_timeout = '50ms'",)
    monkeypatch.setitem(source_module.SETTINGS, "postgresql", soon)
    case.put(Row("a-1", user_id="u1"))
    locked = "55P03: another session has locked the table or one of its rows for more than 5 minutes"
    # If intake has no limit, the test fails: its own lock ends.
    with psycopg.connect(case.dsn, options="-c idle_in_transaction_session_timeout=10s") as other:
        other.execute("LOCK TABLE public.dsar_requests")
        with pytest.raises(SourceUnavailable, match=locked):
            case.run()
        other.rollback()
        other.execute("LOCK TABLE public.dsar_requests IN EXCLUSIVE MODE")  # it can be read
        with pytest.raises(SourceUnavailable, match=locked):
            case.run()
    case.run()
    assert case.in_source["a-1"]["status"] == "in_progress"


def test_a_broken_update_is_not_tried_for_each_row(
    case: IntakeCase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If the source refuses each of the first rows, the other rows are not updated one by one. No request
    is lost.
    """
    broken = tmp_path / "update_request.sql"
    broken.write_text("UPDATE public.nowhere SET status = :status WHERE id = :request_id")
    monkeypatch.setattr(source_module, "UPDATE", broken)
    case.put(*(Row(f"r-{n}", user_id=f"u{n}") for n in range(50)))
    calls: list[Any] = []
    update = Source._update
    monkeypatch.setattr(Source, "_update", lambda *args: (calls.append(args), update(*args)))
    with pytest.raises(ConfigurationError, match="refused the status of 50 requests"):
        case.run()
    assert len(calls) <= 25
    assert len(case.requests) == 50


def test_a_status_without_a_row_in_the_source_is_logged(
    case: IntakeCase, caplog: pytest.LogCaptureFixture
) -> None:
    """If a row was removed from the source, the log says how many of the requests the source still has."""
    case.put(Row("r-1", user_id="u1"), Row("r-2", user_id="u2"))
    case.run()
    case.change_source("DELETE FROM public.dsar_requests WHERE request_id = 'r-2'")
    case.db.execute("UPDATE dsar.request SET source_updated = false")
    assert write_back(case.db, case.source) == 2
    assert "update_request.sql found only 1 of 2 requests" in caplog.text


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "SELECT request_id, request_type FROM public.dsar_requests",
            "does not return column regulation, received_at",
        ),
        ("SELECT * FROM public.nowhere WHERE :retry_failed = 0", "42P01"),
        (f"SELECT *, ('{MARKER}' || request_id)::int FROM public.dsar_requests", "22P02"),
    ],
)
def test_the_error_of_a_broken_query_holds_no_values(
    case: IntakeCase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, statement: str, message: str
) -> None:
    """The error of a broken query has the file and the SQLSTATE, but no values."""
    case.put(Row("r-1", user_id="u1"))
    own = tmp_path / "pending_requests.sql"
    own.write_text(statement)
    monkeypatch.setattr(source_module, "PENDING", own)
    with pytest.raises(ConfigurationError, match=message) as raised:
        case.run()
    assert MARKER not in str(raised.value)
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_a_source_that_does_not_answer_can_be_retried(db: Database) -> None:
    """The error is not a ConfigurationError, so Airflow retries the task."""
    nowhere = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nowhere")
    with pytest.raises(SourceUnavailable):
        Intake(db, Source(nowhere), RULES).run()


def test_columns_in_capitals_and_of_other_types_are_read(
    case: IntakeCase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """JSON, numbers with gaps, dates, uuids and missing columns are read."""
    own = tmp_path / "pending_requests.sql"
    own.write_text(
        "SELECT id AS \"REQUEST_ID\", 'Delete' AS \"Request_Type\", 'ccpa' AS regulation,"
        " DATE '2026-11-01' AS received_at, number AS user_id, mails AS email FROM public.other"
        " WHERE :retry_failed = 0 ORDER BY number"
    )
    monkeypatch.setattr(source_module, "PENDING", own)
    with psycopg.connect(case.dsn) as other:
        other.execute("CREATE TABLE public.other (id uuid, number numeric, mails jsonb)")
        other.execute(
            "INSERT INTO public.other VALUES (%s, 7, NULL), (%s, 12345678901234567890, %s), (%s, 'NaN', %s)",
            [UUID(int=1), UUID(int=2), Jsonb(["A@Example.com", None]), UUID(int=3), Jsonb({"no": "list"})],
        )
    taken = case.run(dry_run=True)
    assert (taken.rows, taken.new, taken.invalid) == (3, 2, 1)
    assert taken.would_send["besitos"] == {"erasure": 2}
    assert taken.would_send["id5"] == {"erasure": 1}


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Source]:
    """Creates a source in SQLite. Its file is attached as `public`, so that the same SQL files work."""
    path = tmp_path / "source.sqlite"
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TABLE dsar_requests (request_id NUMERIC, request_type, regulation, received_at, due_at,"
            " email, phone, user_id, advertising_id, install_id, id5_id, accounts, status DEFAULT 'pending',"
            " status_reason, closed_at, export_uri)"
        )
        insert = "INSERT INTO dsar_requests (request_id, request_type, regulation, received_at, user_id) "
        for values in (
            ("r-1", "access", "GDPR", "2026-11-01 10:00:00", '["u1", "u2"]'),
            (7, "access", "GDPR", "2026-11-01T10:00:00Z", 42),
            ("naive", "access", "GDPR", "2026-11-01", "u3"),
            ("words", "access", "GDPR", "yesterday", "u4"),
            ("number", "access", "GDPR", 1762000000, "u5"),
            ("us-date", "access", "GDPR", "01/02/2026", "u6"),
            (None, "access", "GDPR", "2026-11-01", "u7"),
            (7.5, "access", "GDPR", "2026-11-01", "u8"),
            ("a\x00b", "access", "GDPR", "2026-11-01", "u9"),
            (b"bytes", "access", "GDPR", "2026-11-01", "u10"),
            ("list", "access", "GDPR", "2026-11-01", '["u11"'),
        ):
            db.execute(insert + "VALUES (?, ?, ?, ?, ?)", values)
    db.close()
    engine = create_engine(f"sqlite:///{tmp_path / 'main.sqlite'}", connect_args={"timeout": 0.2})
    event.listen(engine, "connect", lambda own, _: own.execute("ATTACH ? AS public", [str(path)]).close())
    yield Source(engine)
    engine.dispose()


def test_a_source_in_sqlite_works(
    db: Database, sqlite: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statuses are written after all chunks are read. Times can be text."""
    monkeypatch.setattr(source_module, "CHUNK_ROWS", 2)
    taken = Intake(db, sqlite, RULES).run()
    assert (taken.rows, taken.new, taken.invalid) == (11, 3, 8)
    received = {
        row["request_id"]: row["received_at"] for row in db.execute("SELECT * FROM dsar.request").fetchall()
    }
    assert received["r-1"] == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert received["naive"] == datetime(2026, 11, 1, tzinfo=UTC)
    with sqlite3.connect(tmp_path / "source.sqlite") as source:
        statuses = {
            row[0]: row[1:]
            for row in source.execute("SELECT request_id, status, status_reason FROM dsar_requests")
        }
    source.close()
    assert statuses["r-1"] == ("in_progress", None)
    assert statuses[7] == ("in_progress", None)
    for name in ("words", "us-date", "number"):
        assert statuses[name] == ("invalid", "received_at is not a time in ISO 8601")
    assert statuses["list"] == ("invalid", "user_id: the list is not valid JSON")
    assert statuses["a\x00b"][0] == "invalid"
    assert statuses[None] == statuses[7.5] == statuses[b"bytes"] == ("pending", None)
