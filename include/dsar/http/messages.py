"""An HTTP request and its reply, in the form that vendor modules use."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from include.dsar.errors import ProtocolError


@dataclass(frozen=True)
class HttpRequest:
    """A request. `repr` leaves out path, headers and body, because they may contain secrets and
    identifiers.
    """

    method: str
    path: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Any = field(default=None, repr=False)  # sent as JSON unless None
    # Raises ProtocolError if the reply is not from the vendor. The client calls it before anyone reads it.
    verify: Callable[[HttpReply], None] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class HttpReply:
    """A reply with its whole body."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # names in lower case

    def json(self) -> Any:
        """Returns the body as JSON. Parses it only once. Raises ProtocolError if the body is not JSON."""
        return self._parsed

    @cached_property
    def _parsed(self) -> Any:
        try:
            # A byte that is not UTF-8 in one data subject's record must not hide the records of the others.
            return json.loads(self.body.decode(json.detect_encoding(self.body), "surrogateescape"))
        except (ValueError, RecursionError):
            raise ProtocolError(f"HTTP {self.status} with a body that is not JSON") from None

    def object(self) -> dict[str, Any]:
        """Returns the body as a JSON object. Raises ProtocolError if the body is not a JSON object."""
        value = self.json()
        if not isinstance(value, dict):
            raise ProtocolError(f"HTTP {self.status} and a JSON body that is not an object")
        return value
