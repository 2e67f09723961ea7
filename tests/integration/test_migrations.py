"""A ledger of an earlier version is brought to this one, with what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from include.dsar.ledger import database
from include.stack.home import Home
from tests.integration.conftest import own_database

VERSIONS = Path(database.__file__).parent / "migrations/versions"


@pytest.fixture
def before(server: Home) -> Iterator[str]:
    """A ledger as migration 0002 left it."""
    with own_database(server) as url:
        with psycopg.connect(url) as db:
            db.execute("DROP SCHEMA dsar CASCADE")
            db.execute("CREATE SCHEMA dsar")
            for name in ("0001_ledger.sql", "0002_board.sql"):
                db.execute((VERSIONS / name).read_bytes())
            db.execute("CREATE TABLE dsar.alembic_version (version_num varchar(32) PRIMARY KEY)")
            db.execute("INSERT INTO dsar.alembic_version VALUES ('0002')")
        yield url


def closed(url: str, request_id: str, action: str, day: int, package: str) -> None:
    with psycopg.connect(url) as db:
        db.execute(
            "INSERT INTO dsar.request (request_id, action, regulation, received_at, due_at, fingerprint,"
            " status, planned_at, closed_at, export_uri)"
            " VALUES (%s, %s, 'GDPR', now(), now(), '', 'completed', now(), make_date(2026, 11, %s), %s)",
            [request_id, action, day, f"file:///requests/{request_id}/{package}"],
        )


@pytest.mark.parametrize(
    ("last_package", "settled"),
    [("package.zip.age", [("sealing", "on")]), ("package.zip", []), (None, [])],
)
def test_a_ledger_of_before_knows_whether_it_sealed(
    before: str, last_package: str | None, settled: list[tuple[str, str]]
) -> None:
    """Its last package says so; its requests stay, and a second migration does nothing."""
    if last_package:
        closed(before, "a-1", "access", 1, "package.zip")
        closed(before, "a-2", "access", 2, "package.zip.age")
        closed(before, "a-3", "access", 3, last_package)
        closed(before, "e-1", "erasure", 4, "receipt.json")
    for _ in range(2):
        database.migrate(before)
    with psycopg.connect(before) as db:
        assert db.execute("SELECT name, value FROM dsar.deployment").fetchall() == settled
        assert db.execute("SELECT count(*) FROM dsar.request").fetchone() == (4 if last_package else 0,)
        assert db.execute("SELECT version_num FROM dsar.alembic_version").fetchone() == ("0003",)
