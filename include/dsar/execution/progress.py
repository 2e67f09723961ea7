"""How far a stage is, in its task's log, at a person's pace."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

PROGRESS_EVERY = 10.0  # seconds between two lines


class Progress:
    """A line in the task's log every few seconds: done, left, rate, expected end."""

    def __init__(self, who: str, what: str, total: int) -> None:
        """`who` does `what`: an account's stage, or a stage of its own."""
        self._who, self._what, self._total = who, what, total
        self._began = self._said = time.monotonic()
        self.done = 0

    def advance(self, n: int) -> None:
        self.done += n
        now = time.monotonic()
        if now - self._said >= PROGRESS_EVERY:
            self._said = now
            rate = self.done / (now - self._began)
            left = max(self._total - self.done, 0)
            log.info(
                "%s: %s %s of %s, %.1f a second, about %.0f s left",
                self._who,
                self._what,
                f"{self.done:,}",
                f"{self._total:,}",
                rate,
                left / rate if rate else 0,
            )
