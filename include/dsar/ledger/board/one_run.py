"""The changes in the ledger during one run of the DAG."""

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
    """Counts of one account's submissions in a run."""

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
    """Returns the requests that were planned, sent, ended or closed in these time windows.

    Only submissions to `accounts` count as sent. The page begins after the request with ledger id `after`.
    """
    parameters: dict[str, Any] = {
        "accounts": list(accounts),
        "begins": [begin for begin, _ in windows],
        "ends": [end for _, end in windows],
        "after": after,
        "limit": PAGE_SIZE + 1,
    }
    row = db.execute(_CHANGES, parameters).fetchone()
    assert row is not None
    accounts_in_run, page = row.pop("accounts") or [], row.pop("page") or []
    return Changes(
        **row,
        accounts=[AccountInRun(**each) for each in accounts_in_run],
        requests=listed(db, page[:PAGE_SIZE]),
        has_after=len(page) > PAGE_SIZE,
    )


_CHANGES = """
WITH w AS (SELECT * FROM unnest(%(begins)s::timestamptz[], %(ends)s::timestamptz[]) AS w (begins, ends)),
change AS MATERIALIZED (
    SELECT r.id AS request, NULL AS account, 'new' AS what
      FROM w JOIN dsar.request r ON r.planned_at BETWEEN w.begins AND w.ends
    UNION ALL
    SELECT r.id, NULL, 'closed' FROM w JOIN dsar.request r ON r.closed_at BETWEEN w.begins AND w.ends
    UNION ALL
    SELECT s.request, s.account, 'sent'
      FROM w, unnest(%(accounts)s::text[]) AS account
      JOIN dsar.submission s USING (account)
     WHERE s.attempted_at BETWEEN w.begins AND w.ends AND s.attempts > 0
    UNION ALL
    SELECT s.request, s.account, s.state
      FROM w JOIN dsar.submission s ON s.finished_at BETWEEN w.begins AND w.ends
    UNION ALL
    SELECT e.request, s.account,
           CASE WHEN e.enters IN ('uncertain', 'planned') AND e.leaves <> e.enters THEN e.enters END
      FROM w JOIN dsar.event e ON e.at BETWEEN w.begins AND w.ends
      LEFT JOIN dsar.submission s ON s.id = e.submission
),
account AS (
    SELECT account,
           count(*) FILTER (WHERE what = 'sent') AS sent,
           count(*) FILTER (WHERE what = 'completed') AS completed,
           count(*) FILTER (WHERE what = 'no_data') AS no_data,
           count(*) FILTER (WHERE what IN ('failed', 'rejected')) AS failed,
           count(*) FILTER (WHERE what = 'uncertain') AS uncertain,
           count(*) FILTER (WHERE what = 'planned') AS planned_again
      FROM change WHERE account IS NOT NULL AND what <> 'not_applicable' GROUP BY account
),
changed AS (SELECT DISTINCT request FROM change),
page AS (SELECT request FROM changed WHERE request > %(after)s ORDER BY request LIMIT %(limit)s)
SELECT (SELECT count(*) FROM change WHERE what = 'new') AS new,
       (SELECT count(*) FROM change WHERE what = 'closed') AS closed,
       (SELECT count(*) FROM changed) AS total,
       (SELECT json_agg(a ORDER BY a.account) FROM account AS a) AS accounts,
       (SELECT array_agg(request ORDER BY request) FROM page) AS page
"""
