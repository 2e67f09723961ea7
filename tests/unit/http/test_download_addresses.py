"""Addresses of results that would lead us inwards, in every spelling that a resolver or a gateway takes."""

from __future__ import annotations

import io
import socket
from typing import Any

import pytest

from include.dsar.accounts import Account
from include.dsar.errors import DsarError, ReplyLost, UnsafeDownload
from include.dsar.http.client import client
from include.dsar.http.download_addresses import check_download_url
from include.dsar.vendors import settings

pytestmark = pytest.mark.asyncio

PUBLIC = "https://93.184.215.14"
ACCOUNT = settings(
    Account("batch", "batch"), base_url=PUBLIC, secret="s3cret", extra={"api_key": "k", "max_concurrency": 1}
)


@pytest.mark.parametrize(
    "host",
    [
        "127.1", "127.0.1", "2130706433", "017700000001", "0177.0.0.1", "0", "127.0.0.1.", "169.254.169.254.",
        "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::ffff:10.0.0.1]", "[::127.0.0.1]", "[::]",
        "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]", "[2001:0:7f00:1::1]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[ff02::1]",
        "[fec0::1]", "192.0.0.192", "198.18.0.1", "255.255.255.255", "240.0.0.1", "99999999999", "1.2.3.4.5",
    ],
)  # fmt: skip
async def test_an_inner_address_is_refused_in_any_spelling(host: str) -> None:
    """Short, decimal, octal, rooted, within IPv6, or with a zone: none of them gets as far as a socket."""
    with pytest.raises(UnsafeDownload):
        await check_download_url(f"https://{host}/a.zip", PUBLIC)


@pytest.mark.parametrize("host", ["[64:ff9b::5db8:d70e]", "[2002:5db8:d70e::1]", "[::ffff:93.184.215.14]"])
async def test_a_public_address_within_ipv6_is_fetched(host: str) -> None:
    """As a network without IPv4 of its own is given it by its resolver (NAT64)."""
    await check_download_url(f"https://{host}/a.zip", PUBLIC)


@pytest.mark.parametrize(
    "scheme", ["http", "ftp", "file", "data", "gopher", "unix", "javascript", "HTTP", "ws", "https+unix"]
)
async def test_another_scheme_is_refused(scheme: str) -> None:
    """Whatever the host."""
    with pytest.raises(UnsafeDownload):
        await check_download_url(f"{scheme}://93.184.215.14/a.zip", PUBLIC)


@pytest.mark.parametrize(
    "url",
    [
        "https://93.184.215.14@127.0.0.1/", "https://127.0.0.1#@93.184.215.14/", "https://127.0.0.1\\@93.184.215.14/",
        "https://127.0.0.1?@93.184.215.14/", "https://@127.0.0.1/", "https://93.184.215.14:80@127.0.0.1/",
        " https://127.0.0.1/", "https://\t127.0.0.1/", "https://127.0.0.1\r\nHost: a/", "https://\ud800/", "https://",
        "https:127.0.0.1", "https:/127.0.0.1/", "https://a:-1/", "https://a:b/", "https://[/", "\x00",
    ],
)  # fmt: skip
async def test_an_address_that_parsers_disagree_about_is_refused(url: str) -> None:
    """What is before an @, behind a backslash or a line break never hides the host that is meant."""
    with pytest.raises(UnsafeDownload):
        await check_download_url(url, PUBLIC)


class Names:
    """The answers of a name server under an attacker's control."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)

    def __call__(self, host: str, port: Any = None, *rest: Any, **options: Any) -> list[Any]:
        if host == "93.184.215.14":
            return [_answer(host, port)]
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [_answer(address, port) for address in answer]


def _answer(address: str, port: Any) -> tuple[Any, ...]:
    where = (address, port or 0, 0, 0) if ":" in address else (address, port or 0)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return (family, socket.SOCK_STREAM, 6, "", where)


@pytest.mark.parametrize(
    "answers",
    [
        [["127.0.0.1"]],
        [["169.254.169.254"]],
        [["10.1.2.3"]],
        [["::1"]],
        [["::ffff:169.254.169.254"]],
        [["64:ff9b::a9fe:a9fe"]],
        [["93.184.215.14", "127.0.0.1"]],  # one of several
        [["fe80::1%lo"]],
        [["0.0.0.0"]],
    ],
    ids=str,
)
async def test_a_name_that_leads_inwards_is_not_connected_to(
    answers: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where only one of its addresses does."""
    monkeypatch.setattr(socket, "getaddrinfo", Names(*answers))
    connected = _count_connections(monkeypatch)
    async with client(ACCOUNT) as one:
        with pytest.raises(UnsafeDownload, match="not public"):
            await one.download("https://results.example.com/a.zip", io.BytesIO())
    assert not connected


async def test_a_name_that_changes_its_mind_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the answer that was checked is the one that is used, so a second one gains nothing."""
    monkeypatch.setattr(socket, "getaddrinfo", Names(["93.184.215.14"], ["127.0.0.1"]))
    connected = _count_connections(monkeypatch)
    async with client(ACCOUNT) as one:
        with pytest.raises(ReplyLost):
            await one.download("https://results.example.com/a.zip", io.BytesIO())
        assert connected == ["93.184.215.14"]
        with pytest.raises(UnsafeDownload):
            await one.download("https://results.example.com/a.zip", io.BytesIO())
    assert connected == ["93.184.215.14"]


async def test_hex_names_go_through_the_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """0x7f000001 is a name to us and an address to the system's resolver, whose answer is what counts."""
    connected = _count_connections(monkeypatch)
    async with client(ACCOUNT) as one:
        for host in ("0x7f000001", "0x7f.1", "localhost", "localhost.", "LOCALHOST"):
            with pytest.raises(DsarError) as raised:
                await one.download(f"https://{host}/a.zip", io.BytesIO())
            assert host not in str(raised.value)
    assert not connected


def _count_connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that sockets are connected to, none of which answers."""
    import aiohappyeyeballs
    from aiohttp import connector

    connected: list[str] = []

    async def connect(addr_infos: Any, **_: Any) -> Any:
        connected.extend(info[4][0] for info in addr_infos)
        raise OSError("nobody is there")

    monkeypatch.setattr(connector.aiohappyeyeballs, "start_connection", connect)
    assert connector.aiohappyeyeballs is aiohappyeyeballs
    return connected
