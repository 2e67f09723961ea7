"""Package: closes requests when all their submissions have ended, and updates the source."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from include.dsar.accounts import WHOLE, OutcomeBreaker, Shard
from include.dsar.delivery.deliver import COLLECTED, Delivery, Written
from include.dsar.delivery.leftovers import remove_leftovers
from include.dsar.delivery.seal import Seal
from include.dsar.delivery.storage import Storage
from include.dsar.errors import NotDelivered, TransitionLost, describe
from include.dsar.execution.progress import Progress
from include.dsar.intake.source import Source
from include.dsar.intake.write_back import write_back
from include.dsar.ledger import closing
from include.dsar.ledger.closing import Closed
from include.dsar.ledger.database import Database
from include.dsar.ledger.outcome_breaker import hold_implausible
from include.dsar.model import RequestRecord
from include.dsar.regulations import Regulation

log = logging.getLogger(__name__)


@dataclass
class Delivered:
    """The results of the stage, as counts of requests, except `leftover_files`."""

    completed: int = 0
    partial: int = 0
    failed: int = 0
    asked_again: int = 0  # a result exists only in a sealed package, which nobody here can open
    not_delivered: int = 0
    source_updated: int = 0
    leftover_files: int = 0  # collected files that nobody needed, and that were removed


@dataclass
class Package:
    """The package stage. A shard closes only its own requests, but writes back the statuses of all shards.

    Its steps have a fixed order, so that a retry can continue after any step: write the files, remove the
    collected results, close the request in the ledger, update the source.
    """

    db: Database
    source: Source
    storage: Storage
    request_pks: Sequence[int] | None = None
    seal: Seal | None = None  # if given, packages are only written sealed
    shard: Shard = WHOLE
    breakers: Mapping[str, OutcomeBreaker] = field(default_factory=dict)  # by account
    regulations: Mapping[str, Regulation] = field(default_factory=dict)  # by name
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def run(self) -> Delivered:
        """Closes all ended requests. Raises NotDelivered at the end if a request could not be closed."""
        result = Delivered()
        ended = self._closable()
        log.info("package: %s requests to close", f"{len(ended):,}")
        progress = Progress("package", "closed", len(ended))
        delivery = Delivery(self.storage, self.seal)
        for records in closing.records(self.db, ended):
            now = self.clock()
            named = [replace(record, law=self._law(record)) for record in records]
            written = [(record, delivery.write(record, now)) for record in named]
            closed = [one for record, w in written if (one := self._closed(record, w, now, result))]
            closing.close(self.db, closed, now=now)
            for one in closed:
                setattr(result, one.status, getattr(result, one.status) + 1)
            progress.advance(len(records))
        result.source_updated = write_back(self.db, self.source)
        if self.shard.number == 1:
            result.leftover_files = self._remove_leftovers()
        log.info("package: %s", ", ".join(f"{k}: {v}" for k, v in asdict(result).items()))
        if result.not_delivered:
            raise NotDelivered(
                f"{result.not_delivered} requests could not be delivered. The log above names them. "
                "Fix the cause, then clear this task."
            )
        return result

    def _remove_leftovers(self) -> int:
        """Removes the files that a killed `collect` left. An error of the storage stops nothing."""
        try:
            removed = remove_leftovers(self.db, self.storage)
        except Exception as error:  # each file system has errors of its own
            log.warning("package: could not remove the files of interrupted tasks: %s", describe(error))
            return 0
        if removed:
            log.warning(
                "package: removed %d files from %s/, left there by interrupted tasks", removed, COLLECTED
            )
        return removed

    def _closable(self) -> list[int]:
        """Returns the ledger ids of requests to close, without the requests that have implausible outcomes.

        The closable requests are listed before their outcomes are checked, so the check covers every
        outcome of every listed request.
        """
        ended = closing.closable(self.db, request_pks=self.request_pks, shard=self.shard)
        unconfirmed = hold_implausible(self.db, self.breakers, now=self.clock()) if ended else []
        for each in unconfirmed:
            log.error(
                "package: %s: %d outcomes wait for an operator, so their requests stay open",
                each.account,
                sum(each.waiting.values()),
            )
        return closing.closable(self.db, request_pks=ended, shard=self.shard) if unconfirmed else ended

    def _law(self, record: RequestRecord) -> str:
        """Returns the text that names the law. If the regulation was removed, returns its name."""
        known = self.regulations.get(record.regulation)
        return known.law(record.action) if known else record.regulation

    def _closed(
        self, record: RequestRecord, written: Written, now: datetime, result: Delivered
    ) -> Closed | None:
        """Returns the record of a written request for the ledger. None if the request stays open."""
        if written.uri:
            return Closed(record.id, record.status, record.status_reason, written.uri)
        trouble = written.trouble
        if written.lost:
            try:
                closing.replan_sealed(self.db, record.id, written.lost, now=now)
            except TransitionLost as error:
                trouble = str(error)
        if trouble:
            result.not_delivered += 1
            log.error("request %s could not be delivered: %s", record.request_id, trouble)
        else:
            result.asked_again += 1
            log.warning(
                "request %s: an earlier result is only in a sealed package, which we cannot open. "
                "The vendor that sent this result is asked again.",
                record.request_id,
            )
        return None
