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
    row = db.execute(_REQUESTS, parameters).fetchone()
    assert row is not None
    page = row.pop("page") or []
    return Changes(
        **row,
        accounts=[AccountInRun(**row) for row in db.execute(_ACCOUNTS, parameters).fetchall()],
        requests=listed(db, page[:PAGE_SIZE]),
        has_after=len(page) > PAGE_SIZE,
    )


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

_REQUESTS = """
WITH w AS (SELECT * FROM unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS w (begins, ends)),
change AS (
    SELECT r.id, 'new' AS what FROM w JOIN dsar.request r ON r.planned_at BETWEEN w.begins AND w.ends
    UNION ALL
    SELECT r.id, 'closed' FROM w JOIN dsar.request r ON r.closed_at BETWEEN w.begins AND w.ends
    UNION ALL
    SELECT s.request, 'sent'
      FROM w, unnest(%(accounts)s::text[]) AS account
      JOIN dsar.submission s USING (account)
     WHERE s.attempted_at BETWEEN w.begins AND w.ends AND s.attempts > 0
    UNION ALL
    SELECT s.request, 'ended' FROM w JOIN dsar.submission s ON s.finished_at BETWEEN w.begins AND w.ends
    UNION ALL
    SELECT e.request, 'logged' FROM w JOIN dsar.event e ON e.at BETWEEN w.begins AND w.ends
),
changed AS (
    SELECT id, bool_or(what = 'new') AS is_new, bool_or(what = 'closed') AS is_closed FROM change GROUP BY id
),
page AS (SELECT id FROM changed WHERE id > %(after)s ORDER BY id LIMIT %(limit)s)
SELECT count(*) AS total,
       count(*) FILTER (WHERE is_new) AS new,
       count(*) FILTER (WHERE is_closed) AS closed,
       (SELECT array_agg(id ORDER BY id) FROM page) AS page
  FROM changed
"""
