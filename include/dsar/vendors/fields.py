"""Fields of a connection. A vendor declares each field once. Airflow's form and the checks use the
declaration.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from include.dsar.errors import ProtocolError
from include.dsar.vendors.replies import opaque_id

MAX_TEXT = 100_000  # characters


class FieldKind(StrEnum):
    """The type of a field's value. The values of the members are the words for error texts."""

    ID = "a short text without control characters"  # can be part of a path
    TEXT = "a text"  # several lines are allowed
    EMAIL = "an e-mail address"
    NUMBER = "a number"
    INTEGER = "a whole number"
    CHOICE = "one of"
    OBJECT = "a JSON object"


@dataclass(frozen=True)
class ConnectionField:
    """One field of a connection's Extra."""

    name: str
    title: str
    help: str
    kind: FieldKind = FieldKind.ID
    required: bool = False
    secret: bool = False
    default: Any = None
    empty: str = ""  # what an empty field means, if it has no default
    minimum: float = 0
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """Returns the help text, including the meaning of an empty field."""
        if self.required:
            return f"Required. {self.help}"
        return f"{self.help} Empty: {self.shown_default}." if self.shown_default else self.help

    @property
    def shown_default(self) -> str:
        """Returns the text for an empty field. It is "" if the meaning of an empty field is clear."""
        if self.default is None:
            return self.empty
        return f"{self.default:.10g}" if isinstance(self.default, float | int) else str(self.default)

    def parse(self, value: object) -> Any:
        """Converts a value from Extra to the field's type. None and "" give the default.

        Raises ValueError if the value is not valid. The message does not contain the value.
        """
        if isinstance(value, str):
            value = value.strip()
        if value is None or value == "":
            if self.required:
                raise ValueError(f"{self.name} is missing in Extra")
            return self.default
        try:
            return self._parsed(value)
        except (ValueError, TypeError, OverflowError, ProtocolError, RecursionError):
            raise ValueError(f"{self.name} in Extra: must be {self._expected}") from None

    def _parsed(self, value: Any) -> Any:
        match self.kind:
            case FieldKind.ID:
                return opaque_id(value)
            case FieldKind.TEXT if isinstance(value, str) and len(value) <= MAX_TEXT and "\0" not in value:
                return value
            case FieldKind.EMAIL if isinstance(value, str):
                return _email(value)
            case FieldKind.CHOICE if isinstance(value, str) and value.lower() in self.choices:
                return value.lower()
            case FieldKind.OBJECT:
                parsed = json.loads(value) if isinstance(value, str) else value
                if isinstance(parsed, dict):
                    return parsed
            case FieldKind.NUMBER | FieldKind.INTEGER if not isinstance(value, bool):
                return self._number(float(value))
        raise ValueError

    def _number(self, number: float) -> float | int:
        if not self.minimum <= number <= (math.inf if self.maximum is None else self.maximum):
            raise ValueError
        if self.kind is FieldKind.NUMBER:
            return number
        if number != int(number):
            raise ValueError
        return int(number)

    @property
    def _expected(self) -> str:
        if self.kind in (FieldKind.NUMBER, FieldKind.INTEGER):
            upper = "" if self.maximum is None else f" to {self.maximum:.10g}"
            return f"{self.kind} from {self.minimum:.10g}{upper}"
        return f"{self.kind} {', '.join(self.choices)}".rstrip()


def _email(value: str) -> str:
    from email_validator import validate_email  # slow to import, and rarely needed

    # test_environment accepts .test, which is reserved for tests (RFC 6761).
    return validate_email(value, check_deliverability=False, test_environment=True).normalized.lower()
