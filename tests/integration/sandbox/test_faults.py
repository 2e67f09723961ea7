"""A test can inject faults into the sandbox's calls."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import pytest

from include.sandbox import Sandbox
from tests.integration.sandbox.calls import batch_body, batch_create, batch_get, call


async def test_a_status_fault(sandbox: Sandbox) -> None:
    """The reply has the vendor's body or the body from the test. The fault is applied ``times`` times to
    the named route.
    """
    sandbox.inject("status", vendor="batch", account="ios", route="create", status=503, times=2)
    assert (await batch_get(sandbox.url, "requests")).status == 200
    assert (await batch_create(sandbox.url, batch_body("ada"), key="android")).status == 202
    for _ in range(2):
        reply = await batch_create(sandbox.url, batch_body("ada"))
        assert (reply.status, reply.json()["code"]) == (503, 2)
    assert (await batch_create(sandbox.url, batch_body("ada"))).status == 202

    fault = {"kind": "status", "status": 429, "body": "slow down", "headers": {"Retry-After": "7"}}
    assert (await call(sandbox.url, "POST", "/_sandbox/faults", {**fault, "times": None})).status == 204
    limited = await batch_get(sandbox.url, "requests")
    assert (limited.status, limited.body, limited.headers["Retry-After"]) == (429, b"slow down", "7")
    assert (await call(sandbox.url, "DELETE", "/_sandbox/faults")).status == 204
    assert (await batch_get(sandbox.url, "requests")).status == 200
    assert (await call(sandbox.url, "POST", "/_sandbox/faults", {"kind": "nonsense"})).status == 400


@pytest.mark.parametrize(
    ("kind", "fields", "taken"),
    [
        ("reset_before", {}, 0),
        ("reset_after", {}, 1),
        ("hang", {"seconds": 0.1}, 0),
        ("hang", {"seconds": 0.1, "taken": True}, 1),
        ("truncated", {}, 1),
    ],
)
async def test_faults_that_break_the_connection(
    sandbox: Sandbox, kind: str, fields: dict[str, Any], taken: int
) -> None:
    """The connection ends before the reply. ``taken`` says whether the vendor created the job."""
    sandbox.inject(kind, **fields)
    with pytest.raises(aiohttp.ClientError):
        await batch_create(sandbox.url, batch_body("ada"))
    assert len(sandbox.jobs()) == taken
    assert (await batch_create(sandbox.url, batch_body("bob"))).status == 202


@pytest.mark.parametrize(
    ("kind", "fields", "status", "body", "taken"),
    [
        ("empty", {}, 200, b"", 1),
        ("body", {"body": '{"ok": tru'}, 200, b'{"ok": tru', 1),
        ("oversize", {"bytes": 200_000}, 200, b"x" * 200_000, 1),
        ("redirect", {"location": "https://elsewhere.example/"}, 302, b"", 0),
    ],
)
async def test_faults_that_replace_the_reply(
    sandbox: Sandbox, kind: str, fields: dict[str, Any], status: int, body: bytes, taken: int
) -> None:
    """The fault replaces the reply. ``taken`` says whether the vendor created the job."""
    sandbox.inject(kind, **fields)
    reply = await batch_create(sandbox.url, batch_body("ada"))
    assert (reply.status, reply.body, len(sandbox.jobs())) == (status, body, taken)
    assert reply.headers.get("Location") == fields.get("location")


async def test_a_reshaped_reply(sandbox: Sandbox) -> None:
    """Keys and values change at every level. The vendor creates the job."""
    sandbox.inject("reshaped", renamed={"token": "ticket"}, values={"ticket": 1}, status=200)
    reply = await batch_create(sandbox.url, batch_body("ada"))
    assert (reply.status, reply.json()) == (200, {"ticket": sandbox.jobs()[0].job_id})
    sandbox.inject("reshaped", values={"status": "paused", "value": "x"}, renamed={"type": "kind"})
    listed = (await batch_get(sandbox.url, "requests")).json()
    assert (listed[0]["status"], listed[0]["id"]) == ("paused", {"kind": "custom_id", "value": "x"})
    with pytest.raises(ValueError, match="reshaped changes a real reply"):
        sandbox.inject("reshaped", taken=False)


async def test_a_web_page_and_a_slow_reply(sandbox: Sandbox) -> None:
    """A web page has status 200 and creates no job. A slow reply arrives complete."""
    sandbox.inject("html")
    page = await batch_create(sandbox.url, batch_body("ada"))
    assert page.headers["Content-Type"].startswith("text/html") and sandbox.jobs() == []
    sandbox.inject("slow_drip", seconds=0.4)
    began = time.monotonic()
    dripped = await batch_create(sandbox.url, batch_body("ada"))
    assert dripped.status == 202 and dripped.json()["token"] == sandbox.jobs()[0].job_id
    assert time.monotonic() - began > 0.3
