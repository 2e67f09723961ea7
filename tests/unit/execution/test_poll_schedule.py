"""The schedule says when each job is polled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.dsar.execution.poll_schedule import (
    FIRST_POLL_SPREAD,
    INTERVAL_PER_AGE,
    JITTER_PER_INTERVAL,
    PollSchedule,
)

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
NOW = 1_800_000_000.0
NAMES = st.text(min_size=1, max_size=30)


def polls(schedule: PollSchedule, job: str, submitted_at: float, until: float) -> Iterator[float]:
    at = schedule.first(job, submitted_at, schedule.polling_since)
    while at <= until:
        yield at
        at = schedule.next(job, submitted_at, at)


@given(NAMES, st.floats(1, 10 * MINUTE), st.floats(HOUR, 12 * HOUR))
def test_the_time_to_the_next_poll_grows_with_the_age_between_its_bounds(
    job: str, least: float, most: float
) -> None:
    """The time to the next poll grows with the age of the job. The end of a job is noticed after at most a
    quarter of the job's age, plus jitter.
    """
    seen = list(polls(PollSchedule(least, most, NOW), job, NOW, NOW + 3 * DAY))
    assert seen[0] - NOW == pytest.approx(least, rel=JITTER_PER_INTERVAL)
    for earlier, later in pairwise(seen):
        wanted = min(max((earlier - NOW) * INTERVAL_PER_AGE, least), most)
        assert (
            wanted * (1 - JITTER_PER_INTERVAL) - 1e-3
            <= later - earlier
            <= wanted * (1 + JITTER_PER_INTERVAL) + 1e-3
        )


def test_the_number_of_polls_grows_with_the_logarithm_of_the_age() -> None:
    """A job of twice the age gets a few more polls, not twice as many."""
    schedule = PollSchedule(MINUTE, 365 * DAY, NOW)
    hour, day, month = (len(list(polls(schedule, "job", NOW, NOW + age))) for age in (HOUR, DAY, 30 * DAY))
    assert hour < 25
    assert day - hour < 1.2 * math.log(24, 1 + INTERVAL_PER_AGE * (1 - JITTER_PER_INTERVAL)) + 1
    assert month < 50


@given(st.lists(NAMES, min_size=2, unique_by=PollSchedule.place), st.data())
def test_the_first_polls_begin_at_the_position(jobs: list[str], data: st.DataObject) -> None:
    """The first polls begin with the job at the given position. The order of the jobs is circular, so every
    job is polled in turn.
    """
    jobs.sort(key=PollSchedule.place)
    n = data.draw(st.integers(0, len(jobs) - 1))
    schedule = PollSchedule(MINUTE, HOUR, NOW, PollSchedule.place(jobs[n]))
    first = {job: schedule.first(job, NOW - DAY, NOW) for job in jobs}
    assert all(NOW <= at <= NOW + FIRST_POLL_SPREAD for at in first.values())
    assert sorted(first.values()) == [first[job] for job in jobs[n:] + jobs[:n]]


@given(NAMES, st.floats(0, 40 * DAY))
def test_a_restarted_triggerer_computes_the_same_times(job: str, later: float) -> None:
    """After a restart, the triggerer computes the same times and continues with the first poll that is
    still due.
    """
    schedule = PollSchedule(5 * MINUTE, HOUR, NOW)
    now = NOW + later
    planned = list(polls(schedule, job, NOW, now + 3 * HOUR))
    again = schedule.first(job, NOW, now - FIRST_POLL_SPREAD)
    assert again == next(at for at in planned if at >= now - FIRST_POLL_SPREAD)


def test_jobs_from_earlier_runs_are_polled_soon_but_not_all_at_once() -> None:
    """The first polls of these jobs are spread evenly over half a minute."""
    schedule = PollSchedule(6 * HOUR, 24 * HOUR, NOW)
    firsts = sorted(schedule.first(f"job-{n}", NOW - 3 * DAY, NOW) for n in range(3000))
    assert firsts[0] >= NOW
    assert firsts[-1] <= NOW + FIRST_POLL_SPREAD
    in_a_second = max(sum(second <= at - NOW < second + 1 for at in firsts) for second in range(30))
    assert in_a_second < 200


def test_a_restart_causes_no_burst_of_polls() -> None:
    """After a restart, no more polls are due in the first half minute than in any other half minute."""
    schedule = PollSchedule(5 * MINUTE, HOUR, NOW)
    now = NOW + 2 * HOUR
    firsts = [schedule.first(f"job-{n}", NOW + n % 600, now - FIRST_POLL_SPREAD) for n in range(3000)]
    assert sum(at <= now for at in firsts) < 3000 * 0.05


def test_a_young_job_of_an_earlier_run_is_not_polled_early() -> None:
    """If a vendor takes weeks, its jobs are not polled in their first hours. A later run does not poll them
    earlier either.
    """
    schedule = PollSchedule(6 * HOUR, 24 * HOUR, NOW)
    assert schedule.first("job", NOW - HOUR, NOW) >= NOW + 4 * HOUR
