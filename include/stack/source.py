"""The demo's source table, `public.dsar_requests`."""

from __future__ import annotations

from pathlib import Path

import psycopg

TABLE = Path(__file__).with_name("source_table.sql")


def create(dsn: str) -> None:
    """Creates the table if it does not exist."""
    with psycopg.connect(dsn) as connection:
        connection.execute(TABLE.read_bytes())


def holds_others(dsn: str) -> bool:
    """Returns whether the table contains requests that no demo created."""
    with psycopg.connect(dsn) as connection:
        statement = "SELECT 1 FROM public.dsar_requests WHERE request_id NOT LIKE 'demo-%' LIMIT 1"
        return connection.execute(statement).fetchone() is not None
