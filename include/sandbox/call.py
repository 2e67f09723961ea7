"""What a vendor module is made of: its routes, the call that a handler sees, and how it refuses one."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from include.sandbox.book import Book
from include.sandbox.settings import SandboxSettings

WRONG_ACCOUNT = "wrong"
"""The one partner or API key that no vendor knows."""


@dataclass(frozen=True)
class Call:
    """One call at a vendor, its body read."""

    request: web.Request
    body: bytes
    book: Book

    @property
    def settings(self) -> SandboxSettings:
        return self.book.settings

    @property
    def account(self) -> str:
        """The partner or API key in the path; Attentive's paths have none."""
        return self.request.match_info.get("account", "default")

    @property
    def job_id(self) -> str:
        return self.request.match_info["job_id"]

    def json_object(self) -> dict[str, object] | None:
        """The body if it is a JSON object."""
        try:
            body = json.loads(self.body)
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def is_secret(self, secret: str | None) -> bool:
        # A header may hold any bytes, so the text of one may be what UTF-8 cannot say.
        given = (secret or "").encode(errors="surrogateescape")
        return hmac.compare_digest(given, self.settings.secret.encode())

    def has_bearer_secret(self) -> bool:
        scheme, _, secret = self.request.headers.get("Authorization", "").partition(" ")
        return scheme.casefold() == "bearer" and self.is_secret(secret)


Handler = Callable[[Call], web.Response]


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    name: str
    """``create``, ``status``, ``list``, ``data`` or ``me``: what faults and counts go by."""
    handler: Handler


@dataclass(frozen=True)
class VendorApi:
    name: str
    routes: tuple[Route, ...]
    error: Callable[[int], web.Response]
    """The vendor's answer for a bare HTTP status, as far as its page shows one."""
    tells_rate: bool = False
    """Whether replies carry ``x-ratelimit-limit`` and ``x-ratelimit-remaining``."""


class Refused(Exception):
    """The vendor does not take the call; ``response`` says why."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


def json_response(body: object, status: int = 200) -> web.Response:
    text = json.dumps(body, ensure_ascii=False)
    return web.Response(text=text, status=status, content_type="application/json")
