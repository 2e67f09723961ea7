"""Which addresses a result may be downloaded from."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import suppress

import aiohttp
from yarl import URL

from include.dsar.errors import UnsafeDownload

# Not public, though Python calls them global: before 3.12.4, and (RFC 3879's site-local ones) still.
SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "64:ff9b:1::/48", "fec0::/10")))
# IPv4 in the last four bytes: NAT64, and the IPv4-compatible addresses of old.
EMBEDDING = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
NOT_PUBLIC = "the result lies at an address that is not public"


async def check_download_url(url: str, base_url: str) -> None:
    """Raises UnsafeDownload for an address that we will not fetch.

    https only, http only where the account's own address is http; and a host that is not public
    only where the account's own is not public either, so that no reply can point us inwards.
    """
    try:
        target, own = URL(url), URL(base_url)  # aiohttp's own reading: no other parser's may differ from it
    except ValueError:
        raise UnsafeDownload("the result's address is malformed") from None
    host, own_host = target.raw_host or "", own.raw_host or ""
    if target.scheme != "https" and not target.scheme == own.scheme == "http":
        raise UnsafeDownload("the result's address is not https")
    if not host or target.raw_user is not None or target.raw_password is not None:
        raise UnsafeDownload("the result's address has no host, or credentials in it")
    if _is_address(host) and not _is_public_address(host) and await is_public(own_host):
        raise UnsafeDownload(NOT_PUBLIC)


async def is_public(host: str) -> bool:
    """Whether a name or address leads to public addresses only."""
    with suppress(ValueError):  # an address in its ordinary form needs no look-up
        return _is_public_address(str(ipaddress.ip_address(host)))
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except (OSError, ValueError):
        return True  # leads nowhere; the connection will say so
    return all(_is_public_address(str(address[0])) for *_, address in found)


def _is_public_address(text: str) -> bool:
    """Also False for what is no address in its ordinary form, such as 127.1 or 2130706433."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and (inner := _inner_address(address)) is not None:
        return _is_public_address(str(inner))
    special = address.is_multicast or any(address in network for network in SPECIAL)
    return address.is_global and not special


def _inner_address(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address to which a gateway or the system itself takes an IPv6 one."""
    if any(address in network for network in EMBEDDING):
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])


def _is_address(host: str) -> bool:
    """Whether aiohttp connects to the host as it stands, without asking a resolver."""
    return ":" in host or host.replace(".", "").isdigit()


class UnsafeAddress(OSError):
    """A name that resolves to loopback, link-local or private addresses."""


class PublicResolver(aiohttp.ThreadedResolver):
    """Resolves names to public addresses only; what it has checked is what is connected to."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await super().resolve(host, port, family)
        if not all(_is_public_address(one["host"]) for one in found):
            raise UnsafeAddress
        return found
