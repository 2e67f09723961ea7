"""Reconciles uncertain submissions: finds out whether the vendor accepted a call after its reply was lost.

The account's `on_uncertain` setting says how:

ask        Ask for the vendor's list of jobs. If our job is not in it, send again after a pause.
ask_job    We chose the job's id, so ask for this job. If it does not exist, send again after a pause.
next_day   Send again on the next UTC day, when the vendor's daily limit for the identifier has ended.
           The vendor may have accepted the lost call, but we cannot poll its job without an id.
repeat     Send again after a pause. A second call does no harm.
hold       Leave the submission to an operator.

The pause doubles with each uncertain attempt. After MAX_UNCERTAIN_ATTEMPTS an operator must decide.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta

from include.dsar.errors import ConfigurationError, JobUnknown, VendorBusy, describe
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.batch_size import smaller_batch
from include.dsar.ledger.transitions import Move, move
from include.dsar.ledger.uncertain import UncertainSubmission, not_reconciled, uncertain_submissions
from include.dsar.model import State
from include.dsar.sending.calls import next_utc_day, start_of_utc_day
from include.dsar.vendors.reply_shape import Route
from include.dsar.vendors.vendor import ListedJob, OnUncertain, Vendor

log = logging.getLogger(__name__)

FIRST_PAUSE = timedelta(seconds=60)  # by then the vendor lists the job, if it accepted the call
MAX_PAUSE = timedelta(hours=12)
MIN_TIME_TO_NEXT = timedelta(seconds=10)
TOO_LONG = timedelta(hours=12)  # an earlier run failed too, so this is an error
CLOCK_SKEW = timedelta(minutes=2)  # between the vendor's clock and ours

LIST = "the vendor's list of jobs"
JOB = "the status of the job"
FOUND = "found in the vendor's list of jobs"
NOT_FOUND = "it is not in the vendor's list of jobs: sent again"
FOUND_JOB = "the reply was lost, but the vendor has the job"
NO_JOB = "the reply was lost, and the vendor does not have the job: sent again"
REPEATED = "the reply was lost: sent again after a pause, because a second call does no harm"
NEXT_DAY = "the reply was lost: sent again on the next UTC day, to get a job id"


async def reconcile(work: AccountWork) -> datetime | None:
    """Reconciles the submissions that can be reconciled now. Returns the time of the next attempt. None if
    no attempt is left.

    Raises CredentialsRefused or ConfigurationError if the vendor rejects our question.
    """
    uncertain = await work.ledger(uncertain_submissions, work.account, request_pks=work.request_pks)
    if not uncertain:
        return None
    now = work.clock()
    policy = OnUncertain(work.settings.on_uncertain)
    moves = await _RESOLVE[policy](work, uncertain, now) if policy in _RESOLVE else []
    resolved = await work.ledger(move, moves, leave=State.UNCERTAIN, now=now)
    if resolved:
        log.info("%s: reconciled %d of %d uncertain submissions", work.account, len(resolved), len(uncertain))
    left = [u for u in uncertain if u.subject.submission not in resolved and not u.is_stuck]
    if not left or policy not in _RESOLVE:
        return None
    if policy is OnUncertain.NEXT_DAY:
        return next_utc_day(now)
    return min(max(u.since + _pause(u), now + MIN_TIME_TO_NEXT) for u in left)


async def _ask(work: AccountWork, uncertain: Sequence[UncertainSubmission], now: datetime) -> list[Move]:
    try:
        reply = await work.client.send(work.vendor.listing(work.settings))
        work.replies.observe(work.vendor, Route.LIST, reply, about=LIST)
        jobs = work.vendor.read_listing(reply)
    except Exception as error:
        await _stay_uncertain(work, uncertain, now, LIST, error)
        return []
    moves = []
    for one in uncertain:
        if job := _find(work.vendor, one, jobs):
            moves.append(
                Move(
                    one.subject.submission,
                    State.SUBMITTED,
                    FOUND,
                    job_id=job.job_id,
                    since=one.since,
                    submitted_at=min(job.requested_at, now),  # the vendor's clock may be ahead
                )
            )
        elif _may_repeat(one, now):
            moves.append(_again(one, NOT_FOUND))
    return moves


async def _stay_uncertain(
    work: AccountWork, uncertain: Sequence[UncertainSubmission], now: datetime, what: str, error: Exception
) -> None:
    """Records for the report why these submissions stay uncertain. If the reason is a ConfigurationError,
    raises this error again.
    """
    why = f"{what} could not be read ({describe(error)})"
    await work.ledger(not_reconciled, [one.subject.submission for one in uncertain], why)
    if isinstance(error, VendorBusy):
        work.client.honour(error)
    if isinstance(error, ConfigurationError):
        raise error
    since = min(one.since for one in uncertain)
    log.log(
        logging.ERROR if since < now - TOO_LONG else logging.WARNING,
        "%s: %s, so %d submissions stay uncertain, the oldest since %s. Check connection %s, and whether the "
        "vendor's API has changed.",
        work.account, why, len(uncertain), f"{since:%Y-%m-%d %H:%M} UTC", work.settings.connection,
    )  # fmt: skip


async def _ask_job(work: AccountWork, uncertain: Sequence[UncertainSubmission], now: datetime) -> list[Move]:
    moves = []
    for one in uncertain:
        job_id = work.vendor.job_id_of(work.settings, one.subject)
        try:
            reply = await work.client.send(work.vendor.status(work.settings, job_id))
            work.replies.observe(work.vendor, Route.STATUS, reply, about=job_id, action=one.action)
            work.vendor.read_status(one.action, reply)
        except JobUnknown:
            if _may_repeat(one, now):
                moves.append(_again(one, NO_JOB))
        except Exception as error:
            await _stay_uncertain(work, [one], now, JOB, error)
            if isinstance(error, VendorBusy):
                break
        else:
            moves.append(
                Move(one.subject.submission, State.SUBMITTED, FOUND_JOB, job_id=job_id, since=one.since)
            )
    return moves


async def _repeat(work: AccountWork, uncertain: Sequence[UncertainSubmission], now: datetime) -> list[Move]:
    """Returns the move that sends a submission again. The first repeat keeps the batch. Each later repeat
    splits the batch, because one bad id may spoil every reply.
    """
    size = work.settings.users_per_call
    return [
        _again(u, REPEATED, smaller_batch(size, u.attempts - 1) if u.attempts > 1 else None)
        for u in uncertain
        if _may_repeat(u, now)
    ]


async def _next_day(work: AccountWork, uncertain: Sequence[UncertainSubmission], now: datetime) -> list[Move]:
    today = start_of_utc_day(now)
    return [_again(u, NEXT_DAY) for u in uncertain if u.attempted_at < today and not u.is_stuck]


Resolve = Callable[[AccountWork, Sequence[UncertainSubmission], datetime], Awaitable[list[Move]]]
_RESOLVE: Mapping[OnUncertain, Resolve] = {
    OnUncertain.ASK: _ask,
    OnUncertain.ASK_JOB: _ask_job,
    OnUncertain.REPEAT: _repeat,
    OnUncertain.NEXT_DAY: _next_day,
}


def _find(vendor: Vendor, uncertain: UncertainSubmission, jobs: Sequence[ListedJob]) -> ListedJob | None:
    """Returns the job that works on this submission. Jobs are compared by the request times that the vendor
    reports.

    A job is ignored if it was requested before our request was planned. Such a job may belong to another
    request or system. It also does not cover data that arrived after the job was requested. A job that
    ended before our call is ignored too.
    """
    planned, attempted = uncertain.planned_at - CLOCK_SKEW, uncertain.attempted_at - CLOCK_SKEW
    whose = vendor.identifier_of(uncertain.subject.identifiers)
    candidates = [
        job
        for job in jobs
        if job.action is uncertain.action
        and vendor.identifier_of(job.identifiers) == whose
        and job.requested_at >= (planned if job.running else max(planned, attempted))
    ]
    return max(candidates, key=lambda job: job.requested_at, default=None)


def _may_repeat(uncertain: UncertainSubmission, now: datetime) -> bool:
    return not uncertain.is_stuck and uncertain.since + _pause(uncertain) <= now


def _pause(uncertain: UncertainSubmission) -> timedelta:
    return min(FIRST_PAUSE * 2.0 ** (uncertain.uncertain_count - 1), MAX_PAUSE)


def _again(uncertain: UncertainSubmission, reason: str, batch_limit: int | None = None) -> Move:
    return Move(
        uncertain.subject.submission, State.PLANNED, reason, since=uncertain.since, batch_limit=batch_limit
    )
