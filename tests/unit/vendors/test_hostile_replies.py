"""The tests change documented replies. A changed reply raises one of our errors, or gives only results that
the changed reply contains.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.dsar.errors import DsarError, ProtocolError
from include.dsar.http.messages import HttpReply
from include.dsar.model import State
from include.dsar.vendors.json_slices import items
from tests.unit.vendors.contract import Documented, contracts
from tests.unit.vendors.test_besitos import STRANGER

SUCCESSES = (State.COMPLETED, State.READY)
DOCUMENTED = [one for contract in contracts().values() for one in contract.documented]
every_reply = pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda one: one.name)

HOSTILE = [
    "null", "true", "false", "0", "-1", "1e999", "-1e999", "NaN", "Infinity", "9" * 400, "9" * 5000, "0.1",
    "]", "'", "\x00", '""', '"completed"', '"\\ud800"', '"\\u0000"', '"../../x"', '"=cmd|x"', '"<script>"',
    f'"{"x" * 100_000}"', "[]", "{}", "[[]]", "[null]", '{"id": {}}', "[" * 2_000 + "]" * 2_000,
    '{"a": 1, "a": 2}', "",
]  # fmt: skip


@every_reply
def test_the_reply_itself_is_read(documented: Documented) -> None:
    """Each documented reply is understood before the other tests change it."""
    try:
        documented.read(HttpReply(documented.status, documented.body))
    except DsarError:
        assert documented.status >= 400


@every_reply
@given(data=st.data())
def test_any_value_in_the_place_of_another(documented: Documented, data: st.DataObject) -> None:
    """Any value of the reply may be of another type, very large, half a character or absent."""
    places = _places(json.loads(documented.body))
    place = data.draw(st.sampled_from(places))
    value = data.draw(st.sampled_from(HOSTILE) | st.text(max_size=20).map(json.dumps))
    _check(documented, _replaced(json.loads(documented.body), place, value))


@every_reply
@given(data=st.data())
def test_any_member_left_out_or_twice(documented: Documented, data: st.DataObject) -> None:
    """Any field may be absent, or appear twice with two values."""
    document = json.loads(documented.body)
    place = data.draw(st.sampled_from([p for p in _places(document) if p and isinstance(p[-1], str)] or [()]))
    if not place:
        return
    twice = data.draw(st.booleans())
    name, again = json.dumps(place[-1]), data.draw(st.sampled_from(HOSTILE[:12]))
    marked = _replaced(document, place, "@@").decode()
    original = json.dumps(_at(document, place))
    text = marked.replace(f"{name}: @@", f"{name}: {again}, {name}: {original}" if twice else '"x": 0')
    _check(documented, text.encode())


@every_reply
@given(
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 10_000),
    before=st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b")]}',\n", b"\x1f\x8b\x08"]),
)
def test_any_bytes_changed(
    documented: Documented, changes: list[tuple[int, int]], cut: int, before: bytes
) -> None:
    """Bytes may be flipped, cut off, or preceded by other bytes."""
    body = bytearray(documented.body)
    for at, byte in changes:
        body[at % len(body)] = byte
    _check(documented, before + bytes(body[: cut or None]))


def _check(documented: Documented, body: bytes) -> None:
    """Check that only our errors are raised, that no error quotes the reply, and that only the named users
    have a successful outcome.
    """
    try:
        found = documented.read(HttpReply(documented.status, body, {"retry-after": "soon"}))
    except DsarError as error:
        assert len(str(error)) < 120 and str(error).isprintable()
        return
    assert 200 <= documented.status < 300
    if documented.name == "besitos erasure completed" and found.ended:
        with suppress(ProtocolError):
            assert found.outcome_of(STRANGER).state not in (*SUCCESSES, State.NO_DATA)
    if documented.name == "besitos results":
        assert STRANGER not in found or found[STRANGER].unreadable or found[STRANGER].lost
        for result in found.values():
            assert result.unreadable or result.lost or all(one in body for one in _records(result.content))


def _records(content: bytes) -> Sequence[bytes]:
    """Returns the records of a user: one record as it came, or a list of several."""
    return (
        [one for _, one in items(b'{"data": ' + content + b"}", "data")] if content[:1] == b"[" else [content]
    )


def _places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Returns the path of every value in a document."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        inner = list(document.items())
    elif isinstance(document, list):
        inner = list(enumerate(document))
    return [path, *(place for name, value in inner for place in _places(value, (*path, name)))]


def _at(document: Any, place: tuple[Any, ...]) -> Any:
    for name in place:
        document = document[name]
    return document


def _replaced(document: Any, place: tuple[Any, ...], value: str) -> bytes:
    """Returns the document as text, with `value` at that place. The value need not be JSON."""
    if not place:
        return value.encode(errors="surrogatepass")
    _at(document, place[:-1])[place[-1]] = "@place@"
    return json.dumps(document).replace('"@place@"', value).encode(errors="surrogatepass")
