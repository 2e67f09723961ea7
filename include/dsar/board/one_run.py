"""One run of the DAG: what happened in the ledger while its tasks were at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from include.dsar.board.request_list import PAGE, ListedRequest, fill_cells
from include.dsar.board.tries import Try
from include.dsar.ledger.database import Database

Window = tuple[datetime, datetime]


@dataclass(frozen=True)
class Run:
    """A run as Airflow knows it. `would_send` is what a dry run found: account, action, how many."""

    run_id: str
    tries: Sequence[Try]
    dry_run: bool = False
    request_ids: Sequence[str] = ()
    accounts: Sequence[str] = ()
    would_send: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class AccountInRun:
    account: str
    sent: int  # submissions whose last attempt was in this run
    completed: int
    no_data: int
    failed: int  # or rejected
    doubted: int  # whether the vendor took it
    put_back: int  # to be sent again


@dataclass(frozen=True)
class Touched:
    """What a run touched."""

    new: int  # requests
    closed: int
    accounts: list[AccountInRun]
    requests: list[ListedRequest]
    total: int
    has_after: bool


def touched(db: Database, windows: Sequence[Window], *, accounts: Sequence[str], after: int = 0) -> Touched:
    """Requests that were taken in, sent, ended or closed in these windows; a page of them past `after`."""
    known: dict[str, Any] = {
        "accounts": list(accounts),
        "begins": [begin for begin, _ in windows],
        "ends": [end for _, end in windows],
        "after": after,
        "limit": PAGE + 1,
    }
    counts = db.execute(_REQUESTS, known).fetchone()
    assert counts is not None
    rows = db.execute(_TOUCHED, known).fetchall()
    requests = [ListedRequest(**{name: row[name] for name in row if name != "total"}) for row in rows[:PAGE]]
    fill_cells(db, requests)
    return Touched(
        **counts,
        accounts=[AccountInRun(**row) for row in db.execute(_ACCOUNTS, known).fetchall()],
        requests=requests,
        total=rows[0]["total"] if rows else 0,
        has_after=len(rows) > PAGE,
    )


_REQUESTS = """
SELECT (SELECT count(*) FROM unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS w (begins, ends)
          JOIN dsar.request r ON r.planned_at BETWEEN w.begins AND w.ends) AS new,
       (SELECT count(*) FROM unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS w (begins, ends)
          JOIN dsar.request r ON r.closed_at BETWEEN w.begins AND w.ends) AS closed
"""

_ACCOUNTS = """
WITH w AS (SELECT * FROM unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS w (begins, ends)),
did AS (
    SELECT account, 'sent' AS what, count(*) AS n
      FROM w, unnest(%(accounts)s::text[]) AS account
      JOIN dsar.submission s USING (account)
     WHERE s.attempted_at BETWEEN w.begins AND w.ends AND s.attempts > 0 GROUP BY account
    UNION ALL
    SELECT s.account, s.state, count(*)
      FROM w JOIN dsar.submission s ON s.finished_at BETWEEN w.begins AND w.ends
     WHERE s.state <> 'not_applicable' GROUP BY s.account, s.state
    UNION ALL
    SELECT s.account, e.enters, count(*)
      FROM w JOIN dsar.event e ON e.at BETWEEN w.begins AND w.ends
      JOIN dsar.submission s ON s.id = e.submission
     WHERE e.enters IN ('uncertain', 'planned') GROUP BY s.account, e.enters
)
SELECT account,
       coalesce(sum(n) FILTER (WHERE what = 'sent'), 0)::bigint AS sent,
       coalesce(sum(n) FILTER (WHERE what = 'completed'), 0)::bigint AS completed,
       coalesce(sum(n) FILTER (WHERE what = 'no_data'), 0)::bigint AS no_data,
       coalesce(sum(n) FILTER (WHERE what IN ('failed', 'rejected')), 0)::bigint AS failed,
       coalesce(sum(n) FILTER (WHERE what = 'uncertain'), 0)::bigint AS doubted,
       coalesce(sum(n) FILTER (WHERE what = 'planned'), 0)::bigint AS put_back
  FROM did GROUP BY account ORDER BY account
"""

_TOUCHED = """
WITH w AS (SELECT * FROM unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS w (begins, ends)),
touched AS (
    SELECT r.id FROM w JOIN dsar.request r ON r.planned_at BETWEEN w.begins AND w.ends
    UNION
    SELECT r.id FROM w JOIN dsar.request r ON r.closed_at BETWEEN w.begins AND w.ends
    UNION
    SELECT s.request
      FROM w, unnest(%(accounts)s::text[]) AS account
      JOIN dsar.submission s USING (account)
     WHERE s.attempted_at BETWEEN w.begins AND w.ends AND s.attempts > 0
    UNION
    SELECT s.request FROM w JOIN dsar.submission s ON s.finished_at BETWEEN w.begins AND w.ends
    UNION
    SELECT e.request FROM w JOIN dsar.event e ON e.at BETWEEN w.begins AND w.ends
),
page AS MATERIALIZED (
    SELECT id, (SELECT count(*) FROM touched) AS total
      FROM touched WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
)
SELECT r.id, r.request_id, r.action, r.regulation, r.received_at, r.due_at, r.status, r.closed_at, page.total
  FROM page JOIN dsar.request r USING (id) ORDER BY r.id
"""
