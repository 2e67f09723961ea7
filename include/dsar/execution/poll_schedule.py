"""When a job is looked at: the older it is, the more rarely.

The time to the next poll is `clamp(age x 0.25, poll_min, poll_max)`, with a jitter that is the
job's own. So the number of polls grows with the logarithm of the age, a completion is noticed at
most a quarter late, and a restarted triggerer computes the same times from `submitted_at`.

Times are seconds since the epoch.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

GROWTH = 0.25
JITTER = 0.1  # of an interval, to either side
FIRST_LOOK_SPREAD = 30.0  # seconds over which jobs carried over from an earlier run are looked at


@dataclass(frozen=True)
class PollSchedule:
    """The polls of one account's jobs, by a watch that began at `watched_since`. Bounds in seconds."""

    poll_min: float
    poll_max: float
    watched_since: float

    def first(self, job_id: str, submitted_at: float, now: float) -> float:
        """The first poll after `now`.

        A job carried over from an earlier run is looked at soon after the watch began, once it is
        old enough.
        """
        share = _share(job_id)
        at = submitted_at + self.poll_min * _jitter(share)
        if at < self.watched_since:
            at = self.watched_since + share * min(FIRST_LOOK_SPREAD, self.poll_min)
        while at < now - FIRST_LOOK_SPREAD:  # the watch was interrupted: go on where it would be by now
            at = self.next(job_id, submitted_at, at)
        return at

    def next(self, job_id: str, submitted_at: float, polled_at: float) -> float:
        """The poll after one that found the job still running."""
        interval = min(max((polled_at - submitted_at) * GROWTH, self.poll_min), self.poll_max)
        return polled_at + interval * _jitter(_share(job_id))


def _share(job_id: str) -> float:
    """A number from 0 to 1 that is the job's own."""
    return zlib.crc32(job_id.encode()) / 2**32


def _jitter(share: float) -> float:
    return 1 + JITTER * (2 * share - 1)
