"""The HTTP client of all stages: one session with a connection pool for each account.

It never follows a redirect and never repeats a POST. (aiohttp repeats a GET if a kept connection turns out
to be closed.) It limits the size of a reply. Its errors contain no text of the vendor. They also contain no
URL, because the URL of ID5 contains the token.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import aiohttp
from yarl import URL

from include.dsar.accounts import AccountSettings
from include.dsar.errors import NotTaken, ReplyLost, UnsafeDownload, VendorBusy
from include.dsar.http.download_addresses import (
    NAME_NOT_PUBLIC,
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
MAX_CONCURRENT_REPLY_BYTES = 1024 * 1024  # larger replies are read one after another
DOWNLOAD_TIMEOUT = aiohttp.ClientTimeout(total=600, sock_connect=10, sock_read=60)
MAX_DOWNLOAD_BYTES = 512 * 1024 * 1024
OVERLOAD_STATUSES = frozenset({429, 503})
REFUSAL_STATUSES = frozenset({401, 403, 429})
CHUNK_BYTES = 256 * 1024


class Sink(Protocol):
    """Accepts the data of a download."""

    def write(self, data: bytes, /) -> object: ...


class Client:
    """Calls one account at the account's rate. Use `client(settings)` to create it."""

    def __init__(self, settings: AccountSettings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._downloads: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._pacer = Pacer(settings.requests_per_second, settings.max_concurrency)
        self._large = asyncio.Lock()
        self.calls = self.refused = 0

    async def send(self, request: HttpRequest, *, within: float = math.inf) -> HttpReply:
        """Makes one call and returns the reply.

        Raises WindowOver if the call cannot start within `within` seconds. Raises NotTaken if no call was
        made or no connection was established. Raises ReplyLost if no complete reply came back. Raises
        ProtocolError if `request.verify` rejects the reply. Reduces the rate after a 429 or 503, and makes
        no call before the time in `Retry-After`.
        """
        async with self._pacer.slot(within):
            self.calls += 1
            reply = await self._send(request)
        self.refused += reply.status in REFUSAL_STATUSES
        if reply.status in OVERLOAD_STATUSES:
            self._pacer.slow_down(retry_after(reply))
        if request.verify:
            request.verify(reply)
        return reply

    def honour(self, busy: VendorBusy) -> None:
        """Makes no call during the pause that the vendor asked for in the body of a reply (ID5: a 403)."""
        self._pacer.slow_down(busy.retry_after)

    async def download(self, url: str, target: Sink) -> None:
        """Downloads a result from the vendor's URL into `target`, without credentials.

        Raises UnsafeDownload if the URL or the size is not allowed. Raises ReplyLost if the download fails,
        or if the name in the URL resolves to an address that is not public.
        """
        await check_download_url(url, self._settings.base_url)
        session = await self._download_session()
        uncompressed = {"Accept-Encoding": "identity"}
        async with self._pacer.slot():
            self.calls += 1
            try:
                async with session.get(
                    url, headers=uncompressed, allow_redirects=False, timeout=DOWNLOAD_TIMEOUT
                ) as reply:
                    if reply.status != 200:
                        raise ReplyLost(f"the reply to the download was HTTP {reply.status}")
                    size = 0
                    async for chunk in reply.content.iter_chunked(CHUNK_BYTES):
                        size += len(chunk)
                        if size > MAX_DOWNLOAD_BYTES:
                            raise UnsafeDownload(f"the result is larger than {MAX_DOWNLOAD_BYTES} bytes")
                        target.write(chunk)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if isinstance(getattr(error, "os_error", None), UnsafeAddress):
                    raise ReplyLost(NAME_NOT_PUBLIC) from None  # our own DNS may be at fault
                raise ReplyLost(f"the download failed: {type(error).__name__}") from None

    async def _download_session(self) -> aiohttp.ClientSession:
        """Returns the session for all downloads. It is separate from the API's session and keeps no
        cookies.
        """
        async with self._opening:
            if self._downloads is None:
                is_internal = not await is_public(URL(self._settings.base_url).raw_host or "")
                connector = aiohttp.TCPConnector(
                    limit=self._settings.max_concurrency,
                    resolver=aiohttp.ThreadedResolver() if is_internal else PublicResolver(),
                    use_dns_cache=False,  # so that every new connection is checked
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
        """Reads the body. Large bodies are read one after another, so that together they do not fill the
        memory.
        """
        announced = reply.content_length
        if (announced or 0) > MAX_REPLY_BYTES:
            raise _too_large(reply)
        if announced is not None and announced <= MAX_CONCURRENT_REPLY_BYTES and not _is_compressed(reply):
            return await reply.read()  # most replies: aiohttp reads no more than this length
        chunks = reply.content.iter_chunked(CHUNK_BYTES)
        body = bytearray()
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_CONCURRENT_REPLY_BYTES:
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
    """Returns whether the body is compressed. A compressed body may be far larger than its announced
    length.
    """
    return aiohttp.hdrs.CONTENT_ENCODING in reply.headers


def _too_large(reply: aiohttp.ClientResponse) -> ReplyLost:
    reply.close()
    return ReplyLost(f"HTTP {reply.status} with a body larger than {MAX_REPLY_BYTES} bytes")


@asynccontextmanager
async def client(settings: AccountSettings) -> AsyncIterator[Client]:
    """Opens a client of the account, with one pooled connection per concurrent call."""
    connector = aiohttp.TCPConnector(limit=settings.max_concurrency)
    session = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
    opened = Client(settings, session)
    try:
        yield opened
    finally:
        await opened.close()
