"""Measures each page of the board with a million requests in the ledger. Prints the times.

.venv/bin/python -m pytest -s tests/integration/board/million.py
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import psycopg
from fastapi.testclient import TestClient

from tests.integration.board.given import a_run
from tests.integration.million import fill

REQUESTS = 1_000_000

PAGES = (
    "/dsar/",
    "/dsar/?days=90",
    "/dsar/requests",
    "/dsar/requests?status=any",
    "/dsar/requests?status=any&order=soonest",
    "/dsar/requests?status=completed&after=500000",
    "/dsar/requests?status=failed&regulation=CCPA",
    "/dsar/requests?status=any&id=r-77",
    "/dsar/requests?account=besitos&state=uncertain",
    "/dsar/requests?status=any&account=attentive&state=failed",
    "/dsar/requests?status=any&account=nobody",
    "/dsar/requests?left=under_3",
    "/dsar/request?id=r-999999",
    "/dsar/account?name=besitos",
    "/dsar/run?run_id=a-day",
)


def test_pages_with_a_million_requests(viewer: TestClient, dsn: str) -> None:
    """Each page is requested three times. The first request of each page opens a new database connection."""
    now = datetime.now(UTC)
    begun = time.monotonic()
    fill(dsn, requests=REQUESTS)
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("VACUUM ANALYZE")
        print(f"\n{REQUESTS:,} requests written in {time.monotonic() - begun:.0f} s")
        for name, size in db.execute(SIZES).fetchall():
            print(f"{size:>9}  {name}")
    with a_run("a-day", ("intake", -1, now.replace(hour=0, minute=0), None)):
        for page in PAGES:
            times = []
            for _ in range(3):
                begun = time.monotonic()
                status = viewer.get(page).status_code
                times.append(f"{(time.monotonic() - begun) * 1000:6.0f} ms")
            print(" ".join(times), status, page)


SIZES = """
SELECT relname, pg_size_pretty(pg_relation_size(c.oid))
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
 WHERE nspname = 'dsar' AND relkind IN ('r', 'i') AND pg_relation_size(c.oid) > 1e6
 ORDER BY relkind DESC, relname
"""
