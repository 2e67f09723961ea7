"""Combines the ledger look-ups of many coroutines into few statements."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

MAX_KEYS_PER_STATEMENT = 200

V = TypeVar("V")


class Lookups(Generic[V]):
    """Coroutines ask for keys while a statement runs. The next statement reads all these keys."""

    def __init__(self, look_up: Callable[[Sequence[str]], Awaitable[Mapping[str, V]]]) -> None:
        self._look_up = look_up
        self._waiting: list[tuple[str, asyncio.Future[V]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def get(self, key: str) -> V:
        """Returns the value of one key. If the statement fails, raises its error."""
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await answer

    async def _ask(self) -> None:
        while self._waiting:
            asked = self._waiting[:MAX_KEYS_PER_STATEMENT]
            del self._waiting[:MAX_KEYS_PER_STATEMENT]
            try:
                found = await self._look_up([key for key, _ in asked])
            except Exception as error:
                for _, answer in asked:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for key, answer in asked:
                if not answer.done():  # else the coroutine that asked was cancelled
                    answer.set_result(found[key])
