"""Await: looks at the open jobs of an account until none is due any more before the watch ends.

Runs in the triggerer: it takes its state from the ledger, writes guarded updates only, never POSTs,
and may be broken off at any moment and started again.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from include.dsar.accounts import WHOLE, AccountSettings, Shard
from include.dsar.errors import ConfigurationError, DsarError, JobUnknown, ProtocolError, VendorBusy
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.lookups import Lookups
from include.dsar.execution.poll_schedule import PollSchedule
from include.dsar.execution.progress import Progress
from include.dsar.execution.recorder import Recorder
from include.dsar.execution.refusals import Refusals
from include.dsar.http.messages import HttpReply
from include.dsar.ledger import vendor_jobs
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.ledger.vendor_jobs import JobRow, Member, OpenJob
from include.dsar.model import Outcome, State
from include.dsar.vendors.vendor import JobStatus

log = logging.getLogger(__name__)

UNREADABLE_GRACE = timedelta(days=1)  # then it may be one person's record that spoils the reply about a batch
UNKNOWN_GRACE = timedelta(hours=1)  # a young job that the vendor does not know may only be slow to appear
BATCH_SHRINKS_BY = 10  # what a failed batch held is sent again in batches of a tenth
LARGE_REPLY = 128 * 1024  # bytes; parsed in a thread, so that the event loop goes on

JOB_FORGOTTEN = "the vendor does not know the job (any more)"
BATCH_FAILED = "the vendor failed the whole batch"
UNREADABLE = "no reply about the whole batch could be read for a day"


@dataclass(frozen=True)
class PollResult:
    """How a watch ended. Counts of submissions, but for `polls` and `failed_polls`."""

    ended: int
    ready: int
    planned_again: int
    open_jobs: int
    oldest_submitted_at: str | None
    next_poll_at: str | None
    polls: int
    failed_polls: int


def next_poll(
    db: Database,
    settings: AccountSettings,
    since: datetime,
    *,
    request_pks: Sequence[int] | None = None,
    shard: Shard = WHOLE,
) -> datetime | None:
    """When a watch that begins now would poll the first open job; None where no job is open."""
    jobs = vendor_jobs.open_jobs(db, settings.account, request_pks=request_pks, shard=shard)
    schedule, now = _schedule(settings, since), since.timestamp()
    first = min((schedule.first(id, at.timestamp(), now) for id, _, at, *_ in jobs), default=None)
    return None if first is None else datetime.fromtimestamp(first, UTC)


async def poll_open_jobs(work: AccountWork, *, since: datetime, until: datetime) -> PollResult:
    """Polls until no open job is due before `until`. Raises CredentialsRefused."""
    with work.naming_the_connection():
        return await _PollRun(work, since, until).run()


def _schedule(settings: AccountSettings, since: datetime) -> PollSchedule:
    return PollSchedule(settings.poll_min_seconds, settings.poll_max_seconds, since.timestamp())


class _PollRun:
    def __init__(self, work: AccountWork, since: datetime, until: datetime) -> None:
        self._work = work
        self._until = until.timestamp()
        self._schedule = _schedule(work.settings, since)
        self._due: list[tuple[float, JobRow]] = []  # a heap
        self._later: list[tuple[float, JobRow]] = []
        self._recorder = Recorder(self._record)
        self._members = Lookups(self._look_up)
        self._refusals = Refusals()
        self._moved: Counter[State] = Counter()
        self._polls = self._failed_polls = 0

    async def run(self) -> PollResult:
        work = self._work
        jobs = await work.ledger(
            vendor_jobs.open_jobs, work.db, work.account, request_pks=work.request_pks, shard=work.shard
        )
        now = work.clock().timestamp()
        self._due = await asyncio.to_thread(
            lambda: [(self._schedule.first(row[0], row[2].timestamp(), now), row) for row in jobs]
        )
        heapq.heapify(self._due)
        log.info("%s: watching %s open jobs", work.account, f"{len(jobs):,}")
        self._progress = Progress(work.account, "ended", len(jobs))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(work.settings.max_concurrency, len(jobs))):
                    group.create_task(self._poll_jobs())
        except ExceptionGroup as group_error:  # one refusal is every worker's: the first says it all
            raise group_error.exceptions[0] from None
        finally:
            await self._recorder.close()
        if self._refusals.first:
            raise self._refusals.first
        return self._ended()

    async def _poll_jobs(self) -> None:
        while self._due:
            at, row = heapq.heappop(self._due)
            if at > self._until:
                self._later.append((at, row))
                continue
            job = OpenJob.of(row)
            if (wait := at - self._work.clock().timestamp()) > 0:
                await asyncio.sleep(wait)
            try:
                moves = await self._poll(job)
            except ConfigurationError as error:
                self._refusals.add(error)
                self._later.append((at, row))
                continue
            if moves is not None:
                await self._recorder.add(moves)
                self._progress.advance(1)
            else:
                now = self._work.clock().timestamp()
                due = self._schedule.next(job.job_id, job.submitted_at.timestamp(), now)
                heapq.heappush(self._due, (due, row))

    async def _poll(self, job: OpenJob) -> list[Move] | None:
        """Looks at one job. None: it runs on, or could not be read."""
        work = self._work
        age = work.clock() - job.submitted_at
        self._polls += 1
        try:
            reply = await work.client.send(work.vendor.status(work.settings, job.job_id))
            status = await _read(work, job, reply)
        except JobUnknown:
            forgotten = Outcome(State.FAILED, JOB_FORGOTTEN)
            return _all(job, forgotten) if age > UNKNOWN_GRACE else None
        except ConfigurationError:
            raise
        except Exception as error:
            if isinstance(error, VendorBusy):
                work.client.honour(error)
            return self._unread(job, error)
        self._refusals.answered()
        return await self._outcomes(job, status) if status.ended else self._give_up(job)

    def _unread(self, job: OpenJob, error: Exception) -> list[Move] | None:
        self._failed_polls += 1
        told = str(error) if isinstance(error, DsarError) else type(error).__name__
        log.warning("%s: a status could not be read: %s", self._work.account, told)
        age = self._work.clock() - job.submitted_at
        if isinstance(error, ProtocolError) and job.subject_count > 1 and age > UNREADABLE_GRACE:
            return self._in_smaller_batches(job, _all(job, Outcome(State.FAILED)), UNREADABLE)
        return self._give_up(job)

    def _give_up(self, job: OpenJob) -> list[Move] | None:
        """A job that never ends gets an outcome all the same."""
        limit = timedelta(days=self._work.settings.give_up_after_days)
        too_old = Outcome(State.FAILED, f"no end after {limit / timedelta(days=1):g} days")
        return _all(job, too_old) if self._work.clock() - job.submitted_at > limit else None

    async def _outcomes(self, job: OpenJob, status: JobStatus) -> list[Move] | None:
        if not status.outcomes and status.outcome:
            return self._shrink(job, status, _all(job, status.outcome))
        identifier_of = self._work.vendor.identifier_of
        members = await self._members.get(job.job_id)
        try:
            outcomes = [(m, status.outcome_of(identifier_of(m.identifiers))) for m in members]
        except ProtocolError as error:
            return self._unread(job, error)
        return self._shrink(job, status, [_move(m.submission, job, v) for m, v in outcomes])

    async def _look_up(self, job_ids: Sequence[str]) -> Mapping[str, list[Member]]:
        work = self._work
        return await work.ledger(vendor_jobs.members, work.db, work.account, job_ids, state=State.SUBMITTED)

    def _shrink(self, job: OpenJob, status: JobStatus, moves: list[Move]) -> list[Move]:
        """One bad id may fail a whole batch: those that failed are sent once more, in smaller ones."""
        return self._in_smaller_batches(job, moves, BATCH_FAILED) if status.retry_alone else moves

    def _in_smaller_batches(self, job: OpenJob, moves: list[Move], reason: str) -> list[Move]:
        if job.subject_count == 1:
            return moves
        smaller = max(job.subject_count // BATCH_SHRINKS_BY, 1)
        return [
            replace(m, to=State.PLANNED, reason=reason, batch_limit=smaller) if m.to is State.FAILED else m
            for m in moves
        ]

    async def _record(self, moves: list[Move]) -> None:
        work = self._work
        moved = await work.ledger(move, work.db, moves, leave=State.SUBMITTED, now=work.clock())
        self._moved.update(m.to for m in moves if m.submission in moved)

    def _ended(self) -> PollResult:
        moved = self._moved
        oldest = min((submitted_at for _, (_, _, submitted_at, *_) in self._later), default=None)
        next_at = min((at for at, _ in self._later), default=None)
        result = PollResult(
            ended=moved[State.COMPLETED] + moved[State.NO_DATA] + moved[State.FAILED],
            ready=moved[State.READY],
            planned_again=moved[State.PLANNED],
            open_jobs=len(self._later),
            oldest_submitted_at=oldest.isoformat(timespec="seconds") if oldest else None,
            next_poll_at=_iso(next_at) if next_at else None,
            polls=self._polls,
            failed_polls=self._failed_polls,
        )
        log.info("%s: %s", self._work.account, ", ".join(f"{k}: {v}" for k, v in asdict(result).items()))
        return result


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


async def _read(work: AccountWork, job: OpenJob, reply: HttpReply) -> JobStatus:
    if len(reply.body) < LARGE_REPLY:
        return work.vendor.read_status(job.action, reply)
    return await asyncio.to_thread(work.vendor.read_status, job.action, reply)


def _all(job: OpenJob, outcome: Outcome) -> list[Move]:
    return [_move(s, job, outcome) for s in job.submissions]


def _move(submission: int, job: OpenJob, outcome: Outcome) -> Move:
    return Move(submission, outcome.state, outcome.reason, of_job=job.job_id)
