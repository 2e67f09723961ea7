"""Computes when a job is polled. An older job is polled less often.

The time to the next poll is `clamp(age x 0.25, poll_min, poll_max)`, with a jitter computed from the job
id. So the number of polls grows with the logarithm of the age. The delay until the end of a job is noticed
is at most about a quarter of the job's age. A restarted triggerer computes the same times from
`submitted_at`.

Times are seconds since the epoch.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

INTERVAL_PER_AGE = 0.25
JITTER_PER_INTERVAL = 0.1  # earlier or later
FIRST_POLL_SPREAD = 30.0  # seconds; the first polls of jobs from earlier runs are spread over them


@dataclass(frozen=True)
class PollSchedule:
    """The polls of one account's jobs, from `polling_since` on. `poll_min` and `poll_max` are seconds.

    `position` (0 to 1) is the `place` of the job that is polled first. It is not 0 if an earlier window
    ended before all jobs were polled.
    """

    poll_min: float
    poll_max: float
    polling_since: float
    position: float = 0.0

    def first(self, job_id: str, submitted_at: float, not_before: float) -> float:
        """Returns the time of the first poll from `not_before` on.

        If a job from an earlier run is old enough, its first poll comes soon after `polling_since`.
        """
        at = submitted_at + self.poll_min * _jitter(_share(job_id))
        if at < self.polling_since:
            ahead = (_share(job_id) - self.position) % 1
            at = self.polling_since + ahead * min(FIRST_POLL_SPREAD, self.poll_min)
        while at < not_before:
            at = self.next(job_id, submitted_at, at)
        return at

    def next(self, job_id: str, submitted_at: float, polled_at: float) -> float:
        """Returns the time of the next poll, after a poll at `polled_at` found that the job has not ended."""
        interval = min(max((polled_at - submitted_at) * INTERVAL_PER_AGE, self.poll_min), self.poll_max)
        return polled_at + interval * _jitter(_share(job_id))

    @staticmethod
    def place(job_id: str) -> float:
        """Returns the job's place in the order of first polls, from 0 to 1. The order begins at `position`
        and continues at 0 after 1.
        """
        return _share(job_id)


def _share(job_id: str) -> float:
    """Returns a number from 0 to 1 for a job. It is always the same for the same job."""
    return zlib.crc32(job_id.encode()) / 2**32


def _jitter(share: float) -> float:
    return 1 + JITTER_PER_INTERVAL * (2 * share - 1)
