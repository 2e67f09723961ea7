"""The common part of poll and collect. Both work on many jobs at a time, and record what happened to each
job.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar, TypeVar

from include.dsar.errors import ConfigurationError, JobUnknown, VendorBusy
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.consecutive_errors import MAX_REFUSALS_IN_A_ROW, ConsecutiveErrors
from include.dsar.execution.job_failures import JobFailure, JobFailures
from include.dsar.execution.lookups import Lookups
from include.dsar.execution.progress import Progress
from include.dsar.execution.recorder import Recorder
from include.dsar.execution.trust import AccountEvidence, Endings, unknown_for
from include.dsar.http.messages import HttpReply
from include.dsar.ledger import vendor_jobs
from include.dsar.ledger.transitions import Move, move
from include.dsar.ledger.vendor_jobs import Member, OpenJob, ReadyJob
from include.dsar.model import Action, State
from include.dsar.vendors.reply_shape import Route

MIN_BYTES_FOR_THREAD = 128 * 1024  # a smaller reply is parsed faster than a thread starts

R = TypeVar("R")


class JobStage:
    """A stage that works on jobs."""

    state: ClassVar[State]  # of the submissions that it works on
    verb: ClassVar[str]  # what it did to a job, for the log
    failures: ClassVar[JobFailures]
    gave_up: ClassVar[str]  # the reason if the job is older than `give_up_after_days`

    def __init__(self, work: AccountWork) -> None:
        self._work = work
        self._recorder = Recorder(self._record)
        self._members = Lookups(self._look_up)
        self._refusals = ConsecutiveErrors(MAX_REFUSALS_IN_A_ROW)
        self._evidence = AccountEvidence(work)
        self._endings = Endings(work, self._evidence)
        self._moved: Counter[State] = Counter()

    async def _run_workers(self, worker: Callable[[], Coroutine[None, None, None]], jobs: int) -> None:
        """Runs one worker per allowed concurrent call. Returns when all moves of the workers are recorded."""
        self._progress = Progress(self._work.account, self.verb, jobs)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._work.settings.max_concurrency, jobs)):
                    group.create_task(worker())
            await self._recorder.add(await self._endings.decide())
        except ExceptionGroup as errors:  # the workers meet the same refusal
            raise errors.exceptions[0] from None
        finally:
            await self._recorder.close()

    async def _done(self, moves: Sequence[Move]) -> None:
        await self._recorder.add(moves)
        self._progress.advance(1)

    def _refused(self, error: ConfigurationError) -> None:
        """Counts a refusal. Raises the error after too many refusals in a row."""
        self._refusals.add(error)
        if self._refusals.limit_reached:
            raise error

    def _answered(self, job: OpenJob | ReadyJob) -> None:
        """Records that the vendor gave a readable answer about this job."""
        self._refusals.reset()
        self._endings.is_known(job.job_id, job.unknown_since)

    def _failure(
        self, error: Exception | None, job: OpenJob | ReadyJob, since: datetime, *, is_batch: bool = False
    ) -> JobFailure | None:
        """Returns why the submissions of this job fail. None if the job must be tried again."""
        if isinstance(error, VendorBusy):
            self._work.client.honour(error)
        now, days = self._work.clock(), self._work.settings.give_up_after_days
        age, unknown = now - since, unknown_for(job.unknown_since, now)
        for kind in type(error).__mro__:
            failure = self.failures.get(kind)
            if failure and age > failure.min_age and (is_batch or not failure.splits_batch):
                if isinstance(error, JobUnknown):
                    self._endings.is_unknown(job.job_id, since)
                    if unknown < failure.min_unknown or age > timedelta(days=days):
                        break
                return replace(failure, reason=failure.reason.format(error=error))
        return JobFailure(self.gave_up.format(days=days)) if age > timedelta(days=days) else None

    def _ended(self, job: OpenJob | ReadyJob, failure: JobFailure, moves: list[Move]) -> list[Move]:
        """Returns the moves of failed submissions to record now. Returns an empty list if the end of the
        stage decides about these submissions.
        """
        if failure.is_documented or failure.splits_batch:
            return moves
        if failure.min_unknown > timedelta.min:
            self._endings.forget(job.job_id, moves)
        else:
            self._endings.give_up(job.job_id, moves)
        return []

    def _observe(self, reply: HttpReply, job_id: str, action: Action) -> None:
        """Compares a reply about this job with the declaration of the vendor, for `dsar_upkeep`."""
        work = self._work
        work.replies.observe(work.vendor, Route.STATUS, reply, about=job_id, action=action)

    async def _parse(self, reply: HttpReply, function: Callable[[], R]) -> R:
        """Calls `function` to parse this reply. A large reply is parsed in a thread."""
        return function() if len(reply.body) < MIN_BYTES_FOR_THREAD else await asyncio.to_thread(function)

    async def _look_up(self, job_ids: Sequence[str]) -> Mapping[str, list[Member]]:
        return await self._work.ledger(vendor_jobs.members, self._work.account, job_ids, state=self.state)

    async def _record(self, moves: list[Move]) -> None:
        moved = await self._work.ledger(move, moves, leave=self.state, now=self._work.clock())
        self._moved.update(m.to for m in moves if m.submission in moved)
