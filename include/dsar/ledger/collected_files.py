"""Finds the collected files that the ledger still needs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from include.dsar.ledger.database import Database


@dataclass(frozen=True)
class CollectedOf:
    """The collected files of one request. `paths` are the paths of its submissions' results."""

    is_open: bool
    is_collecting: bool  # a result is ready, so a worker may write a file now
    paths: frozenset[str]


def collected_of(db: Database, request_ids: Collection[str]) -> dict[str, CollectedOf]:
    """Returns the collected files of these requests. Omits requests that the ledger does not have."""
    rows = db.execute(_COLLECTED, {"request_ids": list(request_ids)}).fetchall()
    return {
        row["request_id"]: CollectedOf(row["is_open"], row["is_collecting"], frozenset(row["paths"]))
        for row in rows
    }


_COLLECTED = """
SELECT r.request_id, r.status = 'in_progress' AS is_open,
       coalesce(bool_or(s.state = 'ready'), false) AS is_collecting,
       coalesce(array_agg(s.file_path) FILTER (WHERE s.file_path IS NOT NULL), '{}') AS paths
  FROM dsar.request r
  LEFT JOIN LATERAL (SELECT o.state, o.file_path FROM dsar.submission o WHERE o.request = r.id OFFSET 0) AS s
         ON true
 WHERE r.request_id = ANY(%(request_ids)s)
 GROUP BY r.id
"""
