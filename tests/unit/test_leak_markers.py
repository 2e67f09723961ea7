"""The search behind tests/e2e/test_no_leak.py: one that misses an encoding would prove nothing."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tests.e2e.leak_markers import STEM, Person, Search, secret

MARKER = secret("x")
PERSON = Person("ada")


@pytest.mark.parametrize(
    "written",
    [
        MARKER,
        f"postgresql://u:{MARKER}@host",
        f"%2F{MARKER}%2B",
        MARKER.upper(),
        repr(MARKER.encode()),
        "\\x" + MARKER.encode().hex(),
        *(base64.b64encode(f"{before}{MARKER}:".encode()).decode() for before in ("", "a", "ab")),
        *(base64.urlsafe_b64encode(f"{before}{MARKER}?>".encode()).decode() for before in ("", "a", "ab")),
        *(value for values in PERSON.identifiers.values() for value in values),
        PERSON.phone[0].replace(" ", ""),
        PERSON.advertising_id[0].upper(),
        PERSON.advertising_id[0].replace("-", ""),
        hashlib.sha256(PERSON.email[0].encode()).hexdigest(),
        hashlib.sha256(f"{STEM}ada@gmail.com".encode()).hexdigest(),
    ],
)
def test_every_way_of_writing_a_marker_is_found(written: str) -> None:
    """As it is, escaped, in hex, in base64, hashed as ID5 asks, and in any case of letters."""
    (found,) = Search([PERSON]).finds({"a log": f"before {written} after".encode()})
    assert found.startswith("a log: ")


def test_what_holds_no_marker_is_clean() -> None:
    """Another person's identifiers are no find."""
    other = repr(Person("bob").phone).encode()
    assert Search([PERSON]).finds({"a log": other, "an empty one": b""}) == []
