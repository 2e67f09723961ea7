"""A job id of a reply is accepted only if it is safe in a path."""

from __future__ import annotations

import pytest

from include.dsar.errors import ProtocolError
from include.dsar.vendors.replies import opaque_id


@pytest.mark.parametrize("value", ["a", "f19cf1c4-cea2", "0", "a b", "x" * 200, 7])
def test_usable_ids(value: object) -> None:
    """An id that is valid in a path is kept unchanged. A number is a valid id too."""
    assert opaque_id(value) == str(value)


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 1.0, [], {}, "", " ", " a", ".", "..", "a\n", "a\x00b", "\ud800", "x" * 201, -1,
        10**300,
    ],
    ids=repr,
)  # fmt: skip
def test_unusable_ids(value: object) -> None:
    """An id that is not valid in a path is refused."""
    with pytest.raises(ProtocolError):
        opaque_id(value)
