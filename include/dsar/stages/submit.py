"""Submit: claims the planned submissions of an account, soonest due date first, and POSTs them.

Some submissions can be sent only a little later. While the stage waits for them, it polls the open jobs.
Sending and polling share one client, so that together they keep the account's rate.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

from include.dsar.errors import ConfigurationError, VendorBusy, VendorUnavailable
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.consecutive_errors import ConsecutiveErrors
from include.dsar.execution.observed_replies import replies_remembered
from include.dsar.execution.outcome_check import outcomes_checked
from include.dsar.execution.progress import Progress
from include.dsar.execution.recorder import Recorder
from include.dsar.execution.stuck_batches import give_up_stuck_batches
from include.dsar.execution.trust import AccountEvidence
from include.dsar.ledger import claiming, uncertain
from include.dsar.ledger.transitions import Move, move
from include.dsar.ledger.vendor_jobs import JobRow
from include.dsar.model import State
from include.dsar.sending.calls import Call, Calls
from include.dsar.sending.consequences import UNSENDABLE, consequence_of
from include.dsar.sending.reconcile import reconcile
from include.dsar.sending.refused_calls import RefusedCalls
from include.dsar.sending.refused_inputs import RefusedInputs
from include.dsar.stages.poll import open_jobs, poll_while_waiting
from include.dsar.vendors.reply_shape import Route

log = logging.getLogger(__name__)

MAX_STRIKES = 50  # in a row; then the stage stops calling the account
MAX_WAIT = timedelta(minutes=5)  # in total, for postponed submissions
MIN_WAIT = timedelta(seconds=1)

AFTER_UNCERTAIN = "sent again, because an earlier attempt was uncertain"


@dataclass(frozen=True)
class Submitted:
    """Counts of submissions. A submission that was sent twice counts twice."""

    submitted: int
    shared: int  # joined the job of another request of the same data subject
    rejected: int
    postponed: int
    uncertain: int
    calls: int
    left: int  # still planned, for a later run
    quota_used: bool


async def submit(work: AccountWork) -> Submitted:
    """Submits all planned submissions that may be sent now.

    Returns normally if the account's daily quota is used up. The other submissions stay planned. Raises
    CredentialsRefused or ConfigurationError if an operator must fix the account's connection. In this case,
    no call counts as an attempt. Raises RequestsRefused if the vendor refused only some of the calls.
    Raises VendorUnavailable if the vendor gave no usable answer to many calls in a row. Raises
    OperatorActionRequired if outcomes of the account wait for an operator.
    """
    with work.naming_the_connection():
        async with outcomes_checked(work), replies_remembered(work):
            return await _Submit(work).run()


class _Submit:
    def __init__(self, work: AccountWork) -> None:
        self._work = work
        self._worker = 0
        self._strikes = ConsecutiveErrors(MAX_STRIKES)
        self._quota_used = False
        self._stopped_by: Exception | None = None
        self._evidence = AccountEvidence(work)
        self._refused = RefusedCalls(work, self._evidence)
        self._inputs = RefusedInputs(work, self._evidence)
        self._moved: Counter[State] = Counter()
        self._shared = 0
        self._since = self._polled_until = work.clock()
        self._may_poll = True

    async def run(self) -> Submitted:
        work = self._work
        self._worker = await work.ledger(claiming.register)
        abandoned = await work.ledger(
            uncertain.mark_abandoned, work.account, worker=self._worker, now=work.clock()
        )
        if abandoned:
            log.warning("%s: a worker died. Its %d submissions are now uncertain.", work.account, abandoned)
        await give_up_stuck_batches(work)
        await reconcile(work)
        waited = timedelta()
        while True:
            await self._send_planned()
            if self._stopped_by or self._quota_used:
                break
            wait = await self._time_to_wait()
            if wait is None or waited + wait > MAX_WAIT:
                break
            jobs = await open_jobs(work) if self._may_poll else []
            if await self._share_jobs():  # before a poll can end these jobs
                continue
            log.info("%s: waiting %.0f s for postponed submissions", work.account, wait.total_seconds())
            waited += wait
            await self._wait(wait, jobs)
        return await self._finish()

    async def _wait(self, wait: timedelta, jobs: Sequence[JobRow]) -> None:
        """Polls these open jobs while nothing can be sent."""
        work, until = self._work, self._work.clock() + wait
        try:
            await poll_while_waiting(work, jobs, since=self._since, after=self._polled_until, until=until)
        except ConfigurationError as error:
            self._may_poll = False
            text = "%s: polling stops until await_completion (%s). Check connection %s."
            log.warning(text, work.account, error, work.settings.connection)
        self._polled_until = until
        left = min(until - work.clock(), wait)  # the clock may be set back
        await asyncio.sleep(left.total_seconds())

    async def _send_planned(self) -> None:
        work = self._work
        await self._share_jobs()
        planned = await work.ledger(claiming.planned_counts, work.account, request_pks=work.request_pks)
        if not planned:
            return
        log.info(
            "%s: %s to send%s; at most %g calls a second, %d at a time",
            work.account,
            ", ".join(f"{n:,} {action}" for action, n in sorted(planned.items())),
            "" if work.shard.of == 1 else f" by {work.shard.of} shards together; this is {work.shard}",
            work.settings.requests_per_second,
            work.settings.max_concurrency,
        )
        calls, recorder = Calls(work, self._worker), Recorder(self._record)
        progress = Progress(work.account, "sent", sum(planned.values()) // work.shard.of)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(work.settings.max_concurrency):
                    group.create_task(self._send_calls(calls, recorder, progress))
            await self._refused.find_cause()
            await self._inputs.find_cause()
        finally:
            await recorder.close()
            unsent = [Move(s.submission, State.PLANNED, untried=True) for s in calls.close()]
            await self._record([*unsent, *self._refused.moves(), *self._inputs.moves()])
        self._stopped_by = self._stopped_by or self._refused.error() or self._inputs.error()
        self._quota_used = self._quota_used or calls.quota_used

    async def _share_jobs(self) -> int:
        """Lets submissions share the jobs of other requests. Returns how many submissions share a job now."""
        work = self._work
        shared = await work.ledger(
            claiming.share_jobs, work.account, now=work.clock(), request_pks=work.request_pks
        )
        self._shared += shared
        return shared

    async def _send_calls(self, calls: Calls, recorder: Recorder, progress: Progress) -> None:
        try:
            while not self._is_over and (call := await calls.next()):
                moves = await self._send(call)
                await recorder.add(moves)
                progress.advance(len(moves))
        except Exception as error:  # from the ledger; the other coroutines finish their calls
            self._stopped_by = self._stopped_by or error

    @property
    def _is_over(self) -> bool:
        too_many = self._refused.are_too_many or self._inputs.are_too_many
        return bool(self._stopped_by or self._quota_used or too_many)

    async def _send(self, call: Call) -> list[Move]:
        """Makes one call. Returns the moves to record now. The decision about a refusal may wait until the
        end of the stage.
        """
        work = self._work
        if self._refused.postpones(call):
            return []
        try:
            request = work.vendor.create(work.settings, call.action, call.subjects)
        except Exception as error:  # one bad request must not stop the others
            return self._inputs.add(call, error, UNSENDABLE)
        status = 0
        try:
            reply = await work.client.send(request)
            status = reply.status
            about = call.subjects[0].submission
            work.replies.observe(work.vendor, Route.CREATE, reply, about=about, action=call.action)
            job_id = work.vendor.read_created(reply)
        except Exception as error:
            return self._after_error(call, status, error)
        self._strikes.reset()
        self._evidence.answered()
        self._refused.answered()
        return self._inputs.accepted() + [
            Move(
                claim.subject.submission,
                State.SUBMITTED,
                claim.uncertain_reason and f"{AFTER_UNCERTAIN}: {claim.uncertain_reason}",
                job_id=job_id,
            )
            for claim in call.claims
        ]

    def _after_error(self, call: Call, status: int, error: Exception) -> list[Move]:
        consequence = consequence_of(error)
        if consequence.suspects_credentials:
            self._refused.add(call, status, error)
            return []
        if isinstance(error, VendorBusy):
            self._work.client.honour(error)
        if consequence.ends_strikes:
            self._strikes.reset()
        self._strikes.add(error, consequence.strikes)
        if self._strikes.limit_reached and not self._stopped_by:
            self._stopped_by = VendorUnavailable(
                f"{self._work.account}: no usable answer to many calls in a row. Last error: {error}. "
                "The other submissions stay planned. A retry or the next run sends them."
            )
        self._quota_used = self._quota_used or consequence.uses_up_quota
        if consequence.suspects_input:
            return self._inputs.add(call, error, consequence)
        return consequence.moves(call, error, self._work.clock())

    async def _record(self, moves: list[Move]) -> None:
        work, now = self._work, self._work.clock()
        moved = await work.ledger(move, moves, leave=State.SUBMITTING, now=now, worker=self._worker)
        self._moved.update(m.to for m in moves if m.submission in moved and not m.untried)
        lost = [m for m in moves if m.submission not in moved]
        if lost:  # our session broke, and another worker marked our submissions as uncertain
            known = [m for m in lost if m.to is State.SUBMITTED]
            found = await work.ledger(move, known, leave=State.UNCERTAIN, now=now)
            text = "%s: another worker marked %d of our submissions as uncertain. %d of them are submitted."
            log.warning(text, work.account, len(lost), len(found))

    async def _time_to_wait(self) -> timedelta | None:
        """Returns how long to wait until a submission can be sent or reconciled. None if there is nothing
        to wait for.
        """
        work, now = self._work, self._work.clock()
        reconcile_at = await reconcile(work)
        planned_at = await work.ledger(
            claiming.next_planned_at,
            work.account,
            now=now,
            request_pks=work.request_pks,
            one_job_per_subject=work.vendor.one_job_per_subject,
        )
        times = [at for at in (planned_at, reconcile_at) if at is not None]
        return max(min(times) - now, MIN_WAIT) if times else None

    async def _finish(self) -> Submitted:
        work = self._work
        if self._stopped_by:
            raise self._stopped_by
        left = await work.ledger(claiming.planned_counts, work.account, request_pks=work.request_pks)
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
            log.info("%s: the daily quota is used up. Other submissions stay planned.", work.account)
        return result
