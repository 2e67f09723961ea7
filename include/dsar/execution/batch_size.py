"""Splits a batch, because one bad identifier can spoil the vendor's answer for the whole call."""

from __future__ import annotations

SPLIT_FACTOR = 10


def smaller_batch(size: int, splits: int = 1) -> int:
    """Returns how many submissions a call may carry after its batch of `size` was split. At least 1."""
    return max(size // int(SPLIT_FACTOR**splits), 1)
