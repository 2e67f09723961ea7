"""Writes the status of requests back to the source. The next task retries each refused status."""

from __future__ import annotations

import json
from uuid import UUID

from include.dsar.errors import ConfigurationError
from include.dsar.intake.source import Row, Source
from include.dsar.ledger import closing, staging
from include.dsar.ledger.database import Database
from include.dsar.ledger.staging import RowOutcome
from include.dsar.model import Status

REQUESTS_AT_ONCE = 1_000


def write_back(db: Database, source: Source) -> int:
    """Writes every status that the source does not have yet. Returns the number of requests.

    Several sessions may call this at once. Raises ConfigurationError if the source refused some of the
    statuses. The other statuses are written.
    """
    with closing.one_write_back_at_a_time(db):
        return _write_back(db, source)


def _write_back(db: Database, source: Source) -> int:
    written = refused = after = 0
    while pending := closing.pending_write_backs(db, limit=REQUESTS_AT_ONCE, after=after):
        after = pending[-1].request
        refused_ids = source.update(
            [
                {
                    "request_id": p.request_id,
                    "status": p.status.value,
                    "status_reason": p.status_reason,
                    "due_at": p.due_at,
                    "closed_at": p.closed_at,
                    "export_uri": p.export_uri,
                }
                for p in pending
            ]
        )
        accepted = [p for p in pending if p.request_id not in refused_ids]
        closing.mark_written_back(db, accepted)
        written, refused = written + len(accepted), refused + len(refused_ids)
    raise_if_refused(refused)
    return written


def write_back_invalid(db: Database, source: Source) -> int:
    """Marks the invalid rows of this intake in the source. Returns how many rows the source refused to
    mark.
    """
    refused = after = 0
    while rows := staging.rows_with(db, RowOutcome.INVALID, limit=REQUESTS_AT_ONCE, after=after):
        after = rows[-1].number
        refused += len(source.update([_invalid(row.source_id, row.reason) for row in rows if row.source_id]))
    return refused


def raise_if_refused(count: int) -> None:
    if count:
        raise ConfigurationError(
            f"the source refused the status of {count} requests: check include/sql/update_request.sql"
        )


def id_as_json(cell: object) -> str | None:
    """Returns a row's request_id as JSON, whatever its type. None if the source cannot find a row by this
    id.
    """
    if isinstance(cell, UUID):
        return json.dumps({"uuid": str(cell)})
    return json.dumps(cell) if isinstance(cell, str | int) else None


def _id_of_json(text: str) -> object:
    cell = json.loads(text)
    return UUID(cell["uuid"]) if isinstance(cell, dict) else cell


def _invalid(source_id: str, reason: str | None) -> Row:
    nothing = dict.fromkeys(("due_at", "closed_at", "export_uri"))
    return {
        "request_id": _id_of_json(source_id),
        "status": Status.INVALID.value,
        "status_reason": reason,
        **nothing,
    }
