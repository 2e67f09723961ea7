"""Which results are fetched, and what an error of the client may tell."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from include.dsar.accounts import Account
from include.dsar.errors import NotTaken, ReplyLost, UnsafeDownload
from include.dsar.http import client as client_module
from include.dsar.http.client import client
from include.dsar.http.download_addresses import PublicResolver, UnsafeAddress, check_download_url, is_public
from include.dsar.http.messages import HttpRequest
from include.dsar.vendors import settings

pytestmark = pytest.mark.asyncio

PUBLIC = "https://93.184.215.14"  # an address, so that no resolver is asked
LOCAL = "http://127.0.0.1"


@pytest.mark.parametrize(
    "url",
    ["https://93.184.215.14/a.zip", "https://93.184.215.14:8443/a?b=%2F", "https://[2606:2800:21f:cb07::1]/"],
)
async def test_https_at_a_public_address_is_fetched(url: str) -> None:
    """Whatever its port and query."""
    await check_download_url(url, PUBLIC)


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.215.14/a.zip", "ftp://93.184.215.14/", "file:///etc/passwd", "//93.184.215.14/",
        "a.zip", "", "https:///a", "https://user:password@93.184.215.14/", "https://user@93.184.215.14/",
        "https://:p@93.184.215.14/", "https://93.184.215.14:99999/", "https://[::1", "https://a\\@127.0.0.1/",
        "https://127.0.0.1/", "https://10.0.0.1/", "https://192.168.1.1/", "https://172.16.0.1/",
        "https://169.254.169.254/latest/meta-data/", "https://100.64.0.1/", "https://0.0.0.0/", "https://[::1]/",
        "https://[::ffff:127.0.0.1]/", "https://[fe80::1]/", "https://[fd00::1]/", "https://224.0.0.1/",
        "https://１２７.0.0.1/", "https://127。0。0。1/", "https://①②⑦.0.0.1/",
    ],
)  # fmt: skip
async def test_any_other_address_is_refused(url: str) -> None:
    """Also one that only looks like a name, and that aiohttp reads as an inner address."""
    with pytest.raises(UnsafeDownload) as raised:
        await check_download_url(url, PUBLIC)
    assert "93.184" not in str(raised.value)


async def test_http_and_inner_addresses_are_for_accounts_that_are_there_themselves() -> None:
    """The sandbox's results are fetched from the sandbox."""
    await check_download_url(f"{LOCAL}:8000/a.zip", LOCAL)
    await check_download_url("https://127.0.0.1/a.zip", LOCAL)
    with pytest.raises(UnsafeDownload, match="not https"):
        await check_download_url(f"{LOCAL}/a.zip", "https://127.0.0.1")


async def test_a_name_that_leads_inside_is_not_connected_to() -> None:
    """What the resolver has checked is what is connected to, so that no second answer can differ."""
    assert not await is_public("localhost")
    with pytest.raises(UnsafeAddress):
        await PublicResolver().resolve("localhost", 443, socket.AF_INET)
    with pytest.raises(UnsafeAddress):
        await PublicResolver().resolve("127.1", 443, socket.AF_INET)
    async with opened(PUBLIC) as one:
        with pytest.raises(UnsafeDownload, match="not public"):
            await one.download("https://localhost/a.zip", io.BytesIO())


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


async def test_a_download_carries_no_credentials_and_arrives_as_it_is() -> None:
    """Not packed for the way either: the bytes that are stored are the vendor's."""
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request)
        response = web.Response(body=b"PK" * 1000)
        response.enable_compression()  # where the client allows it
        return response

    target = io.BytesIO()
    async with served(handle) as url, opened(url) as one:
        await one.download(f"{url}/a.zip?signature=1%2F2", target)
    assert target.getvalue() == b"PK" * 1000
    assert not {"Authorization", "X-Authorization", "Cookie"} & set(seen[0].headers)


async def test_a_redirect_is_not_followed() -> None:
    """Neither by a call nor by a download: credentials and addresses stay where they were checked."""
    paths: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        paths.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async with served(handle) as url, opened(url) as one:
        reply = await one.send(HttpRequest("POST", "/a?token=s3cret", {}, {}))
        with pytest.raises(ReplyLost, match="HTTP 302"):
            await one.download(f"{url}/b", io.BytesIO())
    assert (reply.status, paths) == (302, ["/a", "/b"])


async def test_no_more_than_the_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a reply or a result without end."""

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


async def test_errors_hold_neither_url_nor_secret() -> None:
    """ID5's token stands in its URL; aiohttp's own texts hold it."""

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
async def test_retry_after_is_a_floor(method: str, status: int, form: str) -> None:
    """Of any vendor's 429 and 503, to any call: none of the account is made before it is over."""
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
