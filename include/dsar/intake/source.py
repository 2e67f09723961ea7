"""Reads and updates the source table in any database, with two SQL files and SQLAlchemy."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.exc import DBAPIError, OperationalError

from include.dsar.errors import ConfigurationError, DsarError, SourceUnavailable

log = logging.getLogger(__name__)

SQL = Path(__file__).parents[2] / "sql"
PENDING = SQL / "pending_requests.sql"
UPDATE = SQL / "update_request.sql"

CHUNK_ROWS = 10_000
REQUIRED = ("request_id", "request_type", "regulation", "received_at")
COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
# No wait for the source is endless, in the databases that can limit it. PostgreSQL's limit of a statement is
# that of one chunk of rows. In MySQL and MariaDB one statement returns all rows.
LOCK_MINUTES, STATEMENT_MINUTES, READING_HOURS = 5, 30, 4
_MYSQL_LOCKS = tuple(
    f"SET SESSION {name} = {LOCK_MINUTES * 60}" for name in ("lock_wait_timeout", "innodb_lock_wait_timeout")
)
SETTINGS = {
    "postgresql": (
        # Otherwise a cast of a time to text depends on settings of the server, the database and the role.
        "SET LOCAL DateStyle = 'ISO'",
        f"SET LOCAL lock_timeout = '{LOCK_MINUTES}min'",
        f"SET LOCAL statement_timeout = '{STATEMENT_MINUTES}min'",
    ),
    "mysql": (*_MYSQL_LOCKS, f"SET SESSION max_execution_time = {READING_HOURS * 3_600_000}"),
    "mariadb": (*_MYSQL_LOCKS, f"SET SESSION max_statement_time = {READING_HOURS * 3600}"),
}
LOCKED = f"another session has locked the table or one of its rows for more than {LOCK_MINUTES} minutes"
TOO_LONG = f"the statement took more than {READING_HOURS} hours"
WAITED = {
    "55P03": LOCKED,
    "57014": f"the statement took more than {STATEMENT_MINUTES} minutes, or was cancelled",
    "1205": LOCKED,  # MySQL and MariaDB
    "3024": TOO_LONG,  # MySQL
    "1969": TOO_LONG,  # MariaDB
}
MAX_REFUSED_AT_START = 20  # if the first rows are all refused, the statement is wrong, not the rows

Row = dict[str, Any]


class Source:
    """Reads pending requests and writes their status. Its errors never contain values of a row."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def pending(self, *, retry_failed: bool) -> Iterator[list[Row]]:
        """Yields the rows of pending_requests.sql in chunks, with each cell as the database returns it.

        Raises ConfigurationError if the query fails or a column is missing, and SourceUnavailable if the
        database does not answer.
        """
        with _naming(PENDING), self._engine.connect() as connection:
            _set(connection)
            streaming = connection.execution_options(stream_results=True)
            with streaming.execute(_statement(PENDING), {"retry_failed": int(retry_failed)}) as rows:
                columns = [str(name).lower() for name in rows.keys()]  # noqa: SIM118 - a result is no dict
                missing = [name for name in REQUIRED if name not in columns]
                if missing:
                    raise ConfigurationError(f"{PENDING.name} does not return column {', '.join(missing)}")
                for chunk in rows.partitions(CHUNK_ROWS):
                    yield [dict(zip(columns, row, strict=True)) for row in chunk]

    def update(self, rows: Sequence[Row]) -> set[object]:
        """Writes the status of requests with update_request.sql. Raises SourceUnavailable if the database
        does not answer.

        Returns the ids that the database refused. A refused id does not stop the other requests.
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
                if len(refused) == count == MAX_REFUSED_AT_START:
                    return {row["request_id"] for row in rows}
        return refused

    def _update(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            with _naming(UPDATE), self._engine.begin() as connection:
                _set(connection)
                done = connection.execute(_statement(UPDATE), list(rows))
                if done.supports_sane_multi_rowcount() and done.rowcount < len(rows):
                    log.warning("%s found only %d of %d requests", UPDATE.name, done.rowcount, len(rows))


def _set(connection: Connection) -> None:
    dialect = connection.dialect
    name = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
    for setting in SETTINGS.get(name, ()):
        connection.execute(text(setting))


def _statement(file: Path) -> TextClause:
    """Returns the SQL without comment lines, because SQLAlchemy would also bind parameters in comments."""
    return text(COMMENT.sub("", file.read_text()))


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Raises our own errors without the text of the database's error, because that text quotes values."""
    try:
        yield
    except DsarError:
        raise
    except Exception as error:  # drivers raise their own errors for values that they cannot send
        cause = error.orig if isinstance(error, DBAPIError) else error
        state = _code(cause) or type(cause).__name__
        kind = SourceUnavailable if isinstance(error, OperationalError) else ConfigurationError
        raise kind(
            f"include/sql/{file.name} failed ({': '.join(filter(None, (state, WAITED.get(state))))}): "
            "check it and connection dsar_source (or dsar_db if there is no dsar_source)"
        ) from None


def _code(error: BaseException | None) -> str | None:
    """Returns the number of an error of MySQL or MariaDB, or the SQLSTATE of another driver's error."""
    number = next(iter(error.args), None) if error else None
    if isinstance(number, int):
        return str(number)
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
