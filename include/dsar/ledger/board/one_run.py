"""What happened in the ledger during one run of the DAG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from include.dsar.ledger.board.request_list import PAGE_SIZE, ListedRequest, listed
from include.dsar.ledger.database import Database

Window = tuple[datetime, datetime]  # from, to


@dataclass(frozen=True)
class AccountInRun:
    """Submissions of one account."""

    account: str
    sent: int  # last attempt in this run
    completed: int
    no_data: int
    failed: int  # or rejected
    uncertain: int  # became uncertain
    planned_again: int


@dataclass(frozen=True)
class Changes:
    new: int  # requests
    closed: int  # requests
    accounts: list[AccountInRun]
    requests: list[ListedRequest]  # one page
    total: int  # requests on all pages
    has_after: bool


def changes(db: Database, windows: Sequence[Window], *, accounts: Sequence[str], after: int = 0) -> Changes:
    """Requests that were taken in, sent, ended or closed in these windows.

    `accounts` are those whose sent submissions count. The page begins after the ledger id `after`.
    """
    parameters: dict[str, Any] = {
        "accounts": list(accounts),
        "begins": [begin for begin, _ in windows],
        "ends": [end for _, end in windows],
        "after": after,
        "limit": PAGE_SIZE + 1,
    }
    counts = db.execute(_COUNTS, parameters).fetchone()
    assert counts is not None
    rows = db.execute(_PAGE, parameters).fetchall()
    return Changes(
        **counts,
        accounts=[AccountInRun(**row) for row in db.execute(_ACCOUNTS, parameters).fetchall()],
        requests=listed(db, [row["id"] for row in rows[:PAGE_SIZE]]),
        total=rows[0]["total"] if rows else 0,
        has_after=len(rows) > PAGE_SIZE,
    )


_COUNTS = """
WITH w AS (SELECT * FROM unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS w (begins, ends))
SELECT (SELECT count(*) FROM w JOIN dsar.request r ON r.planned_at BETWEEN w.begins AND w.ends) AS new,
       (SELECT count(*) FROM w JOIN dsar.request r ON r.closed_at BETWEEN w.begins AND w.ends) AS closed
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
       coalesce(sum(n) FILTER (WHERE what = 'uncertain'), 0)::bigint AS uncertain,
       coalesce(sum(n) FILTER (WHERE what = 'planned'), 0)::bigint AS planned_again
  FROM did GROUP BY account ORDER BY account
"""

_PAGE = """
WITH w AS (SELECT * FROM unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS w (begins, ends)),
changed AS (
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
)
SELECT id, (SELECT count(*) FROM changed) AS total
  FROM changed WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
"""
