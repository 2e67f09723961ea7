"""A download never reaches an internal address, in any notation that a resolver or a gateway accepts."""

from __future__ import annotations

import io
import socket
from typing import Any

import pytest

from include.dsar.accounts import Account
from include.dsar.errors import DsarError, ReplyLost, UnsafeDownload
from include.dsar.http.client import client
from include.dsar.http.download_addresses import check_download_url, is_public
from include.dsar.vendors import settings

PUBLIC = "https://93.184.215.14"
ACCOUNT = settings(
    Account("batch", "batch"), base_url=PUBLIC, secret="s3cret", extra={"api_key": "k", "max_concurrency": 1}
)


@pytest.mark.parametrize(
    "url",
    [
        "https://93.184.215.14/a.zip", "https://93.184.215.14:8443/a?b=%2F",
        "https://[2606:2800:21f:cb07::1]/", "https://[64:ff9b::5db8:d70e]/a.zip",
        "https://[2002:5db8:d70e::1]/a.zip", "https://[::ffff:93.184.215.14]/a.zip",
    ],
)  # fmt: skip
async def test_https_at_a_public_address_is_allowed(url: str) -> None:
    """Https at a public address is allowed with any port and any query, and also with an IPv4 address
    within IPv6 (NAT64).
    """
    await check_download_url(url, PUBLIC)


INTERNAL_HOSTS = [
    "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "192.0.0.192", "198.18.0.1", "255.255.255.255", "240.0.0.1",
    # notations: short, decimal, octal, final dot, digits that are not ASCII, out of range
    "127.1", "127.0.1", "2130706433", "017700000001", "0177.0.0.1", "0", "127.0.0.1.", "169.254.169.254.",
    "１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "99999999999", "1.2.3.4.5",
    "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[fec0::1]", "[ff02::1]", "[fe80::1%25eth0]", "[fe80::1%eth0]",
    # IPv4 within IPv6
    "[::ffff:127.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::ffff:10.0.0.1]",
    "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]", "[2001:0:7f00:1::1]",
]  # fmt: skip
SCHEMES = ["http", "ftp", "file", "data", "gopher", "unix", "javascript", "HTTP", "ws", "https+unix"]
AMBIGUOUS_URLS = [  # no host, or a host that parsers read differently
    "file:///etc/passwd", "//93.184.215.14/", "a.zip", "", "https:///a", "https://user:password@93.184.215.14/",
    "https://user@93.184.215.14/", "https://:p@93.184.215.14/", "https://93.184.215.14:99999/", "https://[::1",
    "https://a\\@127.0.0.1/", "https://93.184.215.14@127.0.0.1/", "https://127.0.0.1#@93.184.215.14/",
    "https://127.0.0.1\\@93.184.215.14/", "https://127.0.0.1?@93.184.215.14/", "https://@127.0.0.1/",
    "https://93.184.215.14:80@127.0.0.1/", " https://127.0.0.1/", "https://\t127.0.0.1/",
    "https://127.0.0.1\r\nHost: a/", "https://\ud800/", "https://", "https:127.0.0.1", "https:/127.0.0.1/",
    "https://a:-1/", "https://a:b/", "https://[/", "\x00",
]  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        *(f"https://{host}/a.zip" for host in INTERNAL_HOSTS),
        *(f"{scheme}://93.184.215.14/a.zip" for scheme in SCHEMES),
        *AMBIGUOUS_URLS,
    ],
)
async def test_any_other_address_is_refused(url: str) -> None:
    """Internal hosts in any notation, other schemes, and hosts that parsers read differently are refused."""
    with pytest.raises(UnsafeDownload) as raised:
        await check_download_url(url, PUBLIC)
    assert "93.184" not in str(raised.value)


async def test_http_and_internal_addresses_are_allowed_for_an_account_with_such_an_address() -> None:
    """An account with an internal address, such as the sandbox's, may download results from internal
    addresses.
    """
    await check_download_url("http://127.0.0.1:8000/a.zip", "http://127.0.0.1")
    await check_download_url("https://127.0.0.1/a.zip", "http://127.0.0.1")
    with pytest.raises(UnsafeDownload, match="not https"):
        await check_download_url("http://127.0.0.1/a.zip", "https://127.0.0.1")


class Names:
    """A name server that an attacker controls, with the answers that it gives."""

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
        ["127.0.0.1"], ["169.254.169.254"], ["10.1.2.3"], ["::1"], ["::ffff:169.254.169.254"],
        ["64:ff9b::a9fe:a9fe"], ["93.184.215.14", "127.0.0.1"], ["fe80::1%lo"], ["0.0.0.0"],
    ],
    ids=str,
)  # fmt: skip
async def test_no_connection_to_a_name_that_resolves_to_an_internal_address(
    answers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host is refused even if only one of its addresses is internal. The result is not discarded, because
    our own DNS may be at fault.
    """
    monkeypatch.setattr(socket, "getaddrinfo", Names(answers))
    connected = _count_connections(monkeypatch)
    async with client(ACCOUNT) as one:
        with pytest.raises(ReplyLost, match="not public"):
            await one.download("https://results.example.com/a.zip", io.BytesIO())
    assert not connected


async def test_dns_rebinding_does_not_reach_an_internal_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client connects to the address that it checked. It does not ask the name server again."""
    monkeypatch.setattr(socket, "getaddrinfo", Names(["93.184.215.14"], ["127.0.0.1"]))
    connected = _count_connections(monkeypatch)
    async with client(ACCOUNT) as one:
        with pytest.raises(ReplyLost):
            await one.download("https://results.example.com/a.zip", io.BytesIO())
        assert connected == ["93.184.215.14"]
        with pytest.raises(ReplyLost, match="not public"):
            await one.download("https://results.example.com/a.zip", io.BytesIO())
    assert connected == ["93.184.215.14"]


async def test_hex_addresses_and_localhost_are_resolved_before_the_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the system's resolver reads 0x7f000001 as an address. Therefore the host is resolved first, and
    the resolved address is checked.
    """
    assert not await is_public("localhost")
    connected = _count_connections(monkeypatch)
    async with client(ACCOUNT) as one:
        for host in ("127.1", "0x7f000001", "0x7f.1", "localhost", "localhost.", "LOCALHOST"):
            with pytest.raises(DsarError) as raised:
                await one.download(f"https://{host}/a.zip", io.BytesIO())
            assert host not in str(raised.value)
    assert not connected


def _count_connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the addresses that the client connects to. No connection succeeds."""
    import aiohappyeyeballs
    from aiohttp import connector

    connected: list[str] = []

    async def connect(addr_infos: Any, **_: Any) -> Any:
        connected.extend(info[4][0] for info in addr_infos)
        raise OSError("nobody is there")

    monkeypatch.setattr(connector.aiohappyeyeballs, "start_connection", connect)
    assert connector.aiohappyeyeballs is aiohappyeyeballs
    return connected
