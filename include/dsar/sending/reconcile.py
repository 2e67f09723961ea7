"""Settling what is uncertain: did the vendor take the call whose reply was lost?

ask        the vendor lists what it has: found there, or (once a pause is over) sent again
next_day   sent again on the next UTC day, when the vendor's limit for the identifier is over; also where
           this limit said that the lost call was probably taken, since that call's job cannot be asked
repeat     sent again after a pause: repeating the call does no harm
hold       a person decides

Each further doubt about the same submission waits twice as long, and after MAX_UNCERTAIN_ATTEMPTS
of them an operator decides, so that a vendor with unreadable answers is not asked for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from include.dsar.errors import ConfigurationError, DsarError, VendorBusy
from include.dsar.execution.account_work import AccountWork
from include.dsar.ledger.transitions import Move, move
from include.dsar.ledger.uncertain import UncertainSubmission, uncertain_submissions
from include.dsar.model import State
from include.dsar.sending.calls import next_utc_day, start_of_utc_day
from include.dsar.vendors.vendor import ListedJob, OnUncertain

log = logging.getLogger(__name__)

BATCH_SHRINKS_BY = 10
PAUSE = timedelta(seconds=60)  # before a call whose reply was lost is believed not to have been taken
LONGEST_PAUSE = timedelta(hours=12)
CLOCK_SKEW = timedelta(minutes=2)  # between the vendor's clock and ours

FOUND = "found in the vendor's list"
NOT_FOUND = "in doubt, and the vendor's list does not hold it: sent again"
REPEATED = "its reply was lost: sent again after a pause, which does no harm here"
NEXT_DAY = "in doubt: sent again on the next UTC day, where a job of its own confirms it"


async def reconcile(work: AccountWork) -> datetime | None:
    """Settles what can be settled now. Returns when the next doubt can be, None where none is left.

    Raises CredentialsRefused where the vendor lets us not ask.
    """
    doubts = await work.ledger(uncertain_submissions, work.db, work.account, request_pks=work.request_pks)
    if not doubts:
        return None
    now = work.clock()
    policy = OnUncertain(work.settings.on_uncertain)
    moves: list[Move] = []
    if policy is OnUncertain.ASK:
        moves = await _ask(work, doubts, now)
    elif policy is OnUncertain.REPEAT:
        moves = [_repeat(d, work.settings.users_per_call) for d in doubts if _may_repeat(d, now)]
    elif policy is OnUncertain.NEXT_DAY:
        today = start_of_utc_day(now)
        moves = [_again(d, NEXT_DAY) for d in doubts if d.attempted_at < today and not d.is_stuck]
    settled = await work.ledger(move, work.db, moves, leave=State.UNCERTAIN, now=now)
    if settled:
        log.info("%s: settled %d of %d uncertain submissions", work.account, len(settled), len(doubts))
    left = [d for d in doubts if d.subject.submission not in settled and not d.is_stuck]
    if not left or policy is OnUncertain.HOLD:
        return None
    if policy is OnUncertain.NEXT_DAY:
        return next_utc_day(now)
    return min(max(d.since + _pause(d), now + PAUSE / 6) for d in left)


async def _ask(work: AccountWork, doubts: Sequence[UncertainSubmission], now: datetime) -> list[Move]:
    try:
        reply = await work.client.send(work.vendor.listing(work.settings))
        jobs = work.vendor.read_listing(reply)
    except VendorBusy as error:
        work.client.honour(error)
        return []
    except ConfigurationError:
        raise
    except Exception as error:
        told = str(error) if isinstance(error, DsarError) else type(error).__name__
        log.warning("%s: the list of requests could not be read: %s", work.account, told)
        return []
    moves = []
    for doubt in doubts:
        if job := _find(doubt, jobs):
            moves.append(
                Move(doubt.subject.submission, State.SUBMITTED, FOUND, job_id=job.job_id, since=doubt.since)
            )
        elif _may_repeat(doubt, now):
            moves.append(_again(doubt, NOT_FOUND))
    return moves


def _find(doubt: UncertainSubmission, jobs: Sequence[ListedJob]) -> ListedJob | None:
    """The job that works on the doubtful submission: still running, or asked for since we tried.

    An earlier one that has ended does not count: what came in after it would not be erased.
    """
    since = doubt.attempted_at - CLOCK_SKEW
    candidates = [
        job
        for job in jobs
        if job.action is doubt.action
        and job.identifiers == doubt.subject.identifiers
        and (job.running or job.requested_at >= since)
    ]
    return max(candidates, key=lambda job: job.requested_at, default=None)


def _may_repeat(doubt: UncertainSubmission, now: datetime) -> bool:
    return not doubt.is_stuck and doubt.since + _pause(doubt) <= now


def _pause(doubt: UncertainSubmission) -> timedelta:
    return min(PAUSE * 2.0 ** (doubt.doubts - 1), LONGEST_PAUSE)


def _again(doubt: UncertainSubmission, reason: str) -> Move:
    return Move(doubt.subject.submission, State.PLANNED, reason, since=doubt.since)


def _repeat(doubt: UncertainSubmission, users_per_call: int) -> Move:
    """Once more as it was; from then on in ever smaller batches, since one bad id may spoil every reply."""
    smaller = max(users_per_call // BATCH_SHRINKS_BY ** (doubt.attempts - 1), 1)
    return replace(_again(doubt, REPEATED), batch_limit=smaller if doubt.attempts > 1 else None)
