"""Faults that a test injects between the client and a vendor.

A fault applies to the next matching calls. If ``taken`` is true, the vendor processes the call before its
reply is replaced. The default of ``taken`` depends on the kind of fault.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

DRIPS = 20
CHUNK = b"x" * 65_536
HTML = "<!doctype html><html><title>One moment</title><h1>We'll be back</h1></html>"


@dataclass
class Fault:
    """One fault. It matches ``vendor``, ``account`` and ``route``; None matches all. Times are in seconds.

    Raises ValueError for an unknown kind, and for a kind that needs a reply if ``taken`` is false.

    ========================== ======================================================= ======
    kind                       what the client sees                                     taken
    ========================== ======================================================= ======
    status                     ``status`` with ``body``, or with the vendor's error     no
    reset_before               the connection is reset without a reply                  no
    reset_after                the same, but the vendor has accepted the call           yes
    hang                       nothing for ``seconds``, then a closed connection        no
    slow_drip                  the real reply in small pieces, over ``seconds``         yes
    empty                      200 without a body                                       yes
    html                       200 (or ``status``) with a web page                      no
    truncated                  the real reply, cut off in the middle                    yes
    mislabelled                the real reply with the wrong ``content_type``           yes
    oversize                   200 with ``bytes`` bytes of body                         yes
    redirect                   302 (or ``status``) to ``location``                      no
    body                       200 (or ``status``) with exactly ``body``                yes
    reshaped                   the real reply with ``renamed`` keys and new ``values``  yes
    ========================== ======================================================= ======
    """

    kind: str
    vendor: str | None = None
    account: str | None = None
    route: str | None = None
    times: int | None = 1
    """How many calls it applies to. None means all calls until the faults are cleared."""
    status: int | None = None
    body: str | None = None
    headers: Mapping[str, str] | None = None
    content_type: str = "application/json"
    seconds: float = 5.0
    bytes: int = 100_000_000
    announced: bool = True
    """Whether an oversize reply has the header Content-Length."""
    location: str = "/elsewhere"
    renamed: Mapping[str, str] = field(default_factory=dict)
    """New names of keys, at every level of the reply."""
    values: Mapping[str, object] = field(default_factory=dict)
    """New values of keys, at every level of the reply."""
    taken: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault: {self.kind}")
        if self.taken is None:
            self.taken = KINDS[self.kind][0]
        if self.taken is False and KINDS[self.kind][1] in REAL_REPLIES:
            raise ValueError(f"{self.kind} changes a real reply, so `taken` must be true")

    def matches(self, vendor: str, account: str, route: str) -> bool:
        return (
            self.vendor in (None, vendor) and self.account in (None, account) and self.route in (None, route)
        )

    def reply(self, content: str, status: int, content_type: str) -> web.Response:
        return web.Response(
            text=content, status=self.status or status, content_type=content_type, headers=self.headers
        )


class Faults:
    """The faults that a test injected and that still apply, oldest first."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._pending.append(fault)

    def clear(self) -> None:
        self._pending.clear()

    def next_for(self, vendor: str, account: str, route: str) -> Fault | None:
        """Returns the first fault that matches the call. This use counts against ``times``."""
        for fault in self._pending:
            if fault.matches(vendor, account, route):
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self._pending.remove(fault)
                return fault
        return None


@dataclass(frozen=True)
class FaultyCall:
    """A call with a fault. It has the vendor's real reply if the vendor processed the call."""

    request: web.Request
    reply: web.Response | None
    error: Callable[[int], web.Response]
    """Builds the vendor's error reply for a status."""
    build: Callable[[object, int], web.Response]
    """Builds a reply of the vendor with this JSON."""


Replacement = Callable[[Fault, FaultyCall], Awaitable[web.StreamResponse]]


async def faulty_reply(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    """Returns the reply that the client receives instead of the vendor's reply."""
    return await KINDS[fault.kind][1](fault, call)


async def _status(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    status = fault.status or 500
    if fault.body is not None:
        return fault.reply(fault.body, status, fault.content_type)
    response = call.error(status)
    response.headers.update(fault.headers or {})
    return response


async def _reset(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    return _abort(call.request)


async def _hang(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    await asyncio.sleep(fault.seconds)
    return _abort(call.request)


async def _slow_drip(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    response, body = await _start(call)
    size = max(1, len(body) // DRIPS)
    for start in range(0, len(body), size):
        await response.write(body[start : start + size])
        await asyncio.sleep(fault.seconds / DRIPS)
    await response.write_eof()
    return response


async def _empty(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    return web.Response(status=200, headers=fault.headers)


async def _html(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    return fault.reply(HTML, 200, "text/html")


async def _truncated(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    response, body = await _start(call)
    await response.write(body[: len(body) // 2])
    if call.request.transport is not None:
        call.request.transport.close()
    return response


async def _mislabelled(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    reply = _real(call)
    reply.headers["Content-Type"] = fault.content_type  # the other headers may be a signature
    return reply


async def _oversize(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": fault.content_type})
    if fault.announced:
        response.content_length = fault.bytes
    await response.prepare(call.request)
    for start in range(0, fault.bytes, len(CHUNK)):
        await response.write(CHUNK[: fault.bytes - start])
    return response


async def _redirect(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    headers = {"Location": fault.location, **(fault.headers or {})}
    return web.Response(status=fault.status or 302, headers=headers)


async def _body(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    return fault.reply(fault.body or "", 200, fault.content_type)


async def _reshaped(fault: Fault, call: FaultyCall) -> web.StreamResponse:
    reply = _real(call)

    def changed(value: object) -> object:
        if isinstance(value, list):
            return [changed(one) for one in value]
        if not isinstance(value, dict):
            return value
        return {
            fault.renamed.get(key, key): fault.values.get(key, changed(one)) for key, one in value.items()
        }

    return call.build(changed(json.loads(reply.text or "")), fault.status or reply.status)


async def _start(call: FaultyCall) -> tuple[web.StreamResponse, bytes]:
    """Sends the head of the real reply. Returns its body, which is not sent yet."""
    reply = _real(call)
    assert isinstance(reply.body, bytes)
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = len(reply.body)
    await response.prepare(call.request)
    return response, reply.body


def _real(call: FaultyCall) -> web.Response:
    if call.reply is None or not isinstance(call.reply.body, bytes):
        raise TypeError("this kind of fault changes the vendor's reply, but the vendor sent none")
    return call.reply


def _abort(request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        # With a linger time of 0, close sends RST, as a crashed proxy does.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response()


KINDS: dict[str, tuple[bool, Replacement]] = {
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
    "reshaped": (True, _reshaped),
}
REAL_REPLIES = (_slow_drip, _truncated, _mislabelled, _reshaped)
