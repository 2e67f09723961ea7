"""Serves all vendors on one port. The sandbox's own routes for tests are below ``/_sandbox``."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict

from aiohttp import web

from include.sandbox.faults import Fault, Faults, FaultyCall, faulty_reply
from include.sandbox.jobs import Jobs
from include.sandbox.registry import VENDORS
from include.sandbox.settings import SandboxSettings
from include.sandbox.vendor import Call, Refused, Route, SandboxVendor

DEFAULT_RATE_LIMIT = 150
"""The limit in the rate headers when the settings have no limit."""
MAX_BODY = 64 * 1024 * 1024


class World:
    """The state behind the routes: the jobs, the faults and the call counts."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.jobs = Jobs(settings)
        self.faults = Faults()
        self.calls: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._rates: dict[tuple[str, str], tuple[int, int]] = {}

    def calls_by_vendor(self) -> dict[str, dict[str, int]]:
        """Returns the number of calls by vendor and route. Refused calls and calls with a fault count too."""
        return {vendor: dict(counts) for vendor, counts in self.calls.items()}

    def rate(self, vendor: str, route: str) -> int:
        """Counts this call. Returns the number of calls to the route in the current second."""
        second = int(time.monotonic())
        last, count = self._rates.get((vendor, route), (second, 0))
        count = count + 1 if last == second else 1
        self._rates[vendor, route] = (second, count)
        return count


@asynccontextmanager
async def serve(world: World) -> AsyncIterator[str]:
    """Serves the vendors until the block ends. Yields the URL."""
    runner = web.AppRunner(application(world), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, world.settings.host, world.settings.port).start()
        yield f"http://{world.settings.host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        world.jobs.close()


def application(world: World) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY)
    for vendor in VENDORS.values():
        for route in vendor.routes:
            app.router.add_route(route.method, route.path, _vendor_handler(world, vendor, route))
    _add_own_routes(app, world)
    return app


def _vendor_handler(
    world: World, vendor: SandboxVendor, route: Route
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        world.calls[vendor.name][route.name] += 1
        call = Call(vendor, request, await request.read(), world.jobs)
        fault = world.faults.next_for(vendor.name, call.account, route.name)
        if fault is None:
            return _reply(world, route, call)
        reply = _reply(world, route, call) if fault.taken else None
        return await faulty_reply(fault, FaultyCall(request, reply, vendor.error, vendor.reply))

    return handle


def _reply(world: World, route: Route, call: Call) -> web.Response:
    vendor = call.vendor
    rate = world.rate(vendor.name, route.name)
    limit = world.settings.rate_limit
    try:
        response = vendor.error(429) if limit is not None and rate > limit else route.handler(call)
    except Refused as refused:
        response = refused.response
    if vendor.sends_rate_headers:
        limit = limit or DEFAULT_RATE_LIMIT
        response.headers["x-ratelimit-limit"] = str(limit)
        response.headers["x-ratelimit-remaining"] = str(max(0, limit - rate))
    return response


def _add_own_routes(app: web.Application, world: World) -> None:
    async def jobs(request: web.Request) -> web.Response:
        return web.json_response([asdict(job) for job in world.jobs.all()])

    async def calls(request: web.Request) -> web.Response:
        return web.json_response(world.calls_by_vendor())

    async def inject(request: web.Request) -> web.Response:
        try:
            world.faults.add(Fault(**json.loads(await request.read())))
        except (TypeError, ValueError) as error:
            return web.Response(status=400, text=str(error))
        return web.Response(status=204)

    async def clear(request: web.Request) -> web.Response:
        world.faults.clear()
        return web.Response(status=204)

    async def advance(request: web.Request) -> web.Response:
        world.jobs.advance(float(json.loads(await request.read())["advance"]))
        return web.json_response({"now": world.jobs.now()})

    app.router.add_get("/_sandbox/jobs", jobs)
    app.router.add_get("/_sandbox/calls", calls)
    app.router.add_post("/_sandbox/faults", inject)
    app.router.add_delete("/_sandbox/faults", clear)
    app.router.add_post("/_sandbox/clock", advance)
