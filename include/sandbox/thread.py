"""A sandbox for tests: a real server on a real port, in a thread with its own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import Any

from include.sandbox.faults import Fault
from include.sandbox.jobs import Job
from include.sandbox.server import World, serve
from include.sandbox.settings import SandboxSettings


class Sandbox:
    """A running sandbox, controlled from the test's thread."""

    def __init__(self, url: str, world: World, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self._world = world
        self._loop = loop

    def jobs(self) -> list[Job]:
        """Returns every job that a vendor accepted, oldest first."""
        return self._world.jobs.all()

    def calls(self) -> dict[str, dict[str, int]]:
        """Returns the number of calls by vendor and route."""
        return self._world.calls_by_vendor()

    def inject(self, kind: str, **fields: Any) -> None:
        """Makes the next matching call fail. ``fields`` are fields of ``Fault``, such as ``vendor``."""
        self._world.faults.add(Fault(kind, **fields))

    def clear_faults(self) -> None:
        self._world.faults.clear()

    def advance(self, seconds: float) -> None:
        """Moves the sandbox's clock forward."""
        self._world.jobs.advance(seconds)


@contextmanager
def run_in_thread(settings: SandboxSettings | None = None) -> Iterator[Sandbox]:
    """Runs a sandbox until the block ends."""
    started: Future[tuple[Sandbox, asyncio.Event]] = Future()
    thread = Thread(
        target=asyncio.run, args=(_run(settings or SandboxSettings(), started),), name="sandbox", daemon=True
    )
    thread.start()
    sandbox, stop = started.result()
    try:
        yield sandbox
    finally:
        sandbox._loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _run(settings: SandboxSettings, started: Future[tuple[Sandbox, asyncio.Event]]) -> None:
    try:
        world = World(settings)
        async with serve(world) as url:
            stop = asyncio.Event()
            started.set_result((Sandbox(url, world, asyncio.get_running_loop()), stop))
            await stop.wait()
    except Exception as error:
        if started.done():
            raise
        started.set_exception(error)
