"""Logs the progress of a stage."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Logs, every few seconds, the number done, the total, the rate and the expected time left."""

    def __init__(self, who: str, what: str, total: int) -> None:
        """`who` is an account or a stage. `what` is a verb such as "sent"."""
        self._who, self._what, self._total = who, what, total
        self._began = self._said = time.monotonic()
        self.done = 0

    def advance(self, n: int) -> None:
        self.done += n
        now = time.monotonic()
        if now - self._said >= SECONDS_BETWEEN_LINES:
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
