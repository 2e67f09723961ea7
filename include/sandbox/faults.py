"""What can go wrong on the way to a vendor and back, on demand: a table of kinds.

A fault hits the next calls that match it. ``taken`` says whether the vendor still acts on the call before
its reply is spoilt; each kind has its own usual answer.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

DRIPS = 20
CHUNK = b"x" * 65_536
HTML = "<!doctype html><html><title>One moment</title><h1>We'll be back</h1></html>"


@dataclass
class Fault:
    """One fault. ``vendor``, ``account`` and ``route`` narrow it down; None matches all.

    ========================== ======================================================= ======
    kind                       what the client sees                                     taken
    ========================== ======================================================= ======
    status                     ``status``, with ``body`` or the vendor's own for it     no
    reset_before               the connection is reset without a reply                  no
    reset_after                the same, but the vendor has taken the call              yes
    hang                       nothing for ``seconds``, then a closed connection        no
    slow_drip                  the real reply, a little at a time, over ``seconds``     yes
    empty                      200 without a body                                       yes
    html                       200 (or ``status``) with a web page                      no
    truncated                  the real reply, cut off in the middle                    yes
    mislabelled                the real reply, called ``content_type``                  yes
    oversize                   200 with ``bytes`` bytes of body                         yes
    redirect                   302 (or ``status``) to ``location``                      no
    body                       200 (or ``status``) with exactly ``body``                yes
    ========================== ======================================================= ======
    """

    kind: str
    vendor: str | None = None
    account: str | None = None
    route: str | None = None
    times: int | None = 1
    """How many calls are hit; None: all, until the faults are cleared."""
    status: int | None = None
    body: str | None = None
    headers: Mapping[str, str] | None = None
    content_type: str = "application/json"
    seconds: float = 5.0
    bytes: int = 100_000_000
    announced: bool = True
    """Whether the head tells how many ``bytes`` will come."""
    location: str = "/elsewhere"
    taken: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault: {self.kind}")
        if self.taken is None:
            self.taken = KINDS[self.kind][0]
        if self.taken is False and KINDS[self.kind][1] in REAL_REPLIES:
            raise ValueError(f"{self.kind} spoils a real reply, so the call is taken")

    def matches(self, vendor: str, account: str, route: str) -> bool:
        return (
            self.vendor in (None, vendor) and self.account in (None, account) and self.route in (None, route)
        )

    def reply(self, content: str, status: int, content_type: str) -> web.Response:
        return web.Response(
            text=content, status=self.status or status, content_type=content_type, headers=self.headers
        )


class Faults:
    """The faults that are waiting for a call, in the order in which they were injected."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._waiting.append(fault)

    def clear(self) -> None:
        self._waiting.clear()

    def take(self, vendor: str, account: str, route: str) -> Fault | None:
        """The fault for this call, used up by one."""
        for fault in self._waiting:
            if fault.matches(vendor, account, route):
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self._waiting.remove(fault)
                return fault
        return None


@dataclass(frozen=True)
class Spoilt:
    """A call that a fault has hit, and the vendor's reply to it if it was taken."""

    request: web.Request
    reply: web.Response | None
    error: Callable[[int], web.Response]
    """The vendor's own answer for a status."""


Spoil = Callable[[Fault, Spoilt], Awaitable[web.StreamResponse]]


async def spoil(fault: Fault, spoilt: Spoilt) -> web.StreamResponse:
    """What the client gets instead of the vendor's reply."""
    return await KINDS[fault.kind][1](fault, spoilt)


async def _status(fault: Fault, spoilt: Spoilt) -> web.StreamResponse:
    status = fault.status or 500
    if fault.body is not None:
        return fault.reply(fault.body, status, fault.content_type)
    response = spoilt.error(status)
    response.headers.update(fault.headers or {})
    return response


async def _reset(fault: Fault, spoilt: Spoilt) -> web.StreamResponse:
    return _abort(spoilt.request)


async def _hang(fault: Fault, spoilt: Spoilt) -> web.StreamResponse:
    await asyncio.sleep(fault.seconds)
    return _abort(spoilt.request)


async def _slow_drip(fault: Fault, spoilt: Spoilt) -> web.StreamResponse:
    response, body = await _start(spoilt)
    size = max(1, len(body) // DRIPS)
    for start in range(0, len(body), size):
        await response.write(body[start : start + size])
        await asyncio.sleep(fault.seconds / DRIPS)
    await response.write_eof()
    return response


async def _empty(fault: Fault, spoilt: Spoilt) -> web.StreamResponse:
    return web.Response(status=200, headers=fault.headers)


async def _html(fault: Fault, spoilt: Spoilt) -> web.StreamResponse:
    return fault.reply(HTML, 200, "text/html")


async def _truncated(fault: Fault, spoilt: Spoilt) -> web.StreamResponse:
    response, body = await _start(spoilt)
    await response.write(body[: len(body) // 2])
    if spoilt.request.transport is not None:
        spoilt.request.transport.close()
    return response


async def _mislabelled(fault: Fault, spoilt: Spoilt) -> web.StreamResponse:
    reply = _real(spoilt)
    return web.Response(status=reply.status, body=reply.body, content_type=fault.content_type)


async def _oversize(fault: Fault, spoilt: Spoilt) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": fault.content_type})
    if fault.announced:
        response.content_length = fault.bytes
    await response.prepare(spoilt.request)
    for start in range(0, fault.bytes, len(CHUNK)):
        await response.write(CHUNK[: fault.bytes - start])
    return response


async def _redirect(fault: Fault, spoilt: Spoilt) -> web.StreamResponse:
    headers = {"Location": fault.location, **(fault.headers or {})}
    return web.Response(status=fault.status or 302, headers=headers)


async def _body(fault: Fault, spoilt: Spoilt) -> web.StreamResponse:
    return fault.reply(fault.body or "", 200, fault.content_type)


async def _start(spoilt: Spoilt) -> tuple[web.StreamResponse, bytes]:
    """The head of the real reply, sent, and the body that it promises."""
    reply = _real(spoilt)
    assert isinstance(reply.body, bytes)
    response = web.StreamResponse(status=reply.status)
    response.content_type = reply.content_type
    response.content_length = len(reply.body)
    await response.prepare(spoilt.request)
    return response, reply.body


def _real(spoilt: Spoilt) -> web.Response:
    if spoilt.reply is None or not isinstance(spoilt.reply.body, bytes):
        raise TypeError("the fault spoils a real reply, and there is none")
    return spoilt.reply


def _abort(request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        # Lingering for no time makes the kernel send RST, which is what a dying proxy looks like.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response()


KINDS: dict[str, tuple[bool, Spoil]] = {
    "status": (False, _status),
    "reset_before": (False, _reset),
    "reset_after": (True, _reset),
    "hang": (False, _hang),
    "slow_drip": (True, _slow_drip),
    "empty": (True, _empty),
    "html": (False, _html),
    "truncated": (True, _truncated),
    "mislabelled": (True, _mislabelled),
    "oversize": (True, _oversize),
    "redirect": (False, _redirect),
    "body": (True, _body),
}
REAL_REPLIES = (_slow_drip, _truncated, _mislabelled)
