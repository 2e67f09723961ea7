"""The action of a request is read from its `request_type`."""

from __future__ import annotations

import pytest

from include.dsar.errors import InvalidRow
from include.dsar.intake.request_types import action
from include.dsar.model import Action


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("access", Action.ACCESS),
        ("export", Action.ACCESS),
        ("portability", Action.ACCESS),
        ("erasure", Action.ERASURE),
        ("delete", Action.ERASURE),
        (" Deletion ", Action.ERASURE),
    ],
)
def test_an_action_is_read_from_its_synonyms(text: str, asked: Action) -> None:
    """Synonyms of an action are accepted, in upper and lower case."""
    assert action(text) is asked


@pytest.mark.parametrize("text", ["", "rectification", None, float("nan"), 1])
def test_an_unknown_request_type_is_invalid(text: object) -> None:
    """An unknown request type makes the row invalid. Intake never guesses between access and erasure."""
    with pytest.raises(InvalidRow, match="unknown request_type"):
        action(text)
