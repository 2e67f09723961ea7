"""Polls the open jobs of an account. Stops when the next poll would be due after the end of the window.

Runs in the triggerer, and in `submit` while that stage waits. All state is in the ledger, all updates are
guarded, and no call is a POST. Therefore polling can stop at any moment and start again, and two processes
may poll the same jobs for a while.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from include.dsar.accounts import WHOLE, AccountSettings, Shard
from include.dsar.errors import (
    ConfigurationError,
    JobUnknown,
    ProtocolError,
    UnexpectedAnswer,
    WindowOver,
    describe,
)
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.batch_size import smaller_batch
from include.dsar.execution.job_failures import POLL_FAILURES, POLL_GAVE_UP
from include.dsar.execution.job_stage import JobStage
from include.dsar.execution.observed_replies import replies_remembered
from include.dsar.execution.outcome_check import outcomes_checked
from include.dsar.execution.poll_schedule import FIRST_POLL_SPREAD, PollSchedule
from include.dsar.execution.unknown_jobs import none_found
from include.dsar.http.messages import HttpReply
from include.dsar.ledger import vendor_jobs
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move
from include.dsar.ledger.vendor_jobs import JobRow, OpenJob
from include.dsar.model import Outcome, State
from include.dsar.vendors.vendor import JobStatus

log = logging.getLogger(__name__)

BATCH_FAILED = "the vendor failed the whole batch"
UNCLEAR = "the reply about the whole batch gives no outcome for this data subject"


@dataclass(frozen=True)
class PollResult:
    """Counts of submissions, except `open_jobs`, `polls` and `failed_polls`. Times are in ISO 8601."""

    ended: int
    ready: int
    planned_again: int
    open_jobs: int
    oldest_submitted_at: str | None
    next_poll_at: str | None
    polls: int
    failed_polls: int
    not_reached: int = 0  # of the open jobs: the window ended before a poll that was due


def next_poll(
    db: Database,
    settings: AccountSettings,
    since: datetime,
    *,
    request_pks: Sequence[int] | None = None,
    shard: Shard = WHOLE,
) -> datetime | None:
    """Returns the time of the first call if polling starts at `since`. None if no job is open."""
    jobs = vendor_jobs.open_jobs(db, settings.account, request_pks=request_pks, shard=shard)
    position = vendor_jobs.poll_position(db, settings.account, shard)
    schedule, begin = _schedule(settings, since, position), since.timestamp() - FIRST_POLL_SPREAD
    first = min((schedule.first(id, at.timestamp(), begin) for id, _, at, *_ in jobs), default=None)
    return None if first is None else datetime.fromtimestamp(first, UTC)


async def poll_open_jobs(work: AccountWork, *, since: datetime, until: datetime) -> PollResult:
    """Polls the open jobs. Stops when the next poll would be due after `until`.

    No call starts after `until`. The next window begins with the jobs that this window did not reach.

    Raises CredentialsRefused if the vendor refuses our credentials. Raises ConfigurationError if the vendor
    knows none of the jobs. Raises OperatorActionRequired if outcomes of the account wait for an operator.
    """
    with work.naming_the_connection():
        async with outcomes_checked(work), replies_remembered(work):
            return await _Poll(work, since, until).run(await open_jobs(work))


async def open_jobs(work: AccountWork) -> list[JobRow]:
    """Returns the open jobs of this work, oldest first."""
    return await work.ledger(
        vendor_jobs.open_jobs, work.account, request_pks=work.request_pks, shard=work.shard
    )


async def poll_while_waiting(
    work: AccountWork, jobs: Sequence[JobRow], *, since: datetime, after: datetime, until: datetime
) -> None:
    """Polls these jobs for a stage that waits. Makes the polls that are due from `after` to `until`.

    `since` is the time when the stage began. Raises ConfigurationError as `poll_open_jobs` does.
    """
    await _Poll(work, since, until, after).run(jobs)


def _schedule(settings: AccountSettings, since: datetime, position: float) -> PollSchedule:
    return PollSchedule(settings.poll_min_seconds, settings.poll_max_seconds, since.timestamp(), position)


Due = tuple[float, bool, JobRow]  # when, and whether the job was polled in this window before


class _Poll(JobStage):
    state, verb = State.SUBMITTED, "ended"
    failures, gave_up = POLL_FAILURES, POLL_GAVE_UP

    def __init__(
        self, work: AccountWork, since: datetime, until: datetime, after: datetime | None = None
    ) -> None:
        super().__init__(work)
        self._since, self._until = since, until.timestamp()
        # If polling was interrupted, the polls that were missed by more than this are skipped.
        self._after = after.timestamp() if after else work.clock().timestamp() - FIRST_POLL_SPREAD
        self._due: list[Due] = []  # a heap
        self._later: list[Due] = []
        self._not_reached: list[Due] = []
        self._ending: list[Due] = []  # the end of the run decides
        self._foreign: UnexpectedAnswer | None = None
        self._polls = self._failed_polls = 0

    async def run(self, jobs: Sequence[JobRow]) -> PollResult:
        work = self._work
        position = await work.ledger(vendor_jobs.poll_position, work.account, work.shard)
        self._schedule = schedule = _schedule(work.settings, self._since, position)
        self._due = await asyncio.to_thread(
            lambda: [(schedule.first(row[0], row[2].timestamp(), self._after), False, row) for row in jobs]
        )
        heapq.heapify(self._due)
        if self._due and self._due[0][0] <= self._until:
            log.info("%s: polling %s open jobs", work.account, f"{len(jobs):,}")
        await self._run_workers(self._poll_jobs, len(jobs))
        if self._endings.left_open:
            self._later += self._ending
        if self._refusals.first:
            raise self._refusals.first
        await self._remember_position()
        if not self._evidence.has_answered and (self._endings.unknown or self._foreign):
            raise ConfigurationError(await none_found(work, self._endings.unknown, self._foreign))
        return self._result()

    async def _remember_position(self) -> None:
        unpolled = [due for due in self._not_reached if not due[1]]
        if unpolled:
            _, _, (job_id, *_) = min(unpolled)
            work = self._work
            place = self._schedule.place(job_id)
            await work.ledger(vendor_jobs.put_poll_position, work.account, work.shard, place)

    async def _poll_jobs(self) -> None:
        while self._due:
            due = heapq.heappop(self._due)
            at, _, row = due
            if at > self._until:
                self._later.append(due)
                continue
            job = OpenJob.of(row)
            if (wait := at - self._work.clock().timestamp()) > 0:
                await asyncio.sleep(wait)
            try:
                moves = await self._poll(job)
            except WindowOver:
                self._not_reached.append(due)
                continue
            except ConfigurationError as error:
                self._refused(error)
                moves = self._failed(job, None)
                (self._later if moves is None else self._ending).append(due)
                continue
            if moves is not None:
                await self._done(moves)
                if not moves:
                    self._ending.append(due)
            else:
                now = self._work.clock().timestamp()
                again = self._schedule.next(job.job_id, job.submitted_at.timestamp(), now)
                heapq.heappush(self._due, (again, True, row))

    async def _poll(self, job: OpenJob) -> list[Move] | None:
        """Polls one job. Returns the moves of its submissions. None if the job must be polled again."""
        work = self._work
        self._polls += 1
        within = self._until - work.clock().timestamp()
        try:
            reply = await work.client.send(work.vendor.status(work.settings, job.job_id), within=within)
            status = await self._parse(reply, lambda: self._read(job, reply))
        except WindowOver:
            self._polls -= 1
            raise
        except ConfigurationError:
            raise
        except Exception as error:
            return self._after_error(job, error)
        self._answered(job)
        return await self._outcomes(job, status) if status.ended else self._failed(job, None)

    def _read(self, job: OpenJob, reply: HttpReply) -> JobStatus:
        self._observe(reply, job.job_id, job.action)
        status = self._work.vendor.read_status(job.action, reply)
        self._work.vendor.check_job(job.job_id, reply)
        return status

    def _after_error(self, job: OpenJob, error: Exception) -> list[Move] | None:
        if isinstance(error, UnexpectedAnswer):
            self._foreign = error
        if not isinstance(error, JobUnknown):
            self._failed_polls += 1
            log.warning("%s: could not read the status of a job: %s", self._work.account, describe(error))
        return self._failed(job, error)

    def _failed(self, job: OpenJob, error: Exception | None) -> list[Move] | None:
        """Returns the moves for a failed job. None if the job must be polled again.

        Returns an empty list if the end of the stage decides about the job.
        """
        failure = self._failure(error, job, job.submitted_at, is_batch=job.subject_count > 1)
        if failure is None:
            return None
        moves = _all(job, Outcome(State.FAILED, failure.reason))
        if failure.splits_batch:
            moves = _in_smaller_batches(job, moves, failure.reason)
        return self._ended(job, failure, moves)

    async def _outcomes(self, job: OpenJob, status: JobStatus) -> list[Move] | None:
        if not status.outcomes and status.outcome:
            return _retried(job, status, _all(job, status.outcome))
        identifier_of = self._work.vendor.identifier_of
        moves, unclear = [], []
        for member in await self._members.get(job.job_id):
            try:
                outcome = status.outcome_of(identifier_of(member.identifiers))
            except ProtocolError as error:
                if job.subject_count == 1:
                    return self._after_error(job, error)
                outcome = Outcome(State.FAILED, str(error))
                unclear.append(_move(member.submission, job, outcome))
            else:
                moves.append(_move(member.submission, job, outcome))
        return _retried(job, status, moves) + _in_smaller_batches(job, unclear, UNCLEAR)

    def _result(self) -> PollResult:
        moved, left = self._moved, self._later + self._not_reached
        oldest = min((submitted_at for _, _, (_, _, submitted_at, *_) in left), default=None)
        next_at = min((at for at, *_ in left), default=None)
        result = PollResult(
            ended=moved[State.COMPLETED] + moved[State.NO_DATA] + moved[State.FAILED],
            ready=moved[State.READY],
            planned_again=moved[State.PLANNED],
            open_jobs=len(left),
            oldest_submitted_at=oldest.isoformat(timespec="seconds") if oldest else None,
            next_poll_at=_iso(next_at) if next_at else None,
            polls=self._polls,
            failed_polls=self._failed_polls,
            not_reached=len(self._not_reached),
        )
        if self._polls:
            log.info("%s: %s", self._work.account, ", ".join(f"{k}: {v}" for k, v in asdict(result).items()))
        return result


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _all(job: OpenJob, outcome: Outcome) -> list[Move]:
    return [_move(s, job, outcome) for s in job.submissions]


def _move(submission: int, job: OpenJob, outcome: Outcome) -> Move:
    return Move(submission, outcome.state, outcome.reason, of_job=job.job_id)


def _retried(job: OpenJob, status: JobStatus, moves: list[Move]) -> list[Move]:
    """Returns the moves that send failed submissions again in smaller batches, because one bad id can fail
    a batch.
    """
    return _in_smaller_batches(job, moves, BATCH_FAILED) if status.retry_alone else moves


def _in_smaller_batches(job: OpenJob, moves: list[Move], reason: str) -> list[Move]:
    if job.subject_count == 1:
        return moves
    limit = smaller_batch(job.subject_count)
    return [
        replace(m, to=State.PLANNED, reason=reason, batch_limit=limit) if m.to is State.FAILED else m
        for m in moves
    ]
