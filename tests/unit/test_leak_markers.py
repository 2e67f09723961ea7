"""The search of tests/e2e/test_no_leak.py finds markers in every encoding. Otherwise that test proves
nothing.
"""

from __future__ import annotations

import base64
import hashlib

import pytest

from tests.e2e.leak_markers import STEM, MarkedSubject, Search, secret

MARKER = secret("x")
SUBJECT = MarkedSubject("ada")


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
        *(value for values in SUBJECT.identifiers.values() for value in values),
        SUBJECT.phone[0].replace(" ", ""),
        SUBJECT.advertising_id[0].upper(),
        SUBJECT.advertising_id[0].replace("-", ""),
        hashlib.sha256(SUBJECT.email[0].encode()).hexdigest(),
        hashlib.sha256(f"{STEM}ada@gmail.com".encode()).hexdigest(),
    ],
)
def test_every_encoding_of_a_marker_is_found(written: str) -> None:
    """The encodings are plain, escaped, hex, base64 and hashed for ID5, in upper and lower case."""
    (found,) = Search([SUBJECT]).finds({"a log": f"before {written} after".encode()})
    assert found.startswith("a log: ")


def test_text_without_a_marker_gives_no_hit() -> None:
    """Identifiers of another data subject give no hit."""
    other = repr(MarkedSubject("bob").phone).encode()
    assert Search([SUBJECT]).finds({"a log": other, "an empty one": b""}) == []
