"""The four vendors on one port, and ``/_sandbox``: the sandbox's own routes for tests."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict

from aiohttp import web

from include.sandbox import attentive, batch, besitos, id5
from include.sandbox.book import Book
from include.sandbox.call import Call, Refused, Route, VendorApi
from include.sandbox.faults import Fault, Faults, Spoilt, spoil
from include.sandbox.settings import SandboxSettings

VENDORS = (besitos.API, batch.API, id5.API, attentive.API)
USUAL_RATE_LIMIT = 150
"""What Attentive's rate headers say where no limit is set."""
MAX_BODY = 64 * 1024 * 1024


class World:
    """The state behind the routes: the book, the faults, and counts of calls."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.book = Book(settings)
        self.faults = Faults()
        self.calls: Counter[tuple[str, str]] = Counter()
        self._rates: dict[tuple[str, str], tuple[int, int]] = {}

    def calls_by_vendor(self) -> dict[str, dict[str, int]]:
        """How many calls each route has seen, refused and spoilt ones included."""
        counts: dict[str, dict[str, int]] = {}
        for (vendor, route), count in self.calls.items():
            counts.setdefault(vendor, {})[route] = count
        return counts

    def rate(self, vendor: str, route: str) -> int:
        """How many calls the route has seen in this second, with this one."""
        second = int(time.monotonic())
        last, count = self._rates.get((vendor, route), (second, 0))
        count = count + 1 if last == second else 1
        self._rates[vendor, route] = (second, count)
        return count


@asynccontextmanager
async def serve(world: World) -> AsyncIterator[str]:
    """Listen until the block is left; gives the URL."""
    runner = web.AppRunner(application(world), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, world.settings.host, world.settings.port).start()
        yield f"http://{world.settings.host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        world.book.close()


def application(world: World) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY)
    for api in VENDORS:
        for route in api.routes:
            app.router.add_route(route.method, route.path, _vendor_handler(world, api, route))
    _add_own_routes(app, world)
    return app


def _vendor_handler(
    world: World, api: VendorApi, route: Route
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        world.calls[api.name, route.name] += 1
        call = Call(request, await request.read(), world.book)
        fault = world.faults.take(api.name, call.account, route.name)
        if fault is None:
            return _answer(world, api, route, call)
        reply = _answer(world, api, route, call) if fault.taken else None
        return await spoil(fault, Spoilt(request, reply, api.error))

    return handle


def _answer(world: World, api: VendorApi, route: Route, call: Call) -> web.Response:
    seen = world.rate(api.name, route.name)
    limit = world.settings.rate_limit
    try:
        response = api.error(429) if limit is not None and seen > limit else route.handler(call)
    except Refused as refused:
        response = refused.response
    if api.tells_rate:
        limit = limit or USUAL_RATE_LIMIT
        response.headers["x-ratelimit-limit"] = str(limit)
        response.headers["x-ratelimit-remaining"] = str(max(0, limit - seen))
    return response


def _add_own_routes(app: web.Application, world: World) -> None:
    async def book(request: web.Request) -> web.Response:
        return web.json_response([asdict(entry) for entry in world.book.entries()])

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
        world.book.advance(float(json.loads(await request.read())["advance"]))
        return web.json_response({"now": world.book.now()})

    app.router.add_get("/_sandbox/book", book)
    app.router.add_get("/_sandbox/calls", calls)
    app.router.add_post("/_sandbox/faults", inject)
    app.router.add_delete("/_sandbox/faults", clear)
    app.router.add_post("/_sandbox/clock", advance)
