"""Decides which submissions share a call, and in which order the calls are made."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from include.dsar.execution.account_work import AccountWork
from include.dsar.ledger import claiming
from include.dsar.ledger.claiming import Claim
from include.dsar.ledger.database import Database
from include.dsar.model import Action, Subject

MAX_CLAIM = 500  # submissions, in one statement
CLAIM_AHEAD_SECONDS = 2  # how long a claim lasts at the account's full rate


@dataclass(frozen=True)
class Call:
    action: Action
    claims: tuple[Claim, ...]

    @property
    def subjects(self) -> tuple[Subject, ...]:
        return tuple(claim.subject for claim in self.claims)


class Calls:
    """Provides the calls of one account. Submissions are claimed shortly before they are sent."""

    def __init__(self, work: AccountWork, worker: int) -> None:
        self._work, self._worker = work, worker
        self._ready: deque[Call] = deque()
        self._partial: dict[tuple[Action, int], list[Claim]] = defaultdict(list)
        self._claiming = asyncio.Lock()
        self._closed = False
        self.quota_used = False
        settings = work.settings
        calls = settings.max_concurrency + math.ceil(settings.requests_per_second * CLAIM_AHEAD_SECONDS)
        self._claim_size = max(min(calls * settings.users_per_call, MAX_CLAIM), settings.users_per_call)
        half_a_claim = self._claim_size // (2 * settings.users_per_call)
        self._low = max(min(half_a_claim, settings.max_concurrency), 1)

    async def next(self) -> Call | None:
        """Returns the next call, soonest due date first. None if there is no call now.

        The first coroutine to find the buffer low refills it. The other coroutines keep sending.
        """
        while len(self._ready) < self._low and not self._closed:
            if self._ready and self._claiming.locked():
                break
            async with self._claiming:
                if len(self._ready) < self._low and not self._closed:
                    await self._claim()
        return self._ready.popleft() if self._ready else None

    def close(self) -> list[Subject]:
        """Stops providing calls. Returns the submissions that were claimed and will not be sent."""
        unsent = [subject for call in self._ready for subject in call.subjects]
        unsent += [claim.subject for claims in self._partial.values() for claim in claims]
        self._ready.clear()
        self._partial.clear()
        self._closed = True
        return unsent

    async def _claim(self) -> None:
        claims, limit = await self._work.ledger(self._take)
        for claim in claims:
            self._add(claim)
        if len(claims) < limit or limit == 0:
            for (action, _), waiting in self._partial.items():
                if waiting:
                    self._ready.append(Call(action, tuple(waiting)))
            self._partial.clear()
            self._closed = True

    def _add(self, claim: Claim) -> None:
        """Adds a submission to a call. A call is made when it is full, so that vendors with batches get few
        calls.
        """
        max_size = self._work.settings.users_per_call
        size = min(max_size, claim.batch_limit or max_size)
        waiting = self._partial[claim.action, size]
        waiting.append(claim)
        if len(waiting) >= size:
            self._ready.append(Call(claim.action, tuple(waiting)))
            waiting.clear()

    def _take(self, db: Database) -> tuple[list[Claim], int]:
        """Claims submissions. Returns the claims, and how many submissions it tried to claim."""
        work = self._work
        with claiming.one_at_a_time(db, work.account):
            now, limit = work.clock(), self._claim_size
            if (quota := work.settings.daily_quota) is not None:
                used = claiming.attempted_since(db, work.account, start_of_utc_day(now))
                self.quota_used = used >= quota
                limit = min(limit, max(quota - used, 0))
            claims = claiming.claim(
                db,
                work.account,
                worker=self._worker,
                limit=limit,
                now=now,
                request_pks=work.request_pks,
                one_job_per_subject=work.vendor.one_job_per_subject,
            )
        return claims, limit


def start_of_utc_day(now: datetime) -> datetime:
    """Returns midnight UTC. Vendors count their daily quotas by UTC day."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def next_utc_day(now: datetime) -> datetime:
    return start_of_utc_day(now) + timedelta(days=1)
