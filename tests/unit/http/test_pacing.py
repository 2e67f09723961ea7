"""How fast an account is called. The margins are wide: the machine may be busy."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from include.dsar.errors import NotTaken
from include.dsar.http import pacing
from include.dsar.http.pacing import Pacer

pytestmark = pytest.mark.asyncio


async def starts(pacer: Pacer, count: int) -> list[float]:
    """When so many calls, all waiting at once, began."""
    began: list[float] = []

    async def call() -> None:
        async with pacer.slot():
            began.append(time.monotonic())

    await asyncio.gather(*(call() for _ in range(count)))
    return began


async def test_calls_begin_at_least_one_interval_apart_without_bursts() -> None:
    """Also the first ones, and those after a rest."""
    pacer = Pacer(50, 16)
    first = time.monotonic()
    await starts(pacer, 6)
    assert time.monotonic() - first >= 5 / 50
    await asyncio.sleep(0.1)
    again = time.monotonic()
    await starts(pacer, 6)
    assert time.monotonic() - again >= 5 / 50


async def test_a_turn_missed_by_a_moment_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks a little late keeps the schedule; a longer pause is lost, and ends in no burst."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(pacing, "time", clock)
    pacer = Pacer(50, 1)

    def turns_at(*asked: float) -> list[float]:
        given = []
        for clock.now in asked:
            given.append(pacer._take_turn())
        return given

    assert turns_at(100.0, 100.025, 100.059, 100.059) == pytest.approx([100.0, 100.02, 100.04, 100.06])
    assert turns_at(101.0, 101.0, 101.0) == pytest.approx([101.0, 101.02, 101.04])


async def test_no_more_calls_run_at_once_than_allowed() -> None:
    """A slot is taken until its call has ended, even by an error."""
    pacer, running, most = Pacer(1000, 3), 0, 0

    async def call() -> None:
        nonlocal running, most
        async with pacer.slot():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.02)
            running -= 1
            raise ValueError

    await asyncio.gather(*(call() for _ in range(12)), return_exceptions=True)
    assert (running, most) == (0, 3)


async def test_the_rate_is_halved_at_most_once_a_second_and_recovers() -> None:
    """A burst of refusals is one; a tenth of the full rate comes back each second; there is a floor."""
    pacer = Pacer(100, 1)
    for _ in range(5):
        pacer.slow_down(None)
    assert 50 <= pacer.rate < 60
    before = pacer.rate
    await asyncio.sleep(0.2)
    assert before + 1.9 <= pacer.rate <= 100
    for _ in range(20):
        pacer._slowed_at -= 1.0  # a second later, and no time to recover
        pacer._rate = max(pacer._rate - 10, 0)
        pacer.slow_down(None)
    assert pacer.rate >= 100 * pacing.SLOWEST
    pacer._slowed_at -= 60
    assert pacer.rate == 100


async def test_retry_after_holds_all_calls_back_those_that_wait_already_too() -> None:
    """None begins before the time is over; a shorter one does not shorten it."""
    pacer = Pacer(20, 4)
    waiting = asyncio.create_task(starts(pacer, 4))
    await asyncio.sleep(0.01)
    told = time.monotonic()
    pacer.slow_down(0.5)
    pacer.slow_down(0.1)
    began = await waiting
    assert all(at - told >= 0.5 for at in began[1:])


async def test_a_long_retry_after_refuses_calls_instead_of_keeping_them() -> None:
    """They say how long the vendor wants none."""
    pacer = Pacer(1000, 4)
    pacer.slow_down(3600)
    with pytest.raises(NotTaken) as raised:
        await starts(pacer, 1)
    assert raised.value.retry_after == pytest.approx(3600, abs=5)
