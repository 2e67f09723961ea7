"""A sandbox that adds markers to every part of its replies: reason, headers, cookies and body."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from threading import Thread
from typing import Any

from aiohttp import web

from include.accounts import ACCOUNTS
from include.sandbox import SandboxSettings
from include.sandbox.faults import Fault
from include.sandbox.server import World, application
from tests.e2e.leak_markers import STEM, secret

HTML = f"<html><title>502 for {STEM}</title><p>{STEM}@example.com is in our way</html>"


@dataclass(frozen=True)
class LeakyVendor:
    """One vendor with its own URL and its own secret."""

    name: str
    url: str
    world: World

    def refuse_credentials(self, refuse: bool) -> None:
        settings = self.world.jobs.settings
        self.world.jobs.settings = replace(settings, secret="another" if refuse else secret(self.name))

    def inject(self, kind: str, route: str, **fields: Any) -> None:
        """Inject a fault into the next call of a route."""
        self.world.faults.add(Fault(kind, route=route, **fields))

    def clear_faults(self) -> None:
        self.world.faults.clear()

    def job_ids(self) -> list[str]:
        return [job.job_id for job in self.world.jobs.all()]


@contextmanager
def leaky_vendors() -> Iterator[Mapping[str, LeakyVendor]]:
    """Run a sandbox for each vendor, all in one thread."""
    started: Future[tuple[dict[str, LeakyVendor], asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = Thread(target=asyncio.run, args=(_run(started),), name="leaky vendors", daemon=True)
    thread.start()
    vendors, loop, stop = started.result()
    try:
        yield vendors
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _run(started: Future[Any]) -> None:
    stop = asyncio.Event()
    async with AsyncExitStack() as ending:
        vendors = {}
        for name in (account.vendor for account in ACCOUNTS):
            world = World(SandboxSettings(secret=secret(name), min_seconds=1, max_seconds=3))
            app = application(world)
            app.middlewares.append(_leak)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
            await runner.setup()
            ending.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            vendors[name] = LeakyVendor(name, f"http://127.0.0.1:{runner.addresses[0][1]}", world)
        started.set_result((vendors, asyncio.get_running_loop(), stop))
        await stop.wait()


@web.middleware
async def _leak(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    response = await handler(request)
    if response.prepared:
        return response
    response.set_status(response.status, reason=f"{STEM} reason")
    response.headers["X-Debug"] = f"{STEM} {request.path_qs}"
    response.set_cookie("session", f"{STEM}cookie")
    if isinstance(response, web.Response) and response.content_type == "application/json" and response.text:
        with suppress(ValueError):  # a body that is not JSON despite its content type
            response.text = json.dumps(_with_markers(json.loads(response.text)))
    return response


def _with_markers(value: Any) -> Any:
    """Add a marker to every JSON object, and a signature to every result URL."""
    if isinstance(value, list):
        return [_with_markers(each) for each in value]
    if not isinstance(value, dict):
        return value
    marked = {name: _with_markers(each) for name, each in value.items()}
    if isinstance(value.get("data_url"), str):
        marked["data_url"] += f"?X-Amz-Signature={STEM}"
    return {**marked, "note": f"{STEM}note"}
