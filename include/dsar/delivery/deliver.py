"""Writing what persons get: one request at a time, where there are many in as many processes as cores.

Knows no ledger: a process that writes needs the storage, the seal and the record, no more.
"""

from __future__ import annotations

import gc
import io
import json
import logging
import multiprocessing
import os
import pickle
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import Thread
from typing import BinaryIO, cast

from include.dsar.delivery.package import Target, write_package
from include.dsar.delivery.paths import packaged_files
from include.dsar.delivery.receipt import receipt
from include.dsar.delivery.seal import SUFFIX, Seal
from include.dsar.delivery.storage import Storage, StorageWriter
from include.dsar.errors import DsarError, NotDelivered
from include.dsar.model import Action, CollectedFile, RequestRecord

log = logging.getLogger(__name__)

COLLECTED = "work"  # below the storage's root: results that wait for their package
MANY = 500  # requests at a time from which on other processes pay: each takes a second or two to start
AT_A_TIME = 20  # requests that a process is handed


@dataclass(frozen=True)
class Written:
    """What became of one request's files: one of the three."""

    uri: str | None = None
    lost: Sequence[str] = ()  # results of which only a sealed package is left, for the vendors to give again
    trouble: str | None = None  # nothing that a person's data could stand in


@dataclass(frozen=True)
class Delivery:
    """Where packages and receipts go; with a seal, packages are written sealed only."""

    storage: Storage
    seal: Seal | None

    def write(self, record: RequestRecord, closed_at: datetime) -> Written:
        """Files first, each complete or not there; then what was collected goes, since they hold it."""
        try:
            return self._write(record, closed_at)
        except Exception as error:  # each file system has errors of its own
            return Written(trouble=str(error) if isinstance(error, DsarError) else type(error).__name__)

    def _write(self, record: RequestRecord, closed_at: datetime) -> Written:
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
                return Written(lost=self._lost(record))
            package, other = sealed, plain
        if record.action is Action.ACCESS:
            self.storage.remove(other)
        self.storage.remove_tree(f"{COLLECTED}/{record.request_id}")
        return Written(uri=self.storage.uri(package if record.action is Action.ACCESS else written))

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

    def _lost(self, record: RequestRecord) -> list[str]:
        """An earlier try sealed what had been collected by then, broke off, and a person asked for
        another try of the rest: the two can only come together if the first is collected once more."""
        files = [one.file for one in packaged_files(record)]
        return [file.path for file in files if not self.storage.exists(file.path)]

    def _open(self, file: CollectedFile, record: RequestRecord, package: str) -> BinaryIO:
        """A collected file, or its copy in the plain package of an earlier try."""
        if self.storage.exists(file.path):
            return self.storage.open(file.path)
        (path,) = (one.path for one in packaged_files(record) if one.file == file)
        with self.storage.open(package) as earlier, zipfile.ZipFile(earlier) as archive:
            return cast(BinaryIO, io.BytesIO(archive.read(path)))


class Writers:
    """The processes that write: this one, or others, started when there are many requests for the first
    time. They are started afresh, not forked: a fork would share connections and lack threads."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def write(self, records: Sequence[RequestRecord], closed_at: datetime) -> Iterable[Written]:
        """What became of each, in their order. Raises NotDelivered where a process died."""
        write = partial(self._delivery.write, closed_at=closed_at)
        if self._pool is None and len(records) >= MANY and (cores := _cores()) > 1 and self._can_travel():
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(cores, context, initializer=_begin)
        if self._pool is None:
            return map(write, records)
        try:
            return list(self._pool.map(write, records, chunksize=AT_A_TIME))
        except BrokenProcessPool:
            raise NotDelivered(
                "a process that wrote packages was killed, perhaps for want of memory: clear this task"
            ) from None

    def _can_travel(self) -> bool:
        """Some object stores' credentials hold what no other process can be given."""
        try:
            pickle.dumps(self._delivery)
        except Exception:
            log.info("packages are written by this process alone: the storage cannot be handed to others")
            return False
        return True


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin() -> None:
    """What is loaded stays: the collector need not look through it again and again."""
    gc.freeze()
    _end_with_parent()


def _end_with_parent() -> None:
    """Else a process whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, name="end-with-parent", daemon=True).start()
