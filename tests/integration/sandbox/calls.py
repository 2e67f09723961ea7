"""Sends HTTP calls to the sandbox for the tests of this folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import aiohttp

DAY = 86_400
SECRET = "sandbox-secret"
BEARER = {"Authorization": f"Bearer {SECRET}"}
BATCH = {"X-Authorization": SECRET}


@dataclass
class Reply:
    status: int
    body: bytes
    headers: Any

    def json(self) -> Any:
        return json.loads(self.body)


async def call(url: str, method: str, path: str, body: Any = None, **options: Any) -> Reply:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    timeout = aiohttp.ClientTimeout(total=5)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method, url + path, data=data, allow_redirects=False, **options) as response,
    ):
        return Reply(response.status, await response.read(), response.headers)


def fields(reply: Any) -> Any:
    """Returns the field names of a JSON reply at every level. A list has the names of its first item."""
    if isinstance(reply, list):
        return [fields(each) for each in reply[:1]]
    return {name: fields(value) for name, value in reply.items()} if isinstance(reply, dict) else None


def batch_body(value: str, request_type: str = "review", id_type: str = "custom_id") -> dict[str, Any]:
    return {"request_type": request_type, "id": {"type": id_type, "value": value}}


async def batch_create(url: str, body: Any, key: str = "ios") -> Reply:
    return await call(url, "POST", f"/1.0/{key}/gdpr/request", body, headers=BATCH)


async def batch_get(url: str, path: str, key: str = "ios") -> Reply:
    return await call(url, "GET", f"/1.0/{key}/gdpr/{path}", headers=BATCH)
