"""Calls that the vendor refused because of our credentials or the route."""

from __future__ import annotations

from include.dsar.errors import ConfigurationError


class Refusals:
    """Calls that the vendor refused for our credentials or the route.

    Several in a row are the account's trouble. Fewer may be one request's own (a firewall before the
    vendor's API answers 403 to what it takes for an attack), which must not stop the others.
    """

    IN_A_ROW = 3

    def __init__(self) -> None:
        self.first: ConfigurationError | None = None  # what the stage ends with
        self._in_a_row = 0

    def add(self, error: ConfigurationError) -> None:
        """Raises the error where no further call shall be made."""
        self.first = self.first or error
        self._in_a_row += 1
        if self._in_a_row >= self.IN_A_ROW:
            raise error

    def answered(self) -> None:
        """A call went through: whatever was refused, it was not the account."""
        self._in_a_row = 0
