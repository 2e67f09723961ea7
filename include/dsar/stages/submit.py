"""Submit: claims what is planned for an account, due soonest first, and POSTs it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from include.dsar.errors import (
    AccountQuota,
    AlreadyRunning,
    ConfigurationError,
    DsarError,
    IdentifierQuota,
    NotTaken,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    VendorBusy,
    VendorUnavailable,
)
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.progress import Progress
from include.dsar.execution.recorder import Recorder
from include.dsar.ledger import claiming, uncertain
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import State
from include.dsar.sending.calls import Call, Calls, next_utc_day
from include.dsar.sending.reconcile import reconcile
from include.dsar.sending.refused_calls import RefusedCalls

log = logging.getLogger(__name__)

STRIKES = 50  # in a row, after which the account is left alone
BUSY_STRIKES, LOST_STRIKES = 1, 5  # of a vendor that asks for patience; of one that gives no usable answer
PATIENCE = timedelta(minutes=5)  # that a run waits for postponed submissions, altogether
BACKOFF = timedelta(seconds=5)  # after a call that was not taken, where the vendor names no time
OTHER_JOB_PAUSE = timedelta(hours=1)  # before a person is sent again on whom the vendor does other work
BATCH_SHRINKS_BY = 10  # what a refused batch held is sent again in batches of a tenth

QUOTA_USED = "the quota of the day is used up"
PROBABLY_TAKEN = "the vendor has had this identifier today, probably by the call whose reply was lost"
OTHER_JOB = "the vendor is at work on this person, and its list holds no job of ours: later"
AFTER_DOUBT = "sent again, since an earlier call was in doubt"


@dataclass(frozen=True)
class Submitted:
    """What a submit stage did, as counts of submissions; one sent twice counts twice."""

    submitted: int
    shared: int  # joined the job of another request of the same person
    rejected: int
    postponed: int
    uncertain: int
    calls: int
    left: int  # still planned, for a later run
    quota_used: bool


async def submit(work: AccountWork) -> Submitted:
    """Submits all that may be sent now.

    Ends normally where the account's quota of the day is used up: what does not fit stays planned.
    Raises CredentialsRefused or ConfigurationError, with nothing marked as tried, where a person
    must mend the account's connection; RequestsRefused where some calls were refused so and others
    were not; VendorUnavailable where the vendor gives no usable answer.
    """
    with work.naming_the_connection():
        return await _Submit(work).run()


class _Submit:
    def __init__(self, work: AccountWork) -> None:
        self._work = work
        self._worker = 0
        self._calls: Calls
        self._recorder: Recorder
        self._progress: Progress
        self._strikes = 0
        self._quota_used = False
        self._stopped_by: Exception | None = None
        self._refused = RefusedCalls(work)
        self._moved: Counter[State] = Counter()
        self._shared = 0

    async def run(self) -> Submitted:
        work = self._work
        self._worker = await work.ledger(claiming.register, work.db)
        abandoned = await work.ledger(
            uncertain.mark_abandoned, work.db, work.account, worker=self._worker, now=work.clock()
        )
        if abandoned:
            log.warning("%s: a worker died: %d submissions are uncertain", work.account, abandoned)
        await reconcile(work)
        waited = timedelta()
        while True:
            await self._send_planned()
            if self._stopped_by or self._quota_used:
                break
            wait = await self._time_to_wait()
            if wait is None or waited + wait > PATIENCE:
                break
            log.info("%s: waiting %.0f s for postponed submissions", work.account, wait.total_seconds())
            waited += wait
            await asyncio.sleep(wait.total_seconds())
        return await self._finish()

    async def _send_planned(self) -> None:
        work = self._work
        self._shared += await work.ledger(
            claiming.share_jobs, work.db, work.account, now=work.clock(), request_pks=work.request_pks
        )
        planned = await work.ledger(
            claiming.planned_counts, work.db, work.account, request_pks=work.request_pks
        )
        if not planned:
            return
        log.info(
            "%s: to send%s: %s; at most %g calls a second, %d at a time",
            work.account,
            "" if work.shard.of == 1 else f" ({work.shard}, which take from the same)",
            ", ".join(f"{n:,} {action}" for action, n in sorted(planned.items())),
            work.settings.requests_per_second,
            work.settings.max_concurrency,
        )
        self._calls = Calls(work, self._worker)
        self._recorder = Recorder(self._record)
        self._progress = Progress(work.account, "sent", sum(planned.values()) // work.shard.of)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(work.settings.max_concurrency):
                    group.create_task(self._send_calls())
            await self._refused.find_out()
        finally:
            await self._recorder.close()
            unsent = [Move(s.submission, State.PLANNED, untried=True) for s in self._calls.close()]
            await self._record([*unsent, *self._refused.moves()])
        self._stopped_by = self._stopped_by or self._refused.error()
        self._quota_used = self._quota_used or self._calls.quota_used

    async def _send_calls(self) -> None:
        try:
            while not self._is_over and (call := await self._calls.next()):
                moves = await self._send(call)
                await self._recorder.add(moves)
                self._progress.advance(len(moves))
        except Exception as error:  # the ledger's; the others end their calls
            self._stopped_by = self._stopped_by or error

    @property
    def _is_over(self) -> bool:
        return bool(self._stopped_by or self._quota_used or self._refused.are_too_many)

    async def _send(self, call: Call) -> list[Move]:
        """Makes one call, and says what follows from it for each of its submissions."""
        work = self._work
        if self._refused.puts_off(call):
            return []
        try:
            request = work.vendor.create(work.settings, call.action, call.subjects)
        except Exception as error:  # one request that no call can be made of stops no other
            return _refused(call, Refused(f"no call can be made of it ({type(error).__name__})"))
        try:
            reply = await work.client.send(request)
            job_id = work.vendor.read_created(reply)
        except ConfigurationError as error:
            self._refused.add(call, reply.status, error)
            return []
        except Refused as error:
            self._strikes = 0
            return _refused(call, error)
        except IdentifierQuota as error:
            self._strikes = 0
            return _had_today(call, error, tomorrow=next_utc_day(work.clock()))
        except AccountQuota as error:
            self._strikes = 0
            self._quota_used = True
            return _moves(call, State.PLANNED, str(error), not_before=next_utc_day(work.clock()))
        except NotTaken as error:
            if isinstance(error, VendorBusy):
                work.client.honour(error)
            self._strike(error, BUSY_STRIKES if isinstance(error, VendorBusy) else LOST_STRIKES)
            pause = timedelta(seconds=error.retry_after or 0)
            return _moves(call, State.PLANNED, str(error), not_before=work.clock() + max(pause, BACKOFF))
        except AlreadyRunning as error:
            self._strikes = 0
            return _running(call, error, later=work.clock() + OTHER_JOB_PAUSE)
        except (OutcomeUnknown, ProtocolError) as error:
            self._strike(error, LOST_STRIKES)
            return _moves(call, State.UNCERTAIN, str(error))
        except Exception as error:  # the vendor may have taken the call whose reply we stumble over
            return _moves(call, State.UNCERTAIN, f"its reply could not be read ({type(error).__name__})")
        self._strikes = 0
        self._refused.answered()
        return [
            Move(
                claim.subject.submission,
                State.SUBMITTED,
                claim.doubt and f"{AFTER_DOUBT}: {claim.doubt}",
                job_id=job_id,
            )
            for claim in call.claims
        ]

    def _strike(self, error: DsarError, strikes: int) -> None:
        self._strikes += strikes
        if self._strikes >= STRIKES and not self._stopped_by:
            self._stopped_by = VendorUnavailable(
                f"{self._work.account}: no usable answer to many calls in a row, the last: {error}. "
                "What was not sent stays planned; a retry, or the next run, goes on."
            )

    async def _record(self, moves: list[Move]) -> None:
        work, now = self._work, self._work.clock()
        moved = await work.ledger(move, work.db, moves, leave=State.SUBMITTING, now=now, worker=self._worker)
        self._moved.update(m.to for m in moves if m.submission in moved and not m.untried)
        lost = [m for m in moves if m.submission not in moved]
        if lost:  # our session broke and another worker doubted what we held: we know better
            known = [m for m in lost if m.to is State.SUBMITTED]
            found = await work.ledger(move, work.db, known, leave=State.UNCERTAIN, now=now)
            told = "%s: %d submissions had left our hands, %d of them recorded all the same"
            log.warning(told, work.account, len(lost), len(found))

    async def _time_to_wait(self) -> timedelta | None:
        """Until something can be sent or settled again; None where nothing is left to wait for."""
        work, now = self._work, self._work.clock()
        doubts_at = await reconcile(work)
        planned_at = await work.ledger(
            claiming.next_planned_at,
            work.db,
            work.account,
            now=now,
            request_pks=work.request_pks,
            one_job_per_subject=work.vendor.one_job_per_subject,
        )
        times = [at for at in (planned_at, doubts_at) if at is not None]
        return max(min(times) - now, timedelta(seconds=1)) if times else None

    async def _finish(self) -> Submitted:
        work = self._work
        if self._stopped_by:
            raise self._stopped_by
        left = await work.ledger(claiming.planned_counts, work.db, work.account, request_pks=work.request_pks)
        result = Submitted(
            submitted=self._moved[State.SUBMITTED],
            shared=self._shared,
            rejected=self._moved[State.REJECTED],
            postponed=self._moved[State.PLANNED],
            uncertain=self._moved[State.UNCERTAIN],
            calls=work.client.calls,
            left=sum(left.values()),
            quota_used=self._quota_used,
        )
        log.info("%s: %s", work.account, ", ".join(f"{k}: {v}" for k, v in asdict(result).items()))
        if self._quota_used:
            log.info("%s: %s; the rest stays planned for tomorrow", work.account, QUOTA_USED)
        return result


def _moves(
    call: Call,
    to: State,
    reason: str,
    *,
    not_before: datetime | None = None,
    batch_limit: int | None = None,
) -> list[Move]:
    return [
        Move(s.submission, to, reason, not_before=not_before, batch_limit=batch_limit) for s in call.subjects
    ]


def _had_today(call: Call, error: IdentifierQuota, *, tomorrow: datetime) -> list[Move]:
    """The vendor has had a call for this identifier today. Where an earlier one of ours is in doubt, it
    probably was that one, and stays in doubt: only a job of its own confirms it."""
    return [
        Move(c.subject.submission, State.UNCERTAIN, f"{error}: {PROBABLY_TAKEN}")
        if c.doubt
        else Move(c.subject.submission, State.PLANNED, str(error), not_before=tomorrow)
        for c in call.claims
    ]


def _running(call: Call, error: AlreadyRunning, *, later: datetime) -> list[Move]:
    """The job may be one that was asked for the same, which the vendor's list shows: in doubt until it was
    asked. Where it was, and does not hold one, the same answer speaks of a job for another action."""
    return [
        Move(c.subject.submission, State.PLANNED, f"{error}: {OTHER_JOB}", not_before=later)
        if c.doubt == str(error)
        else Move(c.subject.submission, State.UNCERTAIN, str(error))
        for c in call.claims
    ]


def _refused(call: Call, error: Refused) -> list[Move]:
    """Alone in its call a submission is rejected; a batch may suffer from one bad id, so it is split."""
    if len(call.subjects) == 1:
        return _moves(call, State.REJECTED, str(error))
    smaller = max(len(call.subjects) // BATCH_SHRINKS_BY, 1)
    return _moves(call, State.PLANNED, f"its batch was refused: {error}", batch_limit=smaller)
