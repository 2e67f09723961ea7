"""Questions to the ledger that many ask one by one, answered many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

AT_ONCE = 200

V = TypeVar("V")


class Lookups(Generic[V]):
    """What is asked while one statement runs is answered together by the next."""

    def __init__(self, look_up: Callable[[Sequence[str]], Awaitable[Mapping[str, V]]]) -> None:
        self._look_up = look_up
        self._waiting: list[tuple[str, asyncio.Future[V]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def get(self, key: str) -> V:
        """The answer for one key; raises what the statement raised."""
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await answer

    async def _ask(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            try:
                found = await self._look_up([key for key, _ in asked])
            except Exception as error:
                _fail([answer for _, answer in asked], error)
                continue
            for key, answer in asked:
                if not answer.done():  # whoever asked was broken off
                    answer.set_result(found[key])


def _fail(answers: Sequence[asyncio.Future[V]], error: Exception) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
