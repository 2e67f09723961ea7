"""Writes moves to the ledger in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from include.dsar.ledger.transitions import Move


class Recorder:
    """Writes moves to the ledger in batches, soon after they are known.

    A task of its own writes, so that nothing is broken off with whoever added it.
    """

    SIZE = 200
    DELAY = 0.25  # seconds that a move waits for others at most

    def __init__(self, write: Callable[[list[Move]], Awaitable[None]]) -> None:
        self._write = write
        self._moves: list[Move] = []
        self._enough = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def add(self, moves: Sequence[Move]) -> None:
        """Takes moves to be written within DELAY. Raises what an earlier write has raised."""
        self._moves += moves
        if len(self._moves) >= self.SIZE:
            self._enough.set()
        if self._writer and self._writer.done():
            self._writer.result()
            self._writer = None
        if self._moves and self._writer is None:
            self._writer = asyncio.create_task(self._write_soon())

    async def close(self) -> None:
        """Returns when all that was added is in the ledger; what could not be written is tried once more."""
        self._enough.set()
        if self._writer:
            await asyncio.gather(self._writer, return_exceptions=True)
        await self._write_known()

    async def _write_soon(self) -> None:
        while self._moves:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._enough.wait(), self.DELAY)
            self._enough.clear()
            await self._write_known()

    async def _write_known(self) -> None:
        """What is there by now: what is added meanwhile waits for others again, else each write would
        take along only the few that came during the one before."""
        left = len(self._moves)
        while left > 0:
            batch = self._moves[: min(left, self.SIZE)]
            await self._write(batch)
            del self._moves[: len(batch)]
            left -= len(batch)
