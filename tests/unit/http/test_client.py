"""The HTTP client limits redirects and sizes, obeys Retry-After, and raises errors with safe texts."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from include.dsar.accounts import Account
from include.dsar.errors import NotTaken, ProtocolError, ReplyLost, UnsafeDownload
from include.dsar.http import client as client_module
from include.dsar.http.client import client
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.vendors import settings


@asynccontextmanager
async def opened(base_url: str) -> AsyncIterator[client_module.Client]:
    account = Account("id5", vendor="id5")
    resolved = settings(
        account, base_url=base_url, secret="s3cret", extra={"partner_id": "1", "requests_per_second": 999}
    )
    async with client(resolved) as one:
        yield one


@asynccontextmanager
async def served(handle: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_download_has_no_credentials_and_arrives_unchanged() -> None:
    """The download has no credentials. It is also not compressed on the way, because storage keeps the
    vendor's bytes.
    """
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request)
        response = web.Response(body=b"PK" * 1000)
        response.enable_compression()  # only if the client accepts compression
        return response

    target = io.BytesIO()
    async with served(handle) as url, opened(url) as one:
        await one.download(f"{url}/a.zip?signature=1%2F2", target)
    assert target.getvalue() == b"PK" * 1000
    assert not {"Authorization", "X-Authorization", "Cookie"} & set(seen[0].headers)


async def test_a_reply_that_the_request_does_not_accept_is_not_returned() -> None:
    """A reply of another type does not come from the vendor's API, so it is not parsed."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=b"forged", headers={"X-Signature": "wrong"})

    def verify(reply: HttpReply) -> None:
        if reply.headers.get("x-signature") != "right":
            raise ProtocolError("not signed")

    async with served(handle) as url, opened(url) as one:
        assert (await one.send(HttpRequest("GET", "/"))).body == b"forged"
        with pytest.raises(ProtocolError, match="not signed"):
            await one.send(HttpRequest("GET", "/", verify=verify))


async def test_a_redirect_is_not_followed() -> None:
    """Neither a call nor a download follows a redirect."""
    paths: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        paths.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async with served(handle) as url, opened(url) as one:
        reply = await one.send(HttpRequest("POST", "/a?token=s3cret", {}, {}))
        with pytest.raises(ReplyLost, match="HTTP 302"):
            await one.download(f"{url}/b", io.BytesIO())
    assert (reply.status, paths) == (302, ["/a", "/b"])


async def test_a_reply_and_a_download_without_end_are_cut_off_at_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reply or a download over the limit raises an error."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        except ConnectionError:
            return response

    monkeypatch.setattr(client_module, "MAX_REPLY_BYTES", 1_000_000)
    monkeypatch.setattr(client_module, "MAX_DOWNLOAD_BYTES", 1_000_000)
    async with served(handle) as url, opened(url) as one:
        with pytest.raises(ReplyLost, match="larger than 1000000 bytes"):
            await one.send(HttpRequest("GET", "/"))
        target = io.BytesIO()
        with pytest.raises(UnsafeDownload, match="larger than 1000000 bytes"):
            await one.download(f"{url}/a", target)
        assert len(target.getvalue()) <= 1_000_000


async def test_errors_contain_neither_url_nor_secret() -> None:
    """ID5's token is in the URL, and aiohttp's error texts contain the URL."""

    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    request = HttpRequest("POST", "/partners?token=s3cret", {"X-Authorization": "s3cret"}, {"email": "jane"})
    raised: list[BaseException] = []
    async with served(handle) as url, opened(url) as one:
        for call in (one.send(request), one.download(f"{url}/?token=s3cret", io.BytesIO())):
            with pytest.raises(ReplyLost) as lost:
                await call
            raised.append(lost.value)
    async with opened("http://127.0.0.1:1") as one:
        with pytest.raises(NotTaken) as refused:
            await one.send(request)
        raised.append(refused.value)
    for error in raised:
        assert error.__suppress_context__
        assert not [word for word in ("s3cret", "jane", "127.0.0.1") if word in repr(error)]
    assert "s3cret" not in repr(request)


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_call_is_made_before_retry_after_is_over(method: str, status: int, form: str) -> None:
    """A 429 or 503 to any call delays all calls. If Retry-After is long, calls raise NotTaken at once."""
    seen: list[float] = []
    wait = 1 if method == "GET" else 3600

    async def handle(request: web.Request) -> web.Response:
        seen.append(time.time())
        if len(seen) > 1:
            return web.Response()
        at = datetime.now(UTC) + timedelta(seconds=wait + 1)  # a date has whole seconds
        told = str(wait) if form == "seconds" else format_datetime(at, usegmt=True)
        return web.Response(status=status, headers={"Retry-After": told})

    async with served(handle) as url, opened(url) as one:
        assert (await one.send(HttpRequest(method, "/"))).status == status
        if wait == 1:
            await one.send(HttpRequest(method, "/"))
            assert seen[1] - seen[0] >= 1
        else:
            with pytest.raises(NotTaken) as raised:
                await one.send(HttpRequest(method, "/"))
            assert raised.value.retry_after == pytest.approx(3600, abs=10)
            assert len(seen) == 1
