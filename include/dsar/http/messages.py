"""A call to make, and what came back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from include.dsar.errors import ProtocolError


@dataclass(frozen=True)
class HttpRequest:
    """A call to make. Its path, headers and body may hold secrets and identifiers: none is ever shown."""

    method: str
    path: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Any = field(default=None, repr=False)  # sent as JSON where it is not None


@dataclass(frozen=True)
class HttpReply:
    """What came back, whole."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # names in lower case

    def json(self) -> Any:
        """The body as JSON, the same object each time. Raises ProtocolError where it is none."""
        return self._parsed

    @cached_property
    def _parsed(self) -> Any:
        try:
            # One byte that is no UTF-8, in the record of one person, must not hide the others' records.
            return json.loads(self.body.decode(json.detect_encoding(self.body), "surrogateescape"))
        except (ValueError, RecursionError):
            raise ProtocolError(f"HTTP {self.status} with a body that is not JSON") from None

    def object(self) -> dict[str, Any]:
        """The body as a JSON object. Raises ProtocolError where it is none."""
        value = self.json()
        if not isinstance(value, dict):
            raise ProtocolError(f"HTTP {self.status} with JSON that is not an object")
        return value
