"""Reads the items of a JSON array as the bytes that the reply contains.

The items are evidence of what a vendor sent, so they are never parsed and written again. For example, 0.10
must stay 0.10, and a repeated field must be kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from include.dsar.errors import ProtocolError

SPACE = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()


def items(body: bytes, *path: str) -> list[tuple[Any, bytes]]:
    """Yields each item of the array at `path` in a JSON object: its value and its bytes.

    For each step of the path, the time is linear in the size of the body. If a member is repeated, the last
    one counts, as in `json`. Raises ProtocolError if the body has no such array.
    """
    try:
        text = body.decode("utf-8-sig", "surrogateescape")  # bytes that are not UTF-8 are kept too
        start = _space(text, 0)
        for name in path:
            start = dict(_members(text, start))[name]
        found = _values(text, start)
        return [(value, text[at:end].encode(errors="surrogateescape")) for value, at, end in found]
    except (ValueError, KeyError, IndexError, RecursionError):
        raise ProtocolError("the reply does not contain the documented list") from None


def _members(text: str, start: int) -> Iterator[tuple[str, int]]:
    """Yields the members of the object at `start`: each name, and the position where its value starts."""
    at = _opened(text, start, "{")
    while text[at] != "}":
        name, end = DECODER.raw_decode(text, at)
        if not isinstance(name, str):
            raise ValueError("the name of a member is not a string")
        begin = _space(text, _opened(text, _space(text, end), ":"))
        yield name, begin
        _, end = DECODER.raw_decode(text, begin)
        at = _next(text, end, "}")


def _values(text: str, start: int) -> Iterator[tuple[Any, int, int]]:
    """Yields the items of the array at `start`: each value, and its start and end positions."""
    at = _opened(text, start, "[")
    while text[at] != "]":
        value, end = DECODER.raw_decode(text, at)
        yield value, at, end
        at = _next(text, end, "]")


def _opened(text: str, at: int, mark: str) -> int:
    if text[at] != mark:
        raise ValueError(f"no {mark}")
    return _space(text, at + 1)


def _next(text: str, at: int, close: str) -> int:
    """Returns the start of the next item. If there is no further item, returns the position of `close`."""
    at = _space(text, at)
    if text[at] == close:
        return at
    at = _opened(text, at, ",")
    if text[at] == close:
        raise ValueError("a comma before the end")
    return at


def _space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at
