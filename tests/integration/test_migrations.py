"""A migration updates the ledger of an earlier version and keeps its data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.ledger import claiming, closing, database, reporting, uncertain
from include.dsar.stages.package import Package
from include.dsar.stages.submit import submit
from include.stack.home import Home
from tests.integration.conftest import own_database

VERSIONS = Path(database.__file__).parent / "migrations/versions"
LEDGER_0003 = Path(__file__).with_name("ledger_0003.sql")
NEWEST = max(path.stem[:4] for path in VERSIONS.glob("*.sql"))


@pytest.fixture
def ledger_of(server: Home) -> Iterator[Callable[[str], str]]:
    """Creates an empty ledger with all migrations up to this one."""
    with ExitStack() as databases:

        def make(version: str) -> str:
            url = databases.enter_context(own_database(server))
            with psycopg.connect(url) as db:
                db.execute("DROP SCHEMA dsar CASCADE")
                db.execute("CREATE SCHEMA dsar")
                for file in sorted(VERSIONS.glob("*.sql")):
                    if file.stem[:4] <= version:
                        db.execute(file.read_bytes())
                db.execute("CREATE TABLE dsar.alembic_version (version_num varchar(32) PRIMARY KEY)")
                db.execute("INSERT INTO dsar.alembic_version VALUES (%s)", [version])
            return url

        yield make


def table(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as db:
        return db.execute(query.encode()).fetchall()


def add_closed_request(url: str, request_id: str, action: str, day: int, package: str) -> None:
    with psycopg.connect(url) as db:
        db.execute(
            "INSERT INTO dsar.request (request_id, action, regulation, received_at, due_at, fingerprint,"
            " status, planned_at, closed_at, export_uri)"
            " VALUES (%s, %s, 'GDPR', now(), now(), '', 'completed', now(), make_date(2026, 11, %s), %s)",
            [request_id, action, day, f"file:///requests/{request_id}/{package}"],
        )


@pytest.mark.parametrize(
    ("last_package", "remembered"),
    [("package.zip.age", [("sealing", "on")]), ("package.zip", []), (None, [])],
)
def test_migration_0003_remembers_whether_the_last_package_was_sealed(
    ledger_of: Callable[[str], str], last_package: str | None, remembered: list[tuple[str, str]]
) -> None:
    """The requests stay. A second run of the migration changes nothing."""
    before = ledger_of("0002")
    if last_package:
        add_closed_request(before, "a-1", "access", 1, "package.zip")
        add_closed_request(before, "a-2", "access", 2, "package.zip.age")
        add_closed_request(before, "a-3", "access", 3, last_package)
        add_closed_request(before, "e-1", "erasure", 4, "receipt.json")
    for _ in range(2):
        database.migrate(before)
    assert table(before, "SELECT name, value FROM dsar.deployment") == remembered
    assert table(before, "SELECT count(*) FROM dsar.request") == [(4 if last_package else 0,)]
    assert table(before, "SELECT version_num FROM dsar.alembic_version") == [(NEWEST,)]


@pytest.fixture
def dsn(ledger_of: Callable[[str], str]) -> str:
    """Yields the URL of a ledger of version 0.1.0 that was migrated. It has rows in every state."""
    url = ledger_of("0003")
    with psycopg.connect(url) as db:
        db.execute(LEDGER_0003.read_bytes())
        before = db.execute("SELECT * FROM dsar.event ORDER BY id").fetchall()
    database.migrate(url)
    assert [event[: len(before[0])] for event in table(url, "SELECT * FROM dsar.event ORDER BY id")] == before
    assert table(url, "SELECT count(*) FROM dsar.report") == [(1,)]
    assert table(url, "SELECT name, value FROM dsar.deployment") == [("sealing", "on")]
    return url


def test_migration_0004_counts_uncertain_attempts(dsn: str) -> None:
    """The migration counts the uncertain attempts in the events."""
    counts = table(dsn, "SELECT state, uncertain_count FROM dsar.submission WHERE uncertain_count > 0")
    assert dict(counts) == {"uncertain": 2, "submitted": 1}


def test_migration_0004_rewrites_reasons_that_a_receipt_will_show(dsn: str) -> None:
    """The migration keeps the reasons of closed requests, because their receipts already have these
    reasons.
    """
    shared = "shares a job with another open request of the same data subject"
    query = (
        "SELECT request_id, state, reason FROM dsar.submission s JOIN dsar.request r ON r.id = s.request"
        " WHERE reason ~ 'data subject|person|doubt|earlier' ORDER BY 1, 2"
    )
    assert table(dsn, query) == [
        ("closed", "failed", "the vendor could not find this person"),
        ("ended", "completed", shared),
        ("open", "ready", shared),
        ("open", "submitted", "sent again, since the outcome of an earlier call was uncertain: no reply"),
    ]
    assert shared == claiming.REASON_SHARED


def test_migration_0005_leaves_all_rows_as_they_were(dsn: str) -> None:
    """After the migration no request is on hold, no job is unknown, and each outcome is confirmed."""
    assert table(dsn, "SELECT DISTINCT hold_reason FROM dsar.request") == [(None,)]
    marks = "SELECT DISTINCT unknown_since, is_unconfirmed FROM dsar.submission"
    assert table(dsn, marks) == [(None, False)]
    assert table(dsn, "SELECT count(*) FROM dsar.submission") == [(11,)]
    assert table(dsn, "SELECT (SELECT count(*) FROM dsar.poll_position) + count(*) FROM dsar.approval") == [
        (0,)
    ]


def test_migration_0007_keeps_failed_requests_in_sight(dsn: str) -> None:
    """A closed request that failed is marked as unresolved until an operator acknowledges it. No other
    request is marked.
    """
    unresolved = "SELECT kind, name FROM dsar.unresolved(now()) ORDER BY name"
    assert table(dsn, unresolved) == [
        ("partial", "closed"),
        ("in_progress", "ended"),
        ("in_progress", "open"),
    ]
    assert table(dsn, "SELECT request_id FROM dsar.request WHERE is_unresolved") == [("closed",)]


def test_migration_0007_records_each_hold(ledger_of: Callable[[str], str]) -> None:
    """After the migration, a request that was on hold has a hold of the kind `volume`."""
    url = ledger_of("0005")
    with psycopg.connect(url) as db:
        db.execute(
            "INSERT INTO dsar.request (request_id, action, regulation, received_at, due_at, fingerprint,"
            " planned_at, hold_reason)"
            " SELECT id, 'erasure', 'GDPR', now(), now(), '', now(), reason"
            "   FROM (VALUES ('held', 'too many'), ('free', NULL)) AS given (id, reason)"
        )
    database.migrate(url)
    holds = "SELECT r.request_id, h.kind, h.reason FROM dsar.hold h JOIN dsar.request r ON r.id = h.request"
    assert table(url, holds) == [("held", "volume", "too many")]


async def test_stages_continue_with_a_migrated_ledger(
    dsn: str, db: database.Database, source_table: Any, storage: Storage, open_work: Any, tmp_path: Path
) -> None:
    """The stages send, reconcile a dead worker's submission, close requests, and report."""
    assert [p.request_id for p in closing.pending_write_backs(db, limit=9)] == ["ended"]
    async with open_work("batch") as work:
        submitted = await submit(work)
    assert (submitted.submitted, submitted.left) == (2, 0)  # a planned and an uncertain submission
    assert uncertain.mark_abandoned(db, "id5", worker=1, now=datetime.now(UTC)) == 1
    (found,) = uncertain.uncertain_submissions(db, "id5", request_pks=None)
    assert found.uncertain_count == 1
    assert Package(db, source_table, storage).run().partial == 1
    receipt = json.loads((tmp_path / "storage/requests/ended/receipt.json").read_bytes())
    assert receipt["accounts"][1]["reason"] == claiming.REASON_SHARED
    backlog = reporting.backlog(db, now=datetime.now(UTC))
    assert (backlog.open_requests, backlog.failed_requests) == (3, 2)
    assert closing.pending_write_backs(db, limit=9) == []
