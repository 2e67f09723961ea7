"""Intake: reads the source, checks each row, and plans the submissions of valid rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from include.dsar.accounts import VolumeLimit
from include.dsar.errors import ConfigurationError, InvalidRow
from include.dsar.intake.invalid_rows import readable, row_key
from include.dsar.intake.rows import Rules, request_id
from include.dsar.intake.source import Row, Source
from include.dsar.intake.write_back import id_as_json, raise_if_refused, write_back, write_back_invalid
from include.dsar.ledger import approvals, deployment, planning, staging, volume
from include.dsar.ledger.database import Database
from include.dsar.ledger.staging import RowOutcome, SourceRow

log = logging.getLogger(__name__)

MAX_LOGGED = 20  # rows of each outcome in the log


@dataclass
class TakenIn:
    """The results of intake, as counts of rows."""

    rows: int = 0
    new: int = 0
    known: int = 0  # pending in the source, in the ledger already
    reopened: int = 0
    invalid: int = 0
    repeated: int = 0  # an earlier row of the source is the same
    changed: int = 0  # in the ledger already, and the row now asks something else or is invalid
    retried: int = 0  # failed submissions of open requests, planned once more
    unknown: list[str] = field(default_factory=list)  # wanted request ids, in neither source nor ledger
    would_send: dict[str, dict[str, int]] = field(default_factory=dict)  # dry run: account, action
    would_wait: dict[str, dict[str, int]] = field(default_factory=dict)  # dry run: account, action


@dataclass
class Intake:
    """The intake stage. With `dry_run` it checks and counts every row, and changes neither ledger nor
    source.

    All rows are staged before the first request is planned, so that contradictory rows are found wherever
    they are. If intake stops in the middle, each planned request is complete, and a retry plans the other
    requests.
    """

    db: Database
    source: Source
    rules: Rules
    request_ids: Collection[str] = ()  # request ids; empty: all
    dry_run: bool = False
    retry_failed: bool = False
    retry_ids: Collection[str] = ()  # request ids to retry if retry_failed is not set
    volume: VolumeLimit | None = field(default_factory=VolumeLimit)
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def run(self) -> TakenIn:
        """Plans all pending rows. An invalid row is marked in the source and does not stop the other rows.

        Raises SettingDiffers before anything is planned if the ledger has another hash key. Raises
        ConfigurationError at the end if the source refused some statuses.
        """
        self._result = result = TakenIn()
        self._found: set[str | None] = set()
        self._began = self.clock()
        with self.db.transaction(force_rollback=True) if self.dry_run else nullcontext():
            deployment.require_hash_key(self.db, self.rules.hash_key)
            staging.create(self.db)
            for rows in self.source.pending(retry_failed=self.retry_failed or bool(self.retry_ids)):
                staging.add(self.db, [self._read(row) for row in rows if self._is_wanted(row)])
                self._log_progress("read", result.rows)
            self._plan()
            self._log_problems()
            result.unknown = self._unknown_ids()
        if not self.dry_run:
            refused = write_back_invalid(self.db, self.source)
            staging.drop(self.db)
            write_back(self.db, self.source)
            raise_if_refused(refused)
        return result

    def _read(self, row: Row) -> SourceRow:
        self._result.rows += 1
        source_id, now = id_as_json(row["request_id"]), self.clock()
        found: dict[str, Any] = {
            "number": self._result.rows,
            "source_id": source_id,
            "row_key": row_key(self.rules, row, source_id),
        }
        try:
            request = self.rules.read(row, now)
            return SourceRow(**found, request_id=request.request_id, request=request)
        except InvalidRow as error:
            reason = str(error)
        except ConfigurationError:
            raise
        except Exception as error:  # a mistake of ours in one row stops no other row
            reason = f"could not be read ({type(error).__name__})"
        parts = readable(self.rules, row, now)
        return SourceRow(**found, request_id=_request_id(row), reason=reason, readable=parts)

    def _is_wanted(self, row: Row) -> bool:
        if not self.request_ids:
            return True
        found = _request_id(row)
        self._found.add(found)
        return found in self.request_ids or found in self.retry_ids

    def _unknown_ids(self) -> list[str]:
        return sorted(planning.unknown_ids(self.db, set(self.request_ids) - self._found))

    def _plan(self) -> None:
        result = self._result
        for numbers in staging.compare(self.db):
            planned = planning.plan(
                self.db,
                numbers,
                now=self.clock(),
                retry_failed=self.retry_failed,
                limit=self.volume,
                retry_ids=self.retry_ids,
            )
            for name, count in asdict(planned).items():
                setattr(result, name, getattr(result, name) + count)
            self._log_progress("compared and planned", numbers.stop - 1)
        only = list(self.request_ids) or None
        if self.retry_failed:
            result.retried = planning.retry_open(self.db, now=self.clock(), request_ids=only)
        volume.send_urgent(self.db, limit=self.volume, now=self.clock())
        if self.dry_run:
            result.would_send = planning.planned(self.db, request_ids=only)
            result.would_wait = planning.planned(self.db, request_ids=only, on_hold=True)
        for held in approvals.on_hold(self.db):
            log.warning("%s: %s %s submissions are on hold", held.account, _n(held.held), held.action)

    def _log_progress(self, what: str, rows: int) -> None:
        seconds = max((self.clock() - self._began).total_seconds(), 0.001)
        log.info("%s %s rows so far; %s a second", what, _n(rows), _n(round(rows / seconds)))

    def _log_problems(self) -> None:
        """Logs the first rows of each kind of problem that needs an operator."""
        for row in staging.rows_with(self.db, RowOutcome.REPEATED, limit=MAX_LOGGED):
            log.warning("request %s is in the source more than once", row.request_id)
        for row in staging.rows_with(self.db, RowOutcome.CHANGED, limit=MAX_LOGGED):
            log.warning(
                "request %s is in the ledger, but row %d %s: put the new content into a row with a"
                " new request_id",
                row.request_id,
                row.number,
                f"cannot be used ({row.reason})" if row.reason else "has other content",
            )
        for row in staging.rows_with(self.db, RowOutcome.INVALID, limit=MAX_LOGGED):
            called = f"request {row.request_id}" if row.request_id else "its request_id is not shown"
            log.warning("row %d (%s) is invalid: %s", row.number, called, row.reason)


def _request_id(row: Row) -> str | None:
    """Returns a row's request_id. None if the id is not safe."""
    try:
        return request_id(row["request_id"])
    except InvalidRow:
        return None


def _n(count: int) -> str:
    return f"{count:,}"
