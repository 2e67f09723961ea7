"""The demo's source table, `public.dsar_requests`."""

from __future__ import annotations

from pathlib import Path

import psycopg

TABLE = Path(__file__).with_name("source_table.sql")


def create(dsn: str) -> None:
    """Make the table where it is missing; what it holds stays."""
    with psycopg.connect(dsn) as connection:
        connection.execute(TABLE.read_bytes())


def holds_others(dsn: str) -> bool:
    """Whether there are requests in it that no demo has made."""
    with psycopg.connect(dsn) as connection:
        statement = "SELECT 1 FROM public.dsar_requests WHERE request_id NOT LIKE 'demo-%' LIMIT 1"
        return connection.execute(statement).fetchone() is not None
