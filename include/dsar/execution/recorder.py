"""Recorder: writes the moves of many coroutines to the ledger in few statements."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from include.dsar.ledger.transitions import Move


class Recorder:
    """Writes moves to the ledger in batches.

    The writes run in a separate asyncio task, so that a cancelled coroutine does not interrupt a statement.
    """

    MAX_BATCH = 200
    MAX_DELAY = 0.25  # seconds that a move waits for others

    def __init__(self, write: Callable[[list[Move]], Awaitable[None]]) -> None:
        self._write = write
        self._moves: list[Move] = []
        self._enough = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def add(self, moves: Sequence[Move]) -> None:
        """Queues moves. They are written within MAX_DELAY. Raises the error of an earlier write."""
        self._moves += moves
        if len(self._moves) >= self.MAX_BATCH:
            self._enough.set()
        if self._writer and self._writer.done():
            self._writer.result()
            self._writer = None
        if self._moves and self._writer is None:
            self._writer = asyncio.create_task(self._write_soon())

    async def close(self) -> None:
        """Waits until all state changes are in the ledger. Tries failed writes once more."""
        self._enough.set()
        if self._writer:
            await asyncio.gather(self._writer, return_exceptions=True)
        await self._write_known()

    async def _write_soon(self) -> None:
        while self._moves:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._enough.wait(), self.MAX_DELAY)
            self._enough.clear()
            await self._write_known()

    async def _write_known(self) -> None:
        """Writes the moves in the queue. Later moves wait for the next statement, so that each statement
        writes many moves.
        """
        left = len(self._moves)
        while left > 0:
            batch = self._moves[: min(left, self.MAX_BATCH)]
            await self._write(batch)
            del self._moves[: len(batch)]
            left -= len(batch)
