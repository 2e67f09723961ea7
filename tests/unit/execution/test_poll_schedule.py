"""When a job is looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from include.dsar.execution.poll_schedule import FIRST_LOOK_SPREAD, GROWTH, JITTER, PollSchedule

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
NOW = 1_800_000_000.0
NAMES = st.text(min_size=1, max_size=30)


def polls(schedule: PollSchedule, job: str, submitted_at: float, until: float) -> Iterator[float]:
    at = schedule.first(job, submitted_at, schedule.watched_since)
    while at <= until:
        yield at
        at = schedule.next(job, submitted_at, at)


@given(NAMES, st.floats(1, 10 * MINUTE), st.floats(HOUR, 12 * HOUR))
def test_the_time_to_the_next_poll_grows_with_the_age_between_its_bounds(
    job: str, least: float, most: float
) -> None:
    """A completion is noticed at most a quarter late, jitter aside."""
    seen = list(polls(PollSchedule(least, most, NOW), job, NOW, NOW + 3 * DAY))
    assert least * (1 - JITTER) <= seen[0] - NOW <= least * (1 + JITTER)
    for earlier, later in pairwise(seen):
        wanted = min(max((earlier - NOW) * GROWTH, least), most)
        assert wanted * (1 - JITTER) - 1e-3 <= later - earlier <= wanted * (1 + JITTER) + 1e-3


def test_the_number_of_polls_grows_with_the_logarithm_of_the_age() -> None:
    """Twice the age costs a few more polls, not twice as many."""
    schedule = PollSchedule(MINUTE, 365 * DAY, NOW)
    hour, day, month = (len(list(polls(schedule, "job", NOW, NOW + age))) for age in (HOUR, DAY, 30 * DAY))
    assert hour < 25
    assert day - hour < 1.2 * math.log(24, 1 + GROWTH * (1 - JITTER)) + 1
    assert month < 50


@given(NAMES, st.floats(0, 40 * DAY))
def test_a_watch_that_is_started_again_computes_the_same_times(job: str, later: float) -> None:
    """What it takes up is the first poll that the broken one would have made by now, or soon will."""
    schedule = PollSchedule(5 * MINUTE, HOUR, NOW)
    now = NOW + later
    planned = list(polls(schedule, job, NOW, now + 3 * HOUR))
    again = schedule.first(job, NOW, now)
    assert again == next(at for at in planned if at >= now - FIRST_LOOK_SPREAD)


def test_jobs_carried_over_are_looked_at_soon_and_not_all_at_once() -> None:
    """Within half a minute after the watch began, spread evenly."""
    schedule = PollSchedule(6 * HOUR, 24 * HOUR, NOW)
    firsts = sorted(schedule.first(f"job-{n}", NOW - 3 * DAY, NOW) for n in range(3000))
    assert firsts[0] >= NOW
    assert firsts[-1] <= NOW + FIRST_LOOK_SPREAD
    in_a_second = max(sum(second <= at - NOW < second + 1 for at in firsts) for second in range(30))
    assert in_a_second < 200


def test_no_stampede_after_a_restart() -> None:
    """Of many jobs, few are due at once: no more than in any other half minute."""
    schedule = PollSchedule(5 * MINUTE, HOUR, NOW)
    now = NOW + 2 * HOUR
    firsts = [schedule.first(f"job-{n}", NOW + n % 600, now) for n in range(3000)]
    assert sum(at <= now for at in firsts) < 3000 * 0.05


def test_a_young_job_of_an_earlier_run_waits_for_its_age() -> None:
    """A vendor that takes weeks is not asked within its first hours, whoever watches."""
    schedule = PollSchedule(6 * HOUR, 24 * HOUR, NOW)
    assert schedule.first("job", NOW - HOUR, NOW) >= NOW + 4 * HOUR
