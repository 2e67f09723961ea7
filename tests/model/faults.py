"""Faults of the connection: lost calls, lost replies, and replies that are not the vendor's.

A fault tells the client that something is wrong. A lie (`lies.py`) does not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

FAULTS = (
    "no_connection",  # the vendor certainly did not accept the call
    "reset_before",  # not accepted, and the client cannot know
    "reset_after",  # accepted
    "late",  # the client gives up, and then the call arrives
    "twice",  # a proxy repeats the call and returns the second reply
    "slow",  # replies overtake each other
    "timeout",  # accepted, and then the client gives up
    "empty",  # accepted, 200 without a body
    "html",  # 200 from a proxy that did not forward the call
    "other_shape",  # accepted, with undocumented JSON
    "429",
    "429_long",
    "503",
    "500_before",
    "500_after",
    "401",
)
TAKEN = {"reset_after", "timeout", "empty", "other_shape", "500_after", "slow"}
STATUSES = {"429": 429, "429_long": 429, "503": 503, "500_before": 500, "500_after": 500, "401": 401}
WAITS = {"429": {"Retry-After": "7"}, "429_long": {"Retry-After": "7200"}}
BODIES = {"empty": b"", "html": b"<html>One moment</html>", "other_shape": b'{"state": ["done"]}'}


class Lost(Exception):
    """The connection or the reply is lost. The client cannot know whether the vendor accepted the call."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, status: int, document: Any) -> Answer:
        return cls(status, json.dumps(document).encode())


def faulty_answer(fault: str) -> Answer:
    """Returns the reply of a call with this fault. Raises Lost if there is none."""
    if fault in STATUSES:
        return Answer(STATUSES[fault], b"{}", WAITS.get(fault, {}))
    if fault in BODIES:
        return Answer(200, BODIES[fault])
    raise Lost(fault)
