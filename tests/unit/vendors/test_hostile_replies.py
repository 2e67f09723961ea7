"""Documented replies with something wrong in them: an error of ours, or nothing that they do not say."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.dsar.errors import DsarError
from include.dsar.http.messages import HttpReply
from include.dsar.model import Action, State
from include.dsar.vendors import vendor
from include.dsar.vendors.json_slices import items
from tests.unit.vendors.test_attentive import CREATED as ATTENTIVE_CREATED
from tests.unit.vendors.test_attentive import PROCESSED as ATTENTIVE_PROCESSED
from tests.unit.vendors.test_batch import LISTING as BATCH_LISTING
from tests.unit.vendors.test_besitos import DELETE_CREATED, DELETE_STATUS, EXPORT_CREATED, EXPORT_STATUS

BESITOS, BATCH, ID5, ATTENTIVE = map(vendor, ("besitos", "batch", "id5", "attentive"))
SUCCESSES = (State.COMPLETED, State.READY)
STRANGER = "somebody whom the reply does not name"

BATCH_REVIEW = b"""{"request_date": "2026-11-20T09:00:00", "status": "done", "request_type": "review",
"trigger_type": "api", "data_url": "https://cdn.batch.com/x.zip",
"id": {"type": "custom_id", "value": "u1"}}"""
ID5_STATUS = b"""{"id": "7b3f07fd", "jobStatus": "SENT", "processingResult": "DELETE_DELETED",
"jurisdiction": "GDPR", "emailSentUnixTimestamp": 1700000000000}"""
ID5_LIMIT = b"""{"error": {"code": "api_rate_limit_error",
"message": "Limit of 1 request daily allowed per maid has been reached"}}"""


@dataclass(frozen=True)
class Documented:
    """A reply as a page shows it, and what reads it."""

    name: str
    body: bytes
    read: Callable[[HttpReply], Any]
    status: int = 200


def statuses(name: str, action: Action) -> Callable[[HttpReply], Any]:
    return lambda reply: vendor(name).read_status(action, reply)


DOCUMENTED = [
    Documented("besitos export", EXPORT_CREATED, BESITOS.read_created),
    Documented("besitos delete", DELETE_CREATED, BESITOS.read_created),
    Documented("besitos delete status", DELETE_STATUS, statuses("besitos", Action.ERASURE)),
    Documented("besitos export status", EXPORT_STATUS, statuses("besitos", Action.ACCESS)),
    Documented(
        "besitos results", EXPORT_STATUS, lambda reply: BESITOS.read_results(reply, ["sampleuser1", STRANGER])
    ),
    Documented("batch create", b'{"token": "b1946ac9"}', BATCH.read_created, 202),
    Documented("batch refusal", b'{"code": 31, "message": "m"}', BATCH.read_created, 400),
    Documented("batch review", BATCH_REVIEW, statuses("batch", Action.ACCESS)),
    Documented("batch results", BATCH_REVIEW, lambda reply: BATCH.read_results(reply, ["custom_id u1"])),
    Documented("batch list", BATCH_LISTING, BATCH.read_listing),
    Documented("id5 create", b'{"id": "7b3f07fd-6343-4b88-bffb-051bc5652b73"}', ID5.read_created),
    Documented("id5 limit", ID5_LIMIT, ID5.read_created, 403),
    Documented("id5 status", ID5_STATUS, statuses("id5", Action.ERASURE)),
    Documented("attentive create", ATTENTIVE_CREATED, ATTENTIVE.read_created),
    Documented("attentive status", ATTENTIVE_PROCESSED, statuses("attentive", Action.ERASURE)),
]
every_reply = pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda one: one.name)

HOSTILE = [
    "null", "true", "false", "0", "-1", "1e999", "-1e999", "NaN", "Infinity", "9" * 400, "9" * 5000, "0.1",
    "]", "'", "\x00", '""', '"completed"', '"\\ud800"', '"\\u0000"', '"../../x"', '"=cmd|x"', '"<script>"',
    f'"{"x" * 100_000}"', "[]", "{}", "[[]]", "[null]", '{"id": {}}', "[" * 2_000 + "]" * 2_000,
    '{"a": 1, "a": 2}', "",
]  # fmt: skip


@every_reply
def test_the_reply_itself_is_read(documented: Documented) -> None:
    """So that what follows begins with what is understood."""
    try:
        documented.read(HttpReply(documented.status, documented.body))
    except DsarError:
        assert documented.status >= 400


@every_reply
@given(data=st.data())
def test_any_value_in_the_place_of_another(documented: Documented, data: st.DataObject) -> None:
    """Another type, a number without end, half a character, nothing: at any place of the reply."""
    places = _places(json.loads(documented.body))
    place = data.draw(st.sampled_from(places))
    value = data.draw(st.sampled_from(HOSTILE) | st.text(max_size=20).map(json.dumps))
    _check(documented, _replaced(json.loads(documented.body), place, value))


@every_reply
@given(data=st.data())
def test_any_member_left_out_or_twice(documented: Documented, data: st.DataObject) -> None:
    """A field that is absent, or that comes twice and says two things."""
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
    """Flipped, cut off, or with something before them."""
    body = bytearray(documented.body)
    for at, byte in changes:
        body[at % len(body)] = byte
    _check(documented, before + bytes(body[: cut or None]))


def _check(documented: Documented, body: bytes) -> None:
    """Only our own errors, none with the reply's text; success for nobody whom the reply does not name."""
    try:
        found = documented.read(HttpReply(documented.status, body, {"retry-after": "soon"}))
    except DsarError as error:
        assert len(str(error)) < 120 and str(error).isprintable()
        return
    assert 200 <= documented.status < 300
    if documented.name == "besitos delete status" and found.ended:
        assert found.outcome_of(STRANGER).state not in (*SUCCESSES, State.NO_DATA)
    if documented.name == "besitos results":
        assert STRANGER not in found or found[STRANGER].unreadable
        for result in found.values():
            assert result.unreadable or all(one in body for one in _records(result.content))


def _records(content: bytes) -> Sequence[bytes]:
    """A person's records: one as it came, or a list of several."""
    return (
        [one for _, one in items(b'{"data": ' + content + b"}", "data")] if content[:1] == b"[" else [content]
    )


def _places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a document."""
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
    """The document as text, with `value`, which need not be JSON, at that place."""
    if not place:
        return value.encode(errors="surrogatepass")
    _at(document, place[:-1])[place[-1]] = "@place@"
    return json.dumps(document).replace('"@place@"', value).encode(errors="surrogatepass")
