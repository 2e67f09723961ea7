"""Collect: fetches results that are ready, each person's alone, into storage."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import BinaryIO, cast
from uuid import uuid4

from include.dsar.delivery.batched_storage import Storing
from include.dsar.delivery.deliver import COLLECTED
from include.dsar.delivery.storage import Storage, StorageWriter
from include.dsar.errors import (
    ConfigurationError,
    DsarError,
    JobUnknown,
    ProtocolError,
    UnsafeDownload,
    VendorBusy,
    VendorUnavailable,
)
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.progress import Progress
from include.dsar.execution.recorder import Recorder
from include.dsar.execution.refusals import Refusals
from include.dsar.http.client import Sink
from include.dsar.ledger import vendor_jobs
from include.dsar.ledger.transitions import Move, move
from include.dsar.ledger.vendor_jobs import Member, ReadyJob
from include.dsar.model import CollectedFile, State
from include.dsar.vendors.vendor import Result

log = logging.getLogger(__name__)

READ_AHEAD = 200  # jobs whose submissions are read from the ledger at a time
LARGE_REPLY = 128 * 1024  # bytes; read in a thread, so that the event loop goes on
SPOOL_BYTES = 1024 * 1024  # of a download that stay in memory
RESULT_GONE = "the vendor does not know the job any more: its result has expired"


@dataclass(frozen=True)
class Collected:
    """What a collect stage did, as counts of submissions."""

    collected: int
    no_data: int
    failed: int
    left: int


async def collect(work: AccountWork, storage: Storage) -> Collected:
    """Fetches all that is ready. What one job's result lacks stops no other.

    Raises CredentialsRefused, and VendorUnavailable where results are left behind.
    """
    with work.naming_the_connection():
        return await _Collect(work, storage).run()


class _Collect:
    def __init__(self, work: AccountWork, storage: Storage) -> None:
        self._work, self._storing = work, Storing(storage)
        self._run = uuid4().hex
        self._recorder = Recorder(self._record)
        self._refusals = Refusals()
        self._moved: Counter[State] = Counter()
        self._left = 0
        self._last_problem = ""
        self._jobs: Iterator[ReadyJob] = iter(())
        self._next: deque[tuple[ReadyJob, Sequence[Member]]] = deque()
        self._reading = asyncio.Lock()

    async def run(self) -> Collected:
        work = self._work
        jobs = await work.ledger(
            vendor_jobs.ready_jobs, work.db, work.account, request_pks=work.request_pks, shard=work.shard
        )
        log.info("%s: %s results to collect", work.account, f"{len(jobs):,}")
        self._progress = Progress(work.account, "collected", len(jobs))
        self._jobs = iter(jobs)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(work.settings.max_concurrency, len(jobs))):
                    group.create_task(self._collect_jobs())
        except ExceptionGroup as errors:  # one refusal is every worker's: the first says it all
            raise errors.exceptions[0] from None
        finally:
            await self._recorder.close()
        result = Collected(
            self._moved[State.COMPLETED], self._moved[State.NO_DATA], self._moved[State.FAILED], self._left
        )
        log.info("%s: %s", work.account, ", ".join(f"{k}: {v}" for k, v in asdict(result).items()))
        if self._refusals.first:
            raise self._refusals.first
        if self._left:
            raise VendorUnavailable(
                f"{work.account}: {self._left} results could not be fetched, the last: {self._last_problem}. "
                "They stay ready; a retry, or the next run, fetches them."
            )
        return result

    async def _collect_jobs(self) -> None:
        while True:
            async with self._reading:
                if not self._next:
                    await self._read_next()
                if not self._next:
                    return
                job, members = self._next.popleft()
            await self._recorder.add(await self._collect_job(job, members))
            self._progress.advance(1)

    async def _read_next(self) -> None:
        """Reads whose results the next jobs are, of many jobs at once."""
        work, jobs = self._work, list(islice(self._jobs, READ_AHEAD))
        members = await work.ledger(
            vendor_jobs.members, work.db, work.account, [job.job_id for job in jobs], state=State.READY
        )
        self._next.extend((job, members[job.job_id]) for job in jobs if members[job.job_id])

    async def _collect_job(self, job: ReadyJob, members: Sequence[Member]) -> list[Move]:
        try:
            results = await self._results(job.job_id, members)
        except Exception as error:
            return self._without_result(job, members, error)
        self._refusals.answered()

        async def stored(member: Member) -> list[Move]:
            try:
                return [await self._store(member, job, results)]
            except Exception as error:  # one person's result stops no other's
                return self._without_result(job, [member], error)

        return list(chain.from_iterable(await asyncio.gather(*map(stored, members))))

    def _without_result(self, job: ReadyJob, members: Sequence[Member], error: Exception) -> list[Move]:
        """What a result that could not be fetched means. No move: it stays ready."""
        work = self._work
        if isinstance(error, ConfigurationError):
            self._refusals.add(error)
        if isinstance(error, VendorBusy):
            work.client.honour(error)
        limit = timedelta(days=work.settings.give_up_after_days)
        told = str(error) if isinstance(error, DsarError) else type(error).__name__
        if isinstance(error, JobUnknown):
            reason = RESULT_GONE
        elif isinstance(error, UnsafeDownload):
            reason = told
        elif work.clock() - job.since > limit:
            reason = f"its result could not be fetched in {limit / timedelta(days=1):g} days"
        else:
            self._left += len(members)
            self._last_problem = told
            log.warning("%s: a result could not be fetched: %s", work.account, told)
            return []
        return [Move(m.submission, State.FAILED, reason, of_job=job.job_id) for m in members]

    async def _results(self, job_id: str, members: Sequence[Member]) -> Mapping[str, Result]:
        work = self._work
        reply = await work.client.send(work.vendor.status(work.settings, job_id))
        identifiers = [self._identifier(member) for member in members]
        if len(reply.body) < LARGE_REPLY:
            return work.vendor.read_results(reply, identifiers)
        return await asyncio.to_thread(work.vendor.read_results, reply, identifiers)

    async def _store(self, member: Member, job: ReadyJob, results: Mapping[str, Result]) -> Move:
        """One person's result into storage. A file is complete before the ledger speaks of it."""
        result = results.get(self._identifier(member))
        if result is None:
            return Move(member.submission, State.NO_DATA, of_job=job.job_id)
        if result.unreadable:
            raise ProtocolError(result.unreadable)
        kind = next(iter(member.identifiers))
        name = f"{kind}_{member.submission}{PurePosixPath(result.file_name).suffix}"
        # A file of its own: another worker may collect the same, and the vendor need not repeat itself
        # byte for byte. What the ledger does not speak of goes with the folder, once it is packaged.
        path = f"{COLLECTED}/{member.request_id}/{self._work.account}_{self._run}_{name}"
        if result.content is not None:
            written = await self._storing.write(path, result.content)
        else:
            assert result.url is not None
            written = await self._download_zip(path, result.url)
        file = CollectedFile(path, name, written.sha256, written.bytes)
        return Move(member.submission, State.COMPLETED, file=file, of_job=job.job_id)

    async def _download_zip(self, path: str, url: str) -> StorageWriter:
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as answer:  # nameless where it is on a disk
            content = cast(BinaryIO, answer)
            watched = _Zip(content)
            await self._work.client.download(url, watched)
            if not watched.is_whole:
                raise ProtocolError("the result is no zip, or only the beginning of one")
            content.seek(0)
            return await self._storing.write(path, content)

    async def _record(self, moves: list[Move]) -> None:
        work = self._work
        moved = await work.ledger(move, work.db, moves, leave=State.READY, now=work.clock())
        self._moved.update(m.to for m in moves if m.submission in moved)

    def _identifier(self, member: Member) -> str:
        return self._work.vendor.identifier_of(member.identifiers)


class _Zip:
    """Passes on what is downloaded, and sees whether a zip begins and ends in it.

    What is inside is the person's, broken or not; a web page or half an answer is not.
    """

    BEGINS = (b"PK\x03\x04", b"PK\x05\x06")  # a member; the directory of an empty one
    ENDS = b"PK\x05\x06"
    TAIL = 22 + 0xFFFF  # bytes: the end of the directory with the longest comment

    def __init__(self, target: Sink) -> None:
        self._target = target
        self._head = self._tail = b""

    @property
    def is_whole(self) -> bool:
        return self._head.startswith(self.BEGINS) and self.ENDS in self._tail

    def write(self, data: bytes, /) -> None:
        self._target.write(data)
        self._head = (self._head + data[:4])[:4]
        self._tail = (self._tail + data)[-self.TAIL :]
