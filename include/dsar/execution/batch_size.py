"""Splits a batch, because one bad identifier can spoil the vendor's answer for the whole call."""

from __future__ import annotations

SPLIT_FACTOR = 10


def smaller_batch(size: int, splits: int = 1) -> int:
    """Returns the limit of submissions per call after a batch of `size` was split. It is at least 1."""
    return max(size // int(SPLIT_FACTOR**splits), 1)
