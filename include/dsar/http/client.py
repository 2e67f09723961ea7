"""The HTTP client of all stages: one pooled session for each account.

It never follows a redirect, never repeats a POST by itself (aiohttp repeats a GET whose kept
connection turns out to be dead), reads no more than a set size, and its errors hold neither the URL
(ID5's carries the token) nor anything that the vendor wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import aiohttp
from yarl import URL

from include.dsar.accounts import AccountSettings
from include.dsar.errors import NotTaken, ReplyLost, UnsafeDownload, VendorBusy
from include.dsar.http.download_addresses import (
    NOT_PUBLIC,
    PublicResolver,
    UnsafeAddress,
    check_download_url,
    is_public,
)
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.http.pacing import Pacer
from include.dsar.http.retry_after import retry_after

TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=30)
MAX_REPLY_BYTES = 64 * 1024 * 1024
LARGE_REPLY_BYTES = 1024 * 1024  # only one that is larger is read at a time
DOWNLOAD_TIMEOUT = aiohttp.ClientTimeout(total=600, sock_connect=10, sock_read=60)
MAX_DOWNLOAD_BYTES = 512 * 1024 * 1024
OVERLOADED = frozenset({429, 503})
REFUSED = frozenset({401, 403, 429})
CHUNK = 256 * 1024


class Sink(Protocol):
    """What a download is written to."""

    def write(self, data: bytes, /) -> object: ...


class Client:
    """Calls one account, paced. Make it with `client(settings)`."""

    def __init__(self, settings: AccountSettings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._downloads: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._pacer = Pacer(settings.requests_per_second, settings.max_concurrency)
        self._large = asyncio.Lock()
        self.calls = self.refused = 0

    async def send(self, request: HttpRequest) -> HttpReply:
        """One call, one reply.

        Raises NotTaken where no call was made or no connection came about, ReplyLost where one did and
        no whole reply came back. Slows this account down where the vendor is overloaded, and makes no
        further call before `Retry-After` is over, whatever the reply means to its vendor.
        """
        async with self._pacer.slot():
            self.calls += 1
            reply = await self._send(request)
        self.refused += reply.status in REFUSED
        if reply.status in OVERLOADED:
            self._pacer.slow_down(retry_after(reply))
        return reply

    def honour(self, busy: VendorBusy) -> None:
        """The vendor asks for patience in words of its own (ID5: a 403): no call before that is over."""
        self._pacer.slow_down(busy.retry_after)

    async def download(self, url: str, target: Sink) -> None:
        """Streams a result that the vendor pointed at into `target`, without any credentials.

        Raises UnsafeDownload for an address or a size that we refuse, ReplyLost where it does not
        come through.
        """
        await check_download_url(url, self._settings.base_url)
        session = await self._download_session()
        as_it_is = {"Accept-Encoding": "identity"}
        async with self._pacer.slot():
            self.calls += 1
            try:
                async with session.get(
                    url, headers=as_it_is, allow_redirects=False, timeout=DOWNLOAD_TIMEOUT
                ) as reply:
                    if reply.status != 200:
                        raise ReplyLost(f"the result's address answered HTTP {reply.status}")
                    size = 0
                    async for chunk in reply.content.iter_chunked(CHUNK):
                        size += len(chunk)
                        if size > MAX_DOWNLOAD_BYTES:
                            raise UnsafeDownload(f"the result is larger than {MAX_DOWNLOAD_BYTES} bytes")
                        target.write(chunk)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if isinstance(getattr(error, "os_error", None), UnsafeAddress):
                    raise UnsafeDownload(NOT_PUBLIC) from None
                raise ReplyLost(f"the result did not come through: {type(error).__name__}") from None

    async def _download_session(self) -> aiohttp.ClientSession:
        """One for all downloads of this client, apart from the vendor's API; it keeps no cookies."""
        async with self._opening:
            if self._downloads is None:
                inside = not await is_public(URL(self._settings.base_url).raw_host or "")
                connector = aiohttp.TCPConnector(
                    limit=self._settings.max_concurrency,
                    resolver=aiohttp.ThreadedResolver() if inside else PublicResolver(),
                    use_dns_cache=False,  # each new connection's address is looked up, and looked at
                )
                self._downloads = aiohttp.ClientSession(
                    connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
                )
            return self._downloads

    async def close(self) -> None:
        if self._downloads:
            await self._downloads.close()
        await self._session.close()

    async def _send(self, request: HttpRequest) -> HttpReply:
        url = self._settings.base_url.rstrip("/") + request.path
        try:
            async with self._session.request(
                request.method, url, headers=request.headers, json=request.body, allow_redirects=False
            ) as reply:
                body = await self._read(reply)
                headers = {name.lower(): value for name, value in reply.headers.items()}
                return HttpReply(reply.status, body, headers)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotTaken(f"no connection to the vendor: {type(error).__name__}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ReplyLost(f"no reply from the vendor: {type(error).__name__}") from None

    async def _read(self, reply: aiohttp.ClientResponse) -> bytes:
        """The body. Large ones are read one after another, so that many at once do not fill the memory."""
        announced = reply.content_length
        if (announced or 0) > MAX_REPLY_BYTES:
            raise _too_large(reply)
        if announced is not None and announced <= LARGE_REPLY_BYTES and not _is_compressed(reply):
            return await reply.read()  # most: not one byte more is read
        chunks = reply.content.iter_chunked(CHUNK)
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) > LARGE_REPLY_BYTES:
                break
        else:
            return bytes(body)
        async with self._large:
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_REPLY_BYTES:
                    raise _too_large(reply)
            return bytes(body)


def _is_compressed(reply: aiohttp.ClientResponse) -> bool:
    """Then the body may be far larger than its announced length."""
    return aiohttp.hdrs.CONTENT_ENCODING in reply.headers


def _too_large(reply: aiohttp.ClientResponse) -> ReplyLost:
    reply.close()
    return ReplyLost(f"HTTP {reply.status} with a body larger than {MAX_REPLY_BYTES} bytes")


@asynccontextmanager
async def client(settings: AccountSettings) -> AsyncIterator[Client]:
    """A client of the account, with a connection pool as wide as the account may be called."""
    connector = aiohttp.TCPConnector(limit=settings.max_concurrency)
    session = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
    calling = Client(settings, session)
    try:
        yield calling
    finally:
        await calling.close()
