"""Collect: downloads the results that are ready. It writes the data of each data subject to a separate
file.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import PurePosixPath
from typing import BinaryIO, cast
from uuid import uuid4

from include.dsar.delivery.batched_storage import BatchedStorage
from include.dsar.delivery.deliver import COLLECTED
from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError, ProtocolError, VendorUnavailable, describe
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.batch_size import smaller_batch
from include.dsar.execution.job_failures import (
    COLLECT_FAILURES,
    COLLECT_GAVE_UP,
    LOST_AGAIN,
    MAX_LOST_RESULTS,
)
from include.dsar.execution.job_stage import JobStage
from include.dsar.execution.observed_replies import replies_remembered
from include.dsar.execution.outcome_check import outcomes_checked
from include.dsar.http.checked_download import CheckedDownload
from include.dsar.ledger import vendor_jobs
from include.dsar.ledger.transitions import Move
from include.dsar.ledger.vendor_jobs import Member, ReadyJob
from include.dsar.model import Action, CollectedFile, State
from include.dsar.vendors.vendor import Result

log = logging.getLogger(__name__)

MAX_DOWNLOAD_BYTES_IN_MEMORY = 1024 * 1024  # the rest of a download is on disk


@dataclass(frozen=True)
class Collected:
    """Counts of submissions."""

    collected: int
    no_data: int
    failed: int
    left: int


async def collect(work: AccountWork, storage: Storage) -> Collected:
    """Fetches all results that are ready. A failed download does not stop the other downloads.

    Raises CredentialsRefused or ConfigurationError if the vendor rejects our credentials or the route.
    Raises VendorUnavailable if a result could not be fetched. Raises OperatorActionRequired if outcomes of
    the account wait for an operator.
    """
    with work.naming_the_connection():
        async with outcomes_checked(work), replies_remembered(work):
            return await _Collect(work, storage).run()


class _Collect(JobStage):
    state, verb = State.READY, "collected"
    failures, gave_up = COLLECT_FAILURES, COLLECT_GAVE_UP

    def __init__(self, work: AccountWork, storage: Storage) -> None:
        super().__init__(work)
        self._storing = BatchedStorage(storage)
        self._run = uuid4().hex
        self._left = 0
        self._last_problem = ""
        self._jobs: Iterator[ReadyJob] = iter(())

    async def run(self) -> Collected:
        work = self._work
        jobs = await work.ledger(
            vendor_jobs.ready_jobs, work.account, request_pks=work.request_pks, shard=work.shard
        )
        log.info("%s: %s results to collect", work.account, f"{len(jobs):,}")
        self._jobs = iter(jobs)
        await self._run_workers(self._collect_jobs, len(jobs))
        self._left += self._endings.left_open
        result = Collected(
            self._moved[State.COMPLETED], self._moved[State.NO_DATA], self._moved[State.FAILED], self._left
        )
        log.info("%s: %s", work.account, ", ".join(f"{k}: {v}" for k, v in asdict(result).items()))
        if self._refusals.first:
            raise self._refusals.first
        if self._left:
            raise VendorUnavailable(
                f"{work.account}: {self._left} results could not be fetched. "
                f"Last error: {self._last_problem}. They stay ready. A retry or the next run fetches them. "
                f"If this lasts, check connection {work.settings.connection}."
            )
        return result

    async def _collect_jobs(self) -> None:
        for job in self._jobs:
            if members := await self._members.get(job.job_id):
                await self._done(await self._collect_job(job, members))

    async def _collect_job(self, job: ReadyJob, members: Sequence[Member]) -> list[Move]:
        try:
            results = await self._results(job.job_id, members)
        except Exception as error:
            return self._without_result(job, members, error)
        self._answered(job)

        async def stored(member: Member) -> list[Move]:
            try:
                return [await self._store(member, job, results, smaller_batch(len(members)))]
            except Exception as error:  # the other data subjects in the job get their results
                return self._without_result(job, [member], error)

        return list(chain.from_iterable(await asyncio.gather(*map(stored, members))))

    def _without_result(self, job: ReadyJob, members: Sequence[Member], error: Exception) -> list[Move]:
        """Returns the moves of submissions without a result. None if the submissions stay ready."""
        if isinstance(error, ConfigurationError):
            self._refused(error)
        failure = self._failure(error, job, job.since)
        if failure is None:
            self._left += len(members)
            self._last_problem = describe(error)
            log.warning("%s: could not fetch a result: %s", self._work.account, self._last_problem)
            return []
        moves = [Move(m.submission, State.FAILED, failure.reason, of_job=job.job_id) for m in members]
        self._last_problem = describe(error)
        return self._ended(job, failure, moves)

    async def _results(self, job_id: str, members: Sequence[Member]) -> Mapping[str, Result]:
        work = self._work
        reply = await work.client.send(work.vendor.status(work.settings, job_id))
        identifiers = [self._identifier(member) for member in members]

        def read() -> Mapping[str, Result]:
            self._observe(reply, job_id, Action.ACCESS)
            results = work.vendor.read_results(reply, identifiers)
            work.vendor.check_job(job_id, reply)
            return results

        return await self._parse(reply, read)

    async def _store(
        self, member: Member, job: ReadyJob, results: Mapping[str, Result], batch_limit: int
    ) -> Move:
        """Writes the result of one data subject to storage. The ledger gets the path after the file is
        complete.
        """
        result = results.get(self._identifier(member))
        if result is None:
            return Move(member.submission, State.NO_DATA, of_job=job.job_id)
        if result.lost:
            return await self._without_data(member, job, result.lost, batch_limit)
        if result.unreadable:
            raise ProtocolError(result.unreadable)
        if result.content is not None:
            return await self._file(member, job, result.content, PurePosixPath(result.file_name).suffix)
        with tempfile.SpooledTemporaryFile(max_size=MAX_DOWNLOAD_BYTES_IN_MEMORY) as spool:
            content = cast(BinaryIO, spool)
            suffix = await self._download(result, content)
            content.seek(0)
            return await self._file(member, job, content, suffix)

    async def _without_data(self, member: Member, job: ReadyJob, lost: str, batch_limit: int) -> Move:
        """Returns the move of a submission whose result is lost: to a new job, or to `failed` after too many
        jobs.
        """
        count = 1 + await self._work.ledger(vendor_jobs.lost_results, member)
        if count >= MAX_LOST_RESULTS:
            reason = LOST_AGAIN.format(count=count, reason=lost)
            log.error("%s: request %s failed: %s", self._work.account, member.request_id, reason)
            return Move(member.submission, State.FAILED, reason, of_job=job.job_id)
        log.warning("%s: the vendor is asked for a result again: %s", self._work.account, lost)
        return Move(member.submission, State.PLANNED, lost, of_job=job.job_id, batch_limit=batch_limit)

    async def _download(self, result: Result, target: BinaryIO) -> str:
        """Downloads a result and returns the suffix of its file name."""
        assert result.url is not None
        checked = CheckedDownload(target)
        await self._work.client.download(result.url, checked)
        suffix = checked.suffix()
        wanted = PurePosixPath(result.file_name).suffix
        if wanted not in ("", suffix):
            raise ProtocolError(f"the result is not a {wanted[1:]} file, or it is cut off")
        return suffix

    async def _file(self, member: Member, job: ReadyJob, content: bytes | BinaryIO, suffix: str) -> Move:
        kind = next(iter(member.identifiers))
        name = f"{kind}_{member.submission}{suffix}"
        # The path is unique to this run: another worker may collect the same result at the same time, and the
        # vendor may answer with other bytes. A file that the ledger does not name is removed with the folder.
        path = f"{COLLECTED}/{member.request_id}/{self._work.account}_{self._run}_{name}"
        written = await self._storing.write(path, content)
        file = CollectedFile(path, name, written.sha256, written.bytes)
        return Move(member.submission, State.COMPLETED, file=file, of_job=job.job_id)

    def _identifier(self, member: Member) -> str:
        return self._work.vendor.identifier_of(member.identifiers)
