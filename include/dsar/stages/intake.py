"""Intake: reads the source, validates each row, plans the submissions of those that are good."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from include.dsar.errors import ConfigurationError, InvalidRow
from include.dsar.ledger import deployment, planning
from include.dsar.ledger.database import Database
from include.dsar.ledger.planning import PlannedRequest
from include.dsar.model import Status
from include.dsar.source import Row, Source
from include.dsar.stages.rows import Rules, request_id
from include.dsar.stages.write_back import not_told, write_back

log = logging.getLogger(__name__)

SHOWN = 20  # reasons and request ids in the log, of each kind


@dataclass
class TakenIn:
    """What intake did, as counts of rows."""

    rows: int = 0
    new: int = 0
    known: int = 0  # pending in the source, in the ledger already
    reopened: int = 0
    invalid: int = 0
    repeated: int = 0  # a request_id that stands in the source more than once
    changed: int = 0  # says something else than when it was accepted
    retried: int = 0  # failed submissions of open requests, planned once more
    would_send: dict[str, dict[str, int]] = field(default_factory=dict)  # dry run: account, action


@dataclass
class Intake:
    """The stage. `dry_run` validates and counts all, and leaves the ledger and the source as they are."""

    db: Database
    source: Source
    rules: Rules
    requests: Collection[str] = ()  # request ids; empty: all
    dry_run: bool = False
    retry_failed: bool = False
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def run(self) -> TakenIn:
        """Takes in all pending rows. A bad row is marked invalid and stops nobody else.

        Raises SettingDiffers, with nothing planned, where the hash key is not the ledger's;
        ConfigurationError where the source refuses to be told of some, all others told.
        """
        self._seen: set[str] = set()
        self._bad: list[Row] = []
        self._result = result = TakenIn()
        with self.db.transaction(force_rollback=True) if self.dry_run else nullcontext():
            deployment.insist_on_hash_key(self.db, self.rules.hash_key)
            self._take_in_all()
        if not self.dry_run:
            self._tell()
        return result

    def _take_in_all(self) -> None:
        result = self._result
        for rows in self.source.pending(retry_failed=self.retry_failed):
            self._take_in(rows)
            log.info(
                "read %s rows so far: %s new, %s invalid", *map(_n, (result.rows, result.new, result.invalid))
            )
        only = list(self.requests) or None
        if self.retry_failed:
            result.retried = planning.retry_open(self.db, now=self.clock(), requests=only)
        if self.dry_run:
            result.would_send = planning.planned(self.db, requests=only)

    def _take_in(self, rows: Sequence[Row]) -> None:
        good = self._read(rows)
        planned = planning.plan(self.db, good, now=self.clock(), retry_failed=self.retry_failed)
        self._result.new += planned.new
        self._result.known += planned.known
        self._result.reopened += planned.reopened
        self._result.changed += len(planned.changed)
        for changed in planned.changed[:SHOWN]:
            log.warning(
                "request %s says something else than when it was accepted: put what is new into a row "
                "with a request_id of its own",
                changed,
            )

    def _tell(self) -> None:
        """Only now, since some databases let nobody write what another still reads."""
        refused = self.source.update(self._bad)
        write_back(self.db, self.source)
        if refused:
            raise not_told(len(refused))

    def _read(self, rows: Sequence[Row]) -> list[PlannedRequest]:
        """The good rows as requests."""
        good: list[PlannedRequest] = []
        for row in rows:
            if not self._is_wanted(row):
                continue
            self._result.rows += 1
            try:
                request = self.rules.read(row, self.clock())
            except InvalidRow as error:
                self._refuse(row, str(error))
            except ConfigurationError:
                raise
            except Exception as error:  # one row that we stumble over stops no other
                self._refuse(row, f"could not be read ({type(error).__name__})")
            else:
                if request.request_id not in self._seen:
                    self._seen.add(request.request_id)
                    good.append(request)
                    continue
                self._result.repeated += 1
                if self._result.repeated <= SHOWN:
                    log.warning("request %s stands in the source more than once", request.request_id)
        return good

    def _is_wanted(self, row: Row) -> bool:
        try:
            return not self.requests or request_id(row["request_id"]) in self.requests
        except InvalidRow:
            return False

    def _refuse(self, row: Row, reason: str) -> None:
        self._result.invalid += 1
        if self._result.invalid <= SHOWN:
            log.warning("row %d (%s) is invalid: %s", self._result.rows, _name(row), reason)
        if not isinstance(row["request_id"], str | int | UUID):
            return  # nothing to find the row by
        told = dict.fromkeys(("due_at", "closed_at", "export_uri"))
        status = {"status": Status.INVALID.value, "status_reason": reason}
        self._bad.append({"request_id": row["request_id"], **status, **told})


def _name(row: Row) -> str:
    """How a bad row is called in the log: by its id only where that is a safe one."""
    try:
        return f"request {request_id(row['request_id'])}"
    except InvalidRow:
        return "its request_id is not shown"


def _n(count: int) -> str:
    return f"{count:,}"
