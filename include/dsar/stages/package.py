"""Package: closes requests whose submissions have all ended, and tells the source."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import BinaryIO, cast

from include.dsar.delivery.package import Target, write_package
from include.dsar.delivery.paths import packaged_files
from include.dsar.delivery.receipt import receipt
from include.dsar.delivery.seal import SUFFIX, Seal
from include.dsar.errors import DsarError, NotDelivered
from include.dsar.ledger import closing
from include.dsar.ledger.closing import Closed
from include.dsar.ledger.database import Database
from include.dsar.model import Action, CollectedFile, RequestRecord
from include.dsar.source import Source
from include.dsar.stages import collect
from include.dsar.stages.write_back import write_back
from include.dsar.storage import Storage, StorageWriter

log = logging.getLogger(__name__)


@dataclass
class Delivered:
    """What the stage did, as counts of requests."""

    completed: int = 0
    partial: int = 0
    failed: int = 0
    asked_again: int = 0  # a result is in a sealed package that nobody here can open
    not_delivered: int = 0
    source_told: int = 0


@dataclass
class Package:
    """The stage.

    Its order makes it safe to break off anywhere: files first, each complete or not there; then what
    was collected goes, since the package holds it; then the ledger; then the source.
    """

    db: Database
    source: Source
    storage: Storage
    requests: Sequence[int] | None = None
    seal: Seal | None = None  # with one, packages are written sealed only
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def run(self) -> Delivered:
        """Raises NotDelivered where a request could not be closed; all others are."""
        result = Delivered()
        for records in closing.closable(self.db, requests=self.requests):
            now = self.clock()
            closed = [c for record in records if (c := self._deliver(record, now, result))]
            closing.close(self.db, closed, now=now)
            for one in closed:
                setattr(result, one.status, getattr(result, one.status) + 1)
            log.info("closed %s requests", f"{result.completed + result.partial + result.failed:,}")
        result.source_told = write_back(self.db, self.source)
        log.info("package: %s", ", ".join(f"{k}: {v}" for k, v in asdict(result).items()))
        if result.not_delivered:
            raise NotDelivered(
                f"{result.not_delivered} requests could not be delivered: the log above names each. "
                "Mend the cause, then clear this task."
            )
        return result

    def _deliver(self, record: RequestRecord, now: datetime, result: Delivered) -> Closed | None:
        """Writes what the person gets. One request's trouble stops no other's."""
        try:
            uri = self._write(record, now)
        except Exception as error:  # each file system has errors of its own
            result.not_delivered += 1
            told = str(error) if isinstance(error, DsarError) else type(error).__name__
            log.error("request %s could not be delivered: %s", record.request_id, told)
            return None
        if uri is None:
            result.asked_again += 1
            log.warning(
                "request %s: a result is sealed already: its vendor is asked again", record.request_id
            )
            return None
        return Closed(record.id, record.status, record.status_reason, uri)

    def _write(self, record: RequestRecord, closed_at: datetime) -> str | None:
        """Where it was written; None where a vendor has to be asked again first."""
        folder = f"requests/{record.request_id}"
        plain, written = f"{folder}/package.zip", f"{folder}/receipt.json"
        sealed = plain + SUFFIX
        package, other = (sealed, plain) if self.seal else (plain, sealed)
        try:
            if record.action is Action.ACCESS:
                with self.storage.writer(package) as target, self._sealing(target) as out:
                    write_package(out, record, closed_at, lambda file: self._open(file, record, plain))
            self.storage.write(written, receipt(record, closed_at))
        except FileNotFoundError:
            if not self.storage.exists(sealed):
                raise
            if not self._is_sealed(record, written):
                self._ask_again(record)
                return None
            package, other = sealed, plain
        if record.action is Action.ACCESS:
            self.storage.remove(other)
        self.storage.remove_tree(f"{collect.FOLDER}/{record.request_id}")
        return self.storage.uri(package if record.action is Action.ACCESS else written)

    def _sealing(self, target: StorageWriter) -> AbstractContextManager[Target]:
        return self.seal.sealing(target) if self.seal else nullcontext(target)

    def _is_sealed(self, record: RequestRecord, written: str) -> bool:
        """Whether an earlier try sealed all of this, and broke off before the ledger knew.

        We cannot open what it sealed. But its receipt, written next, says what that is; what was
        collected went only then.
        """
        if not self.storage.exists(written):
            return False
        with self.storage.open(written) as file:
            earlier = file.read()
        return earlier == receipt(record, datetime.fromisoformat(json.loads(earlier)["closed_at"]))

    def _ask_again(self, record: RequestRecord) -> None:
        """An earlier try sealed what had been collected by then, broke off, and a person asked for
        another try of the rest: the two can only come together if the first is collected once more."""
        files = [one.file for one in packaged_files(record)]
        lost = [file.path for file in files if not self.storage.exists(file.path)]
        closing.ask_again(self.db, record.id, lost, now=self.clock())

    def _open(self, file: CollectedFile, record: RequestRecord, package: str) -> BinaryIO:
        """A collected file, or its copy in the plain package of an earlier try."""
        if self.storage.exists(file.path):
            return self.storage.open(file.path)
        (path,) = (one.path for one in packaged_files(record) if one.file == file)
        with self.storage.open(package) as earlier, zipfile.ZipFile(earlier) as archive:
            return cast(BinaryIO, io.BytesIO(archive.read(path)))
