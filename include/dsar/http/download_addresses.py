"""Checks the addresses from which a result may be downloaded."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import suppress

import aiohttp
from yarl import URL

from include.dsar.errors import UnsafeDownload

# Not public, although Python's is_global is true: before 3.12.4, and still for site-local ones (RFC 3879).
NOT_PUBLIC_NETWORKS = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "64:ff9b:1::/48", "fec0::/10")))
# With an IPv4 address in the last four bytes: NAT64, and the deprecated IPv4-compatible addresses.
IPV4_EMBEDDING_NETWORKS = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
NOT_PUBLIC = "the address of the result is not public"
NAME_NOT_PUBLIC = "the name in the address of the result resolves to an address that is not public"


async def check_download_url(url: str, base_url: str) -> None:
    """Raises UnsafeDownload if the URL must not be fetched.

    The URL must be https, or http if the account's base URL is http. If the account's own host is public,
    the host of the URL must be public too. So no reply can make us call a host in the internal network.
    """
    try:
        target, own = URL(url), URL(base_url)  # aiohttp uses the same parser, so both read the same host
    except ValueError:
        raise UnsafeDownload("the address of the result is malformed") from None
    host, own_host = target.raw_host or "", own.raw_host or ""
    if target.scheme != "https" and not target.scheme == own.scheme == "http":
        raise UnsafeDownload("the address of the result is not https")
    if not host or target.raw_user is not None or target.raw_password is not None:
        raise UnsafeDownload("the address of the result has no host, or contains credentials")
    if _is_address(host) and not _is_public_address(host) and await is_public(own_host):
        raise UnsafeDownload(NOT_PUBLIC)


async def is_public(host: str) -> bool:
    """Returns whether a host name or address stands for public addresses only."""
    with suppress(ValueError):  # an address in standard notation needs no look-up
        return _is_public_address(str(ipaddress.ip_address(host)))
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except (OSError, ValueError):
        return True  # the name does not resolve; the connection will fail
    return all(_is_public_address(str(address[0])) for *_, address in found)


def _is_public_address(text: str) -> bool:
    """Returns whether the address is public. False for an address in another notation, such as 127.1 or
    2130706433.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and (inner := _inner_address(address)) is not None:
        return _is_public_address(str(inner))
    special = address.is_multicast or any(address in network for network in NOT_PUBLIC_NETWORKS)
    return address.is_global and not special


def _inner_address(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Returns the IPv4 address that is inside this IPv6 address. A gateway would connect to the IPv4
    address. None if the IPv6 address contains no IPv4 address.
    """
    if any(address in network for network in IPV4_EMBEDDING_NETWORKS):
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])


def _is_address(host: str) -> bool:
    """Returns whether aiohttp connects to the host without asking the resolver."""
    return ":" in host or host.replace(".", "").isdigit()


class UnsafeAddress(OSError):
    """A host name resolves to a loopback, link-local or private address."""


class PublicResolver(aiohttp.ThreadedResolver):
    """Resolves names to public addresses only. aiohttp connects only to addresses that this resolver
    checked.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await super().resolve(host, port, family)
        if not all(_is_public_address(one["host"]) for one in found):
            raise UnsafeAddress
        return found
