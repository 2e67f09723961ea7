"""The words for an action in the source's `request_type`."""

from __future__ import annotations

from include.dsar.errors import InvalidRow
from include.dsar.model import Action

WORDS = {
    "access": Action.ACCESS,  # OpenDSR's words
    "portability": Action.ACCESS,
    "erasure": Action.ERASURE,
    "export": Action.ACCESS,  # the vendors'
    "delete": Action.ERASURE,
    "deletion": Action.ERASURE,
}


def action(text: object) -> Action:
    """Reads an action from `request_type`. Ignores case. Raises InvalidRow if the word is unknown."""
    try:
        return WORDS[str(text).strip().lower()]
    except KeyError:
        raise InvalidRow(f"unknown request_type: expected one of {', '.join(WORDS)}") from None
