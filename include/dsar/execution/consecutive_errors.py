"""Counts consecutive errors, to decide when a stage stops calling an account."""

from __future__ import annotations

# Several refusals in a row mean that the vendor rejects our credentials or the route. Fewer may concern one
# request: a firewall in front of the API answers 403 to a call that looks like an attack.
MAX_REFUSALS_IN_A_ROW = 3


class ConsecutiveErrors:
    """Counts errors until a call succeeds."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self.first: Exception | None = None  # since the stage started

    def add(self, error: Exception, weight: int = 1) -> None:
        self.first = self.first or error
        self._count += weight

    def reset(self) -> None:
        """Restarts the count after a successful call."""
        self._count = 0

    @property
    def limit_reached(self) -> bool:
        return self._count >= self._limit
