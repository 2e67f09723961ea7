"""Splitting a batch: one bad identifier can spoil the vendor's answer about all the others in its call."""

from __future__ import annotations

SPLIT_FACTOR = 10


def smaller_batch(size: int, splits: int = 1) -> int:
    """How many submissions a call may carry after its batch of `size` was split so many times. At least 1."""
    return max(size // int(SPLIT_FACTOR**splits), 1)
