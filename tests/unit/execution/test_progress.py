"""A stage logs its progress in its task's log."""

from __future__ import annotations

import logging

import pytest

from include.dsar.execution import progress
from include.dsar.execution.progress import Progress


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_progress_is_logged_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The progress line has the count of finished items, the total, the rate and the time left."""
    caplog.set_level(logging.INFO)
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    sending = Progress("batch", "sent", 10_000)
    for second in range(1, 26):
        clock.now = second
        sending.advance(100)
    assert [record.getMessage() for record in caplog.records] == [
        "batch: sent 1,000 of 10,000, 100.0 a second, about 90 s left",
        "batch: sent 2,000 of 10,000, 100.0 a second, about 80 s left",
    ]
