"""Controls the rate of the calls to an account.

The start times of calls (slots) are 1/rate seconds apart. If a call starts late by less than
CATCH_UP_SECONDS, the times of later slots do not change. If a call starts later than that, later slots are
counted from its actual start, so that no burst follows a pause. In any second, at most rate x (1 +
CATCH_UP_SECONDS) + 1 calls start.

A 429 or 503 halves the rate, at most once per second. Each second without a 429 or 503 restores a tenth of
the full rate. No call of the account starts before the time in `Retry-After`. If the vendor asks for a long
pause, calls raise NotTaken instead of waiting, so that a run does not keep its claims for hours.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from include.dsar.errors import NotTaken, WindowOver

MIN_RATE_SHARE = 1 / 64  # of the full rate
RECOVERY_PER_SECOND = 0.1  # of the full rate
CATCH_UP_SECONDS = 0.02  # a busy processor delays a call by less
MAX_WAIT_SECONDS = 60.0  # that a call waits for Retry-After


class Pacer:
    """Limits the rate of one account's calls. Each process has one instance per account."""

    def __init__(self, requests_per_second: float, max_concurrency: int) -> None:
        self._full_rate = requests_per_second
        self._rate = requests_per_second
        self._slowed_at = -math.inf
        self._next_slot = 0.0
        self._blocked_until = 0.0
        self._running = asyncio.Semaphore(max_concurrency)

    @asynccontextmanager
    async def slot(self, within: float = math.inf) -> AsyncIterator[None]:
        """Waits for a slot. The call counts as running until the block ends.

        Raises NotTaken if the vendor asked for a pause of more than MAX_WAIT_SECONDS. Raises WindowOver
        immediately if no slot is free within `within` seconds.
        """
        latest = time.monotonic() + within
        async with self._running:
            while True:
                if (blocked := self._blocked_until - time.monotonic()) > MAX_WAIT_SECONDS:
                    raise NotTaken("the vendor asked for a long pause", retry_after=blocked)
                if max(self._next_start(), time.monotonic()) > latest:
                    raise WindowOver("no call could start before the end of the window")
                start = self._take_slot()
                if (wait := start - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                if start >= self._blocked_until:
                    break
            yield

    @property
    def rate(self) -> float:
        """Returns the current calls per second, including the recovery since the last 429 or 503."""
        recovered = (time.monotonic() - self._slowed_at) * RECOVERY_PER_SECOND * self._full_rate
        return min(self._full_rate, self._rate + recovered)

    def slow_down(self, retry_after: float | None) -> None:
        """Reduces the rate after a 429 or 503. No call starts in the next `retry_after` seconds."""
        now = time.monotonic()
        if now - self._slowed_at >= 1:
            self._rate = max(self.rate / 2, self._full_rate * MIN_RATE_SHARE)
            self._slowed_at = now
        if retry_after:
            self._blocked_until = max(self._blocked_until, now + retry_after)

    def _next_start(self) -> float:
        now = time.monotonic()
        planned = self._next_slot if now - self._next_slot <= CATCH_UP_SECONDS else now
        return max(planned, self._blocked_until)

    def _take_slot(self) -> float:
        start = self._next_start()
        self._next_slot = start + 1 / self.rate
        return start
