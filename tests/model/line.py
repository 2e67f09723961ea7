"""The real HTTP client, connected to simulated vendors.

The class `Life` counts the steps of a worker. The worker dies at a chosen step and makes no further step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
from fsspec import AbstractFileSystem
from sqlalchemy import Engine

from include.dsar.accounts import AccountSettings
from include.dsar.delivery.storage import Storage
from include.dsar.delivery.storage_writer import StorageWriter
from include.dsar.errors import ReplyLost
from include.dsar.http.client import Client, Sink
from include.dsar.intake.source import Row, Source
from include.dsar.ledger.database import Database
from tests.model.faults import Answer, Lost
from tests.model.vendor_world import World

TRAVEL = 0.05  # seconds, in each direction
SLOW = 40.0
TIMED_OUT = 60.0


class WorkerDied(BaseException):
    """The simulated death of a worker. As with SIGKILL, no handler of the project catches it."""


@dataclass
class Life:
    """The number of steps (statements, calls, files) until the worker dies. None means never."""

    steps: int | None = None
    on_death: list[Callable[[], None]] = field(default_factory=list)
    dead: bool = False

    def step(self) -> None:
        if self.steps is not None and not self.dead:
            self.steps -= 1
            if self.steps < 0:
                self.dead = True
                for end in self.on_death:
                    end()
        if self.dead:
            raise WorkerDied


class Line(Client):
    """The real HTTP client with simulated connections."""

    def __init__(self, settings: AccountSettings, world: World, life: Life) -> None:
        super().__init__(settings, cast(aiohttp.ClientSession, _Session(settings.account, world, life)))
        self._world, self._life = world, life

    async def download(self, url: str, target: Sink) -> None:
        async with self._pacer.slot():
            self.calls += 1
            self._life.step()
            account = self._settings.account
            data = self._world.data(account, url.rpartition("/")[2])
            if self._world.fault(account) is not None:
                target.write(data[:3])
                raise ReplyLost("half of it")
            target.write(data)
            self._life.step()


class _Session:
    def __init__(self, account: str, world: World, life: Life) -> None:
        self._account, self._world, self._life = account, world, life

    @asynccontextmanager
    async def request(self, method: str, url: str, *, json: Any, **_: Any) -> AsyncIterator[_Reply]:
        await asyncio.sleep(TRAVEL)
        self._life.step()
        fault = self._world.fault(self._account)
        try:
            answer = self._world.call(self._account, method, url, json, fault)
        except Lost as lost:
            await asyncio.sleep(TIMED_OUT if lost.kind in ("timeout", "late") else TRAVEL)
            self._life.step()
            if lost.kind == "no_connection":
                raise aiohttp.ClientConnectorError(cast(Any, None), OSError(111, "refused")) from None
            raise (
                TimeoutError if lost.kind in ("timeout", "late") else aiohttp.ServerDisconnectedError
            ) from None
        await asyncio.sleep(SLOW if fault == "slow" else TRAVEL)
        self._life.step()
        yield _Reply(answer)


class _Reply:
    def __init__(self, answer: Answer) -> None:
        self.status, self.headers, self._body = answer.status, answer.headers, answer.body
        self.content, self.content_length = self, len(self._body)

    async def read(self) -> bytes:
        return self._body

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), size):
            yield self._body[start : start + size]


class LivedLedger:
    """A ledger session that counts each use as a step of the worker."""

    def __init__(self, db: Database, life: Life) -> None:
        self._db, self._life = db, life

    def __getattr__(self, name: str) -> Any:
        self._life.step()
        return getattr(self._db, name)


class LivedStorage(Storage):
    """The real storage, which counts each file as a step of the worker."""

    def __init__(self, fs: AbstractFileSystem, root: str, life: Life) -> None:
        super().__init__(fs, root)
        self._life = life

    @contextmanager
    def writer(self, path: str) -> Iterator[StorageWriter]:
        self._life.step()
        with super().writer(path) as target:
            yield target
        self._life.step()

    def remove_tree(self, prefix: str) -> None:
        self._life.step()
        super().remove_tree(prefix)
        self._life.step()


class LivedSource(Source):
    """The real source, which counts each update as a step of the worker."""

    def __init__(self, engine: Engine, life: Life) -> None:
        super().__init__(engine)
        self._life = life

    def update(self, rows: Sequence[Row]) -> set[object]:
        self._life.step()
        refused = super().update(rows)
        self._life.step()
        return refused
