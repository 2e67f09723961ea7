"""The source table, in whatever database: two SQL files and a SQLAlchemy engine."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, TextClause, text
from sqlalchemy.exc import DBAPIError, OperationalError

from include.dsar.errors import ConfigurationError, DsarError, SourceUnavailable

log = logging.getLogger(__name__)

SQL = Path(__file__).parents[2] / "sql"
PENDING = SQL / "pending_requests.sql"
UPDATE = SQL / "update_request.sql"

CHUNK_ROWS = 10_000
REQUIRED = ("request_id", "request_type", "regulation", "received_at")
COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
# What a cast of a time to text gives depends on the server, the database and the role otherwise.
ISO_TIMES = {"postgresql": "SET LOCAL DateStyle = 'ISO'"}
HOPELESS = 20  # rows refused in a row from the first on: then it is the statement, not the rows

Row = dict[str, Any]


class Source:
    """Reads pending requests and tells what became of them. Errors never hold a row's values."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def pending(self, *, retry_failed: bool) -> Iterator[list[Row]]:
        """The rows of pending_requests.sql, by chunks, every cell as the database gave it.

        Raises ConfigurationError where the query fails or a column is missing, SourceUnavailable.
        """
        with _naming(PENDING), self._engine.connect() as connection:
            if setting := ISO_TIMES.get(connection.dialect.name):
                connection.execute(text(setting))
            streaming = connection.execution_options(stream_results=True)
            with streaming.execute(_statement(PENDING), {"retry_failed": int(retry_failed)}) as rows:
                columns = [str(name).lower() for name in rows.keys()]  # noqa: SIM118 - a result is no dict
                missing = [name for name in REQUIRED if name not in columns]
                if missing:
                    raise ConfigurationError(f"{PENDING.name} gives no column {', '.join(missing)}")
                for chunk in rows.partitions(CHUNK_ROWS):
                    yield [dict(zip(columns, row, strict=True)) for row in chunk]

    def update(self, rows: Sequence[Row]) -> set[object]:
        """Tells the status of requests: one update_request.sql each. Raises SourceUnavailable.

        Returns the ids of those that the database refuses, which stop no other.
        """
        try:
            self._update(rows)
        except ConfigurationError:
            return self._update_each(rows)
        return set()

    def _update_each(self, rows: Sequence[Row]) -> set[object]:
        refused: set[object] = set()
        for count, row in enumerate(rows, 1):
            try:
                self._update([row])
            except ConfigurationError as error:
                refused.add(row["request_id"])
                if len(refused) == 1:
                    log.error("%s", error)
                if len(refused) == count == HOPELESS:
                    return {row["request_id"] for row in rows}
        return refused

    def _update(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            with _naming(UPDATE), self._engine.begin() as connection:
                done = connection.execute(_statement(UPDATE), list(rows))
                if done.supports_sane_multi_rowcount() and done.rowcount < len(rows):
                    log.warning("%s found only %d of %d requests", UPDATE.name, done.rowcount, len(rows))


def _statement(file: Path) -> TextClause:
    """The file without its lines of comment: a parameter that one of them names would be bound too."""
    return text(COMMENT.sub("", file.read_text()))


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """A database's error without its text, which quotes values."""
    try:
        yield
    except DsarError:
        raise
    except Exception as error:  # a driver has errors of its own for a value that it cannot send
        cause = error.orig if isinstance(error, DBAPIError) else error
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or type(cause).__name__
        kind = SourceUnavailable if isinstance(error, OperationalError) else ConfigurationError
        raise kind(
            f"include/sql/{file.name} failed ({state}): "
            "check it and connection dsar_source, or dsar_db where there is none"
        ) from None
