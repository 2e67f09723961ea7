"""Fills a ledger with a million submissions, to find statements that become slow."""

from __future__ import annotations

from pathlib import Path

import psycopg

ROWS = Path(__file__).with_suffix(".sql")


def fill(dsn: str, *, requests: int) -> None:
    """Runs `million.sql` in an empty ledger. 250,000 requests with a million submissions take about 40 s."""
    with psycopg.connect(dsn, autocommit=True) as db, psycopg.ClientCursor(db) as cursor:
        for statement in ROWS.read_text().split(";\n"):
            cursor.execute(statement.encode(), {"requests": requests})
