"""Writes the package and the receipt of one request to storage. Does not use the ledger."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, cast

from include.dsar.delivery.package import write_package
from include.dsar.delivery.package_paths import packaged_files
from include.dsar.delivery.receipt import receipt
from include.dsar.delivery.seal import SUFFIX, Seal
from include.dsar.delivery.storage import Storage
from include.dsar.delivery.storage_writer import StorageWriter, Target
from include.dsar.errors import describe
from include.dsar.model import Action, CollectedFile, RequestRecord

COLLECTED = "work"  # folder of results that wait for their package


@dataclass(frozen=True)
class Written:
    """The result of writing one request. Exactly one field is set."""

    uri: str | None = None
    lost: Sequence[str] = ()  # paths of results that exist only in a sealed package
    trouble: str | None = None  # contains no personal data


@dataclass(frozen=True)
class Delivery:
    """Writes packages and receipts. If there is a seal, every package is sealed."""

    storage: Storage
    seal: Seal | None

    def write(self, record: RequestRecord, closed_at: datetime) -> Written:
        """Writes each file completely or not at all. Then removes the collected results.

        Raises no error, so that one failed request does not stop the others.
        """
        try:
            return self._write(record, closed_at)
        except Exception as error:  # each file system has errors of its own
            return Written(trouble=describe(error))

    def _write(self, record: RequestRecord, closed_at: datetime) -> Written:
        folder = f"requests/{record.request_id}"
        plain, receipt_path = f"{folder}/package.zip", f"{folder}/receipt.json"
        sealed = plain + SUFFIX
        package, other = (sealed, plain) if self.seal else (plain, sealed)
        try:
            if record.action is Action.ACCESS:
                with self.storage.writer(package) as target, self._sealing(target) as out:
                    write_package(out, record, closed_at, lambda file: self._open(file, record, plain))
            self.storage.write(receipt_path, receipt(record, closed_at))
        except FileNotFoundError:
            if not self.storage.exists(sealed):
                raise
            if not self._is_sealed(record, receipt_path):
                return Written(lost=self._lost(record))
            package, other = sealed, plain
        if record.action is Action.ACCESS:
            self.storage.remove(other)
        self.storage.remove_tree(f"{COLLECTED}/{record.request_id}")
        return Written(uri=self.storage.uri(package if record.action is Action.ACCESS else receipt_path))

    def _sealing(self, target: StorageWriter) -> AbstractContextManager[Target]:
        return self.seal.sealing(target) if self.seal else nullcontext(target)

    def _is_sealed(self, record: RequestRecord, receipt_path: str) -> bool:
        """Returns whether an earlier try sealed all results but stopped before the ledger recorded the
        package.

        We cannot open the sealed package, but its receipt lists the files in it. The receipt is written
        after the package, and before the collected results are removed.
        """
        if not self.storage.exists(receipt_path):
            return False
        with self.storage.open(receipt_path) as file:
            earlier = file.read()
        return earlier == receipt(record, datetime.fromisoformat(json.loads(earlier)["closed_at"]))

    def _lost(self, record: RequestRecord) -> list[str]:
        """Returns the paths of results that exist only in a sealed package of an earlier try.

        We cannot open that package, so these results must be collected again for the new package.
        """
        files = [one.file for one in packaged_files(record)]
        return [file.path for file in files if not self.storage.exists(file.path)]

    def _open(self, file: CollectedFile, record: RequestRecord, package: str) -> BinaryIO:
        """Opens a collected file. If the file is missing from storage, opens its copy in the plain package
        of an earlier try.
        """
        if self.storage.exists(file.path):
            return self.storage.open(file.path)
        (path,) = (one.path for one in packaged_files(record) if one.file == file)
        with self.storage.open(package) as earlier, zipfile.ZipFile(earlier) as archive:
            return cast(BinaryIO, io.BytesIO(archive.read(path)))
