"""Virtual time passes only while something waits. Therefore days take milliseconds and every run is the
same.

A `VirtualLoop` differs from asyncio's loop in three ways. Its clock is the virtual clock. If only timers
are left, the clock jumps to the next timer. The loop itself runs the work for threads, one turn later, so
that two workers interleave in the same way in every run.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

BEGIN = datetime(2026, 11, 2, 9, tzinfo=UTC)


class Clock:
    """A virtual clock that replaces `datetime.now`, the loop's clock and the module `time`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with virtual time. It calls `before_thread` before each piece of work for a thread."""

    def __init__(self, clock: Clock, before_thread: Callable[[], None]) -> None:
        super().__init__(_Selector(clock))
        self._virtual_clock = clock
        self._before_thread = before_thread

    def time(self) -> float:
        return self._virtual_clock.seconds

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()

        def work() -> None:
            if future.done():
                return
            try:
                self._before_thread()
                future.set_result(func(*args))
            except BaseException as error:
                future.set_exception(error)

        self.call_soon(work)
        return future


class _Selector(selectors.SelectSelector):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everything waits, and for nothing"
        self._clock.advance(max(timeout, 0))
        return super().select(0)
