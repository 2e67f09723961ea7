"""The pace of calls. The tests allow wide margins, because the machine may be busy."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from include.dsar.errors import NotTaken, WindowOver
from include.dsar.http import pacing
from include.dsar.http.pacing import Pacer


async def starts(pacer: Pacer, count: int) -> list[float]:
    """Returns the start times of this many calls that wait at the same time."""
    started: list[float] = []

    async def call() -> None:
        async with pacer.slot():
            started.append(time.monotonic())

    await asyncio.gather(*(call() for _ in range(count)))
    return started


async def test_calls_start_at_least_one_interval_apart() -> None:
    """The first calls and calls after a pause also start at least one interval apart."""
    pacer = Pacer(50, 16)
    first = time.monotonic()
    await starts(pacer, 6)
    assert time.monotonic() - first >= 5 / 50
    await asyncio.sleep(0.1)
    again = time.monotonic()
    await starts(pacer, 6)
    assert time.monotonic() - again >= 5 / 50


async def test_a_slot_missed_by_a_moment_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a call starts slightly late, the schedule of later calls does not move. After a longer pause, the
    missed calls do not start all at once.
    """
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(pacing, "time", clock)
    pacer = Pacer(50, 1)

    def slots_at(*asked: float) -> list[float]:
        given = []
        for clock.now in asked:
            given.append(pacer._take_slot())
        return given

    assert slots_at(100.0, 100.025, 100.059, 100.059) == pytest.approx([100.0, 100.02, 100.04, 100.06])
    assert slots_at(101.0, 101.0, 101.0) == pytest.approx([101.0, 101.02, 101.04])


async def test_a_call_that_cannot_start_in_time_raises_at_once() -> None:
    """A call that raises takes no slot from later calls."""
    pacer = Pacer(2, 1)
    await starts(pacer, 1)
    begun = time.monotonic()
    with pytest.raises(WindowOver):
        async with pacer.slot(within=0.1):
            pass
    assert time.monotonic() - begun < 0.3
    await starts(pacer, 1)
    assert time.monotonic() - begun < 0.9


async def test_no_more_than_max_concurrency_calls_run_at_once() -> None:
    """A call counts as running until it ends, even if it ends with an error."""
    pacer, running, highest = Pacer(1000, 3), 0, 0

    async def call() -> None:
        nonlocal running, highest
        async with pacer.slot():
            running += 1
            highest = max(highest, running)
            await asyncio.sleep(0.02)
            running -= 1
            raise ValueError

    await asyncio.gather(*(call() for _ in range(12)), return_exceptions=True)
    assert (running, highest) == (0, 3)


async def test_the_rate_is_halved_at_most_once_a_second_and_recovers() -> None:
    """Several 429s in one second count once. Each second restores a tenth of the full rate."""
    pacer = Pacer(100, 1)
    for _ in range(5):
        pacer.slow_down(None)
    assert 50 <= pacer.rate < 60
    before = pacer.rate
    await asyncio.sleep(0.2)
    assert before + 1.9 <= pacer.rate <= 100
    for _ in range(20):
        pacer._slowed_at -= 1.0  # one second has passed, without time to recover
        pacer._rate = max(pacer._rate - 10, 0)
        pacer.slow_down(None)
    assert pacer.rate >= 100 * pacing.MIN_RATE_SHARE
    pacer._slowed_at -= 60
    assert pacer.rate == 100


async def test_retry_after_also_delays_calls_that_wait_already() -> None:
    """Retry-After also delays calls that already wait. If a second Retry-After is shorter, the pause does
    not get shorter.
    """
    pacer = Pacer(20, 4)
    waiting = asyncio.create_task(starts(pacer, 4))
    await asyncio.sleep(0.01)
    told = time.monotonic()
    pacer.slow_down(0.5)
    pacer.slow_down(0.1)
    started = await waiting
    assert all(at - told >= 0.5 for at in started[1:])


async def test_a_long_retry_after_raises_an_error_at_once() -> None:
    """A long Retry-After raises an error at once. The error says how long the pause is."""
    pacer = Pacer(1000, 4)
    pacer.slow_down(3600)
    with pytest.raises(NotTaken) as raised:
        await starts(pacer, 1)
    assert raised.value.retry_after == pytest.approx(3600, abs=5)
