"""A stuck batch is an exception if at least half of the jobs that were sent with it or later have ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from include.dsar.execution.stuck_batches import SAME_TIME, suspects
from include.dsar.ledger.stuck_jobs import OpenBatch, RecentJob
from include.dsar.model import Action

HOUR = timedelta(hours=1)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SENT = NOW - 24 * HOUR
USUAL = {Action.ERASURE: 2 * HOUR}


def batch(job_id: str) -> OpenBatch:
    return OpenBatch(job_id, Action.ERASURE, SENT, NOW + timedelta(days=20), (1, 2), 2)


def job(has_ended: bool, *, at: datetime = SENT, action: Action = Action.ERASURE) -> RecentJob:
    return RecentJob("another", action, at, has_ended)


ENDED, OPEN = job(True), job(False)


@pytest.mark.parametrize(
    ("recent", "is_exception"),
    [
        ([ENDED], True),
        ([ENDED, OPEN], True),
        ([ENDED, OPEN, OPEN], False),
        ([], False),
        ([ENDED, *[job(False, at=NOW - HOUR)] * 9], True),  # the other jobs are still young
        ([ENDED, *[job(False, at=NOW - 3 * HOUR)] * 9], False),
        ([job(True, at=SENT - SAME_TIME)], True),
        ([job(True, at=SENT - SAME_TIME - HOUR)], False),  # it was sent long before
        ([job(True, action=Action.ACCESS)], False),
    ],
)
def test_a_batch_is_an_exception_if_at_least_half_of_the_other_jobs_have_ended(
    recent: list[RecentJob], is_exception: bool
) -> None:
    """All exceptions are given up. If there is no exception, only the oldest batch is given up."""
    old = [batch("first"), batch("second")]
    assert suspects(old, recent, USUAL, NOW) == (old if is_exception else old[:1])
