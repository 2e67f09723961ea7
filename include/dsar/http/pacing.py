"""How fast an account may be called.

Calls start 1/rate apart. A turn that nobody took in time is made up for where it was missed by a moment
(CATCH_UP: a busy processor, the change from one call to the next), else lost, so that no pause ends in
a burst. Over any second that is at most rate x (1 + CATCH_UP) calls, and one.

A 429 or 503 halves the rate, at most once in a second; every second without one gives back a tenth of
the account's own rate. `Retry-After` stops all calls of the account until then; where that is long,
they are refused instead of kept waiting, so that a run does not hold its claims for hours. A limiter
library with a fixed rate cannot do this.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from include.dsar.errors import NotTaken

SLOWEST = 1 / 64  # of the account's own rate
RECOVERY_PER_SECOND = 0.1
CATCH_UP = 0.02  # seconds
MAX_SLOT_WAIT = 60.0  # seconds that a call waits for Retry-After to be over


class Pacer:
    """Spaces out the calls of one account; one instance for each account and process."""

    def __init__(self, requests_per_second: float, max_concurrency: int) -> None:
        self._full_rate = requests_per_second
        self._rate = requests_per_second
        self._slowed_at = -math.inf
        self._next_slot = 0.0
        self._blocked_until = 0.0
        self._running = asyncio.Semaphore(max_concurrency)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits for this call's turn, and counts it as running until the block is left.

        Raises NotTaken where the vendor wants no call for longer than MAX_SLOT_WAIT.
        """
        async with self._running:
            while True:
                if (blocked := self._blocked_until - time.monotonic()) > MAX_SLOT_WAIT:
                    raise NotTaken("the vendor asked for a long pause", retry_after=blocked)
                turn = self._take_turn()
                if (wait := turn - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                if turn >= self._blocked_until:
                    break
            yield

    @property
    def rate(self) -> float:
        """Calls a second, as it stands after recovering since the last refusal."""
        recovered = (time.monotonic() - self._slowed_at) * RECOVERY_PER_SECOND * self._full_rate
        return min(self._full_rate, self._rate + recovered)

    def slow_down(self, retry_after: float | None) -> None:
        """The vendor refused a call for being one too many, or is overloaded."""
        now = time.monotonic()
        if now - self._slowed_at >= 1:
            self._rate = max(self.rate / 2, self._full_rate * SLOWEST)
            self._slowed_at = now
        if retry_after:
            self._blocked_until = max(self._blocked_until, now + retry_after)

    def _take_turn(self) -> float:
        now = time.monotonic()
        planned = self._next_slot if now - self._next_slot <= CATCH_UP else now
        turn = max(planned, self._blocked_until)
        self._next_slot = turn + 1 / self.rate
        return turn
