"""Gives up batches that do not end, and plans their submissions again in smaller batches.

One data subject whose data the vendor cannot process may keep a whole batch open. The other data subjects
must not wait for this data subject. `submit` calls this first, so that the smaller batches are sent in the
same run.

A batch is given up if all of this is true:

1. It is older than usual: see `StuckBatches`.
2. It is an exception: other jobs were sent at the same time or later, and at least half of the last of
   these jobs have ended. If the vendor ends no job at all, smaller batches may not help. Then each run
   gives up only the oldest batch. If its smaller batches end, the next run gives up the other batches.
3. The vendor says now that the job is still running.

Then its submissions get new jobs. The result of the old job does not count any more, because the new jobs
ask for the same data later. `dsar.event` keeps the id of the old job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from include.dsar.accounts import StuckBatches
from include.dsar.errors import ConfigurationError, VendorBusy, describe
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.batch_size import smaller_batch
from include.dsar.ledger import stuck_jobs
from include.dsar.ledger.stuck_jobs import OpenBatch, RecentJob
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import Action, State
from include.dsar.vendors.vendor import OnUncertain

log = logging.getLogger(__name__)

SAME_TIME = timedelta(hours=1)  # jobs sent so much earlier count as sent together
COMPARED = 10  # jobs
ONE_RUN = timedelta(hours=26)  # a usual time up to this may be the wait for the next daily run
NOT_ENDED = "the batch had not ended after {hours:.0f} hours, and is sent again in smaller ones"


async def give_up_stuck_batches(work: AccountWork) -> int:
    """Plans the submissions of stuck batches again. Returns the number of these submissions. Raises no
    error of the vendor. Does nothing if the vendor accepts no batches, or if a second call could do
    harm.
    """
    if work.vendor.users_per_call == 1 or work.vendor.on_uncertain is not OnUncertain.REPEAT:
        return 0
    now = work.clock()
    batches = await work.ledger(
        stuck_jobs.open_batches,
        work.account,
        before=now - work.settings.stuck_batches.usual,
        request_pks=work.request_pks,
        shard=work.shard,
    )
    if not batches:
        return 0
    usual = {
        action: await _usual(work, action, now) for action in sorted({batch.action for batch in batches})
    }
    limits = work.settings.stuck_batches
    old = [batch for batch in batches if is_old(batch, usual[batch.action], limits, now)]
    if not old:
        return 0
    recent = await work.ledger(
        stuck_jobs.recent_jobs, work.account, since=old[0].submitted_at - 2 * SAME_TIME
    )
    return await _give_up(work, suspects(old, recent, usual, now), now)


async def _usual(work: AccountWork, action: Action, now: datetime) -> timedelta:
    seen = await work.ledger(stuck_jobs.usual_time, work.account, action, now=now)
    limits = work.settings.stuck_batches
    if seen and seen <= ONE_RUN:
        seen = min(seen, limits.longest)
    return max(seen or limits.usual, limits.usual)


def is_old(batch: OpenBatch, usual: timedelta, limits: StuckBatches, now: datetime) -> bool:
    """Returns whether the batch is so old that one of its data subjects may keep it open."""
    limit = min(usual * limits.times_usual, limits.longest)
    if batch.due_at - now <= limits.near_due:
        limit = usual
    return now - batch.submitted_at > max(limit, usual)


def suspects(
    old: Sequence[OpenBatch],
    recent: Sequence[RecentJob],
    usual: Mapping[Action, timedelta],
    now: datetime,
) -> list[OpenBatch]:
    """Returns the old batches to give up. If no old batch is an exception, returns only the oldest batch of
    each action.

    `recent` has the latest job first.
    """
    found: list[OpenBatch] = []
    for action in sorted(usual):
        jobs = [job for job in recent if job.action is action]
        of_action = [batch for batch in old if batch.action is action]
        stuck = [batch for batch in of_action if _is_exception(batch, jobs, usual[action], now)]
        found += stuck or of_action[:1]
    return found


def _is_exception(batch: OpenBatch, jobs: Sequence[RecentJob], usual: timedelta, now: datetime) -> bool:
    """Returns whether at least half of the last jobs have ended. Jobs that are still young do not count."""
    compared = [
        job.has_ended
        for job in jobs
        if job.job_id != batch.job_id
        and job.submitted_at >= batch.submitted_at - SAME_TIME
        and (job.has_ended or now - job.submitted_at > usual)
    ][:COMPARED]
    return any(compared) and 2 * sum(compared) >= len(compared)


async def _give_up(work: AccountWork, batches: Sequence[OpenBatch], now: datetime) -> int:
    calls = asyncio.Semaphore(work.settings.max_concurrency)
    has_stopped = False

    async def running(batch: OpenBatch) -> bool:
        """Returns whether the vendor says that the job is running. Any other reply is left to the poll."""
        nonlocal has_stopped
        async with calls:
            if has_stopped:
                return False
            try:
                reply = await work.client.send(work.vendor.status(work.settings, batch.job_id))
                status = work.vendor.read_status(batch.action, reply)
                work.vendor.check_job(batch.job_id, reply)
            except Exception as error:
                has_stopped = has_stopped or isinstance(error, ConfigurationError | VendorBusy)
                if isinstance(error, VendorBusy):
                    work.client.honour(error)
                log.warning("%s: could not ask for an old batch: %s", work.account, describe(error))
                return False
            return not status.ended

    answers = await asyncio.gather(*map(running, batches))
    stuck = [batch for batch, is_running in zip(batches, answers, strict=True) if is_running]
    moves = [
        Move(
            submission,
            State.PLANNED,
            NOT_ENDED.format(hours=(now - batch.submitted_at) / timedelta(hours=1)),
            of_job=batch.job_id,
            batch_limit=smaller_batch(batch.subject_count),
        )
        for batch in stuck
        for submission in batch.submissions
    ]
    moved = await work.ledger(move, moves, leave=State.SUBMITTED, now=now)
    if moved:
        log.warning(
            "%s: %d batches have not ended, the oldest since %s UTC. Their %d submissions are sent again, in "
            "batches a tenth of the size.",
            work.account,
            len(stuck),
            f"{stuck[0].submitted_at:%Y-%m-%d %H:%M}",
            len(moved),
        )
    return len(moved)
