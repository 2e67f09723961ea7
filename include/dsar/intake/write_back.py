"""The source is told what became of its requests; what it could not be told is told the next time."""

from __future__ import annotations

from include.dsar.errors import ConfigurationError
from include.dsar.intake.source import Source
from include.dsar.ledger import closing
from include.dsar.ledger.database import Database

CHUNK = 1_000


def write_back(db: Database, source: Source) -> int:
    """Writes every status that the source does not have yet. Returns the number of requests.

    Several sessions may call this at once. Raises ConfigurationError if the source refused some of
    the requests; the others are written.
    """
    with closing.one_write_back_at_a_time(db):
        return _write_back(db, source)


def _write_back(db: Database, source: Source) -> int:
    count = refused = after = 0
    while news := closing.pending_write_backs(db, limit=CHUNK, after=after):
        after = news[-1].request
        untold = source.update(
            [
                {
                    "request_id": n.request_id,
                    "status": n.status.value,
                    "status_reason": n.status_reason,
                    "due_at": n.due_at,
                    "closed_at": n.closed_at,
                    "export_uri": n.export_uri,
                }
                for n in news
            ]
        )
        told = [n for n in news if n.request_id not in untold]
        closing.mark_written_back(db, told)
        count, refused = count + len(told), refused + len(untold)
    if refused:
        raise not_told(refused)
    return count


def not_told(count: int) -> ConfigurationError:
    return ConfigurationError(
        f"the source refused the status of {count} requests: check include/sql/update_request.sql"
    )
