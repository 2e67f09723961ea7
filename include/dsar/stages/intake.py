"""Intake: reads the source, validates each row, plans the submissions of those that are good."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from include.dsar.errors import ConfigurationError, InvalidRow
from include.dsar.intake.rows import Rules, request_id
from include.dsar.intake.source import Row, Source
from include.dsar.intake.write_back import not_told, write_back
from include.dsar.ledger import deployment, planning, withdrawing
from include.dsar.ledger.database import Database
from include.dsar.ledger.planning import PlannedRequest
from include.dsar.model import Status

log = logging.getLogger(__name__)

SHOWN = 20  # reasons and request ids in the log, of each kind

CONTRADICTION = "the request_id stands in the source more than once, with different content"
BAD, SEVERAL = b"bad", b"several"  # in place of a fingerprint: of a bad row, of contradictory ones


@dataclass
class TakenIn:
    """What intake did, as counts of rows."""

    rows: int = 0
    new: int = 0
    known: int = 0  # pending in the source, in the ledger already
    reopened: int = 0
    invalid: int = 0
    repeated: int = 0  # a request_id that stands in the source more than once, each time the same
    changed: int = 0  # in the ledger already, and the row says something else or is a bad one by now
    retried: int = 0  # failed submissions of open requests, planned once more
    would_send: dict[str, dict[str, int]] = field(default_factory=dict)  # dry run: account, action


@dataclass(frozen=True)
class _Refused:
    """A row that cannot be planned; without an id where it has none that is safe."""

    row: Row = field(repr=False)
    number: int
    request_id: str | None
    reason: str


@dataclass
class _Chunk:
    """Rows as they were read."""

    good: list[PlannedRequest] = field(default_factory=list)
    refused: list[_Refused] = field(default_factory=list)
    contradictory: set[str] = field(default_factory=set)  # ids of rows that an earlier one contradicts
    contradicted: set[str] = field(default_factory=set)  # those of them whose first row was a good one


@dataclass
class Intake:
    """The stage. `dry_run` validates and counts all, and leaves the ledger and the source as they are."""

    db: Database
    source: Source
    rules: Rules
    request_ids: Collection[str] = ()  # request ids; empty: all
    dry_run: bool = False
    retry_failed: bool = False
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def run(self) -> TakenIn:
        """Takes in all pending rows. A bad row is marked invalid and stops nobody else.

        Raises SettingDiffers, with nothing planned, where the hash key is not the ledger's;
        ConfigurationError where the source refuses to be told of some, all others told.
        """
        self._seen: dict[str, bytes] = {}  # fingerprints of a million rows: as bytes, half the size
        self._bad: list[Row] = []
        self._result = result = TakenIn()
        self._began = self.clock()
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
            seconds = max((self.clock() - self._began).total_seconds(), 0.001)
            log.info(
                "read %s rows so far: %s new, %s invalid; %s a second",
                *map(_n, (result.rows, result.new, result.invalid, round(result.rows / seconds))),
            )
        only = list(self.request_ids) or None
        if self.retry_failed:
            result.retried = planning.retry_open(self.db, now=self.clock(), request_ids=only)
        if self.dry_run:
            result.would_send = planning.planned(self.db, request_ids=only)

    def _take_in(self, rows: Sequence[Row]) -> None:
        chunk, result = self._read(rows), self._result
        with self.db.transaction():
            gone = withdrawing.take_back(self.db, chunk.contradictory)
            known = withdrawing.known(self.db, {r.request_id for r in chunk.refused if r.request_id})
            contradicted = chunk.contradicted - known
            good = [request for request in chunk.good if request.request_id not in contradicted]
            planned = planning.plan(self.db, good, now=self.clock(), retry_failed=self.retry_failed)
        result.new += planned.new - sum(planned_at >= self._began for planned_at in gone.values())
        result.known += planned.known
        result.reopened += planned.reopened
        result.invalid += len(contradicted)
        for name in planned.changed:
            self._leave(name, "says something else than when it was accepted")
        for refused in chunk.refused:
            if refused.request_id in known:
                self._leave(refused.request_id, f"is known, but not by this row ({refused.reason})")
            else:
                self._refuse(refused)

    def _tell(self) -> None:
        """Only now, since some databases let nobody write what another still reads."""
        refused = self.source.update(self._bad)
        write_back(self.db, self.source)
        if refused:
            raise not_told(len(refused))

    def _read(self, rows: Sequence[Row]) -> _Chunk:
        """Of rows with one id the first counts, unless another contradicts it: then none is good."""
        chunk = _Chunk()
        for row in rows:
            if not self._is_wanted(row):
                continue
            self._result.rows += 1
            request, reason = self._request(row)
            name = request.request_id if request else _request_id(row)
            says = bytes.fromhex(request.fingerprint) if request else BAD
            said = self._seen.get(name) if name else None
            if name and said not in (None, says):
                chunk.contradictory.add(name)
                if said not in (BAD, SEVERAL):
                    chunk.contradicted.add(name)
                says, request, reason = SEVERAL, None, CONTRADICTION
            if name:
                self._seen[name] = says
            if request is None:
                chunk.refused.append(_Refused(row, self._result.rows, name, reason))
            elif said is None:
                chunk.good.append(request)
            else:
                self._repeat(request.request_id)
        return chunk

    def _request(self, row: Row) -> tuple[PlannedRequest | None, str]:
        """The request of a row; or None, and why there is none."""
        try:
            return self.rules.read(row, self.clock()), ""
        except InvalidRow as error:
            return None, str(error)
        except ConfigurationError:
            raise
        except Exception as error:  # one row that we stumble over stops no other
            return None, f"could not be read ({type(error).__name__})"

    def _is_wanted(self, row: Row) -> bool:
        return not self.request_ids or _request_id(row) in self.request_ids

    def _repeat(self, request_id: str) -> None:
        self._result.repeated += 1
        if self._result.repeated <= SHOWN:
            log.warning("request %s stands in the source more than once", request_id)

    def _leave(self, request_id: str | None, why: str) -> None:
        """The ledger knows the request, so its row stays as it is: it may hold what became of it."""
        self._result.changed += 1
        if self._result.changed <= SHOWN:
            log.warning(
                "request %s %s: put what is new into a row with a request_id of its own", request_id, why
            )

    def _refuse(self, refused: _Refused) -> None:
        self._result.invalid += 1
        if self._result.invalid <= SHOWN:
            called = f"request {refused.request_id}" if refused.request_id else "its request_id is not shown"
            log.warning("row %d (%s) is invalid: %s", refused.number, called, refused.reason)
        request_id = refused.row["request_id"]
        if not isinstance(request_id, str | int | UUID):
            return  # nothing to find the row by
        told = dict.fromkeys(("due_at", "closed_at", "export_uri"))
        status = {"status": Status.INVALID.value, "status_reason": refused.reason}
        self._bad.append({"request_id": request_id, **status, **told})


def _request_id(row: Row) -> str | None:
    """A row's id, where it is a safe one."""
    try:
        return request_id(row["request_id"])
    except InvalidRow:
        return None


def _n(count: int) -> str:
    return f"{count:,}"
