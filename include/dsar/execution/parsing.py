"""Parsing a vendor's reply without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from include.dsar.http.messages import HttpReply

MIN_BYTES_FOR_THREAD = 128 * 1024  # a smaller reply is parsed faster than a thread starts

R = TypeVar("R")


async def parse(reply: HttpReply, function: Callable[[], R]) -> R:
    """The result of `function`, which parses this reply. A large reply is parsed in a thread."""
    return function() if len(reply.body) < MIN_BYTES_FOR_THREAD else await asyncio.to_thread(function)
