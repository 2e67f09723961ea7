from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.dsar.errors import ProtocolError
from include.dsar.vendors.json_slices import items

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def test_bytes_as_they_stand() -> None:
    """Each item has the exact bytes of the reply, with its spaces, numbers, escapes and repeated names."""
    body = (
        b'{"n": [1], "data" : {"x": {}, "data": [ {"a" : 0.10, "a": "\\u00e9\xc3\xa9"} ,null,\n[1, 2] ] } }'
    )
    assert items(body, "data", "data") == [
        ({"a": "éé"}, b'{"a" : 0.10, "a": "\\u00e9\xc3\xa9"}'),
        (None, b"null"),
        ([1, 2], b"[1, 2]"),
    ]


@given(
    rows=st.lists(documents),
    others=st.dictionaries(st.text(), documents),
    indent=st.none() | st.integers(0, 2),
)
def test_same_as_json(rows: list[Any], others: dict[str, Any], indent: int | None) -> None:
    """The items are the same as those that `json` finds, and their bytes parse to the same values."""
    body = json.dumps(others | {"data": {"data": rows}}, indent=indent).encode()
    found = items(body, "data", "data")
    assert [value for value, _ in found] == json.loads(body)["data"]["data"]
    assert [json.loads(content) for _, content in found] == rows


def test_last_of_repeated_members() -> None:
    """If a member appears twice, the last value counts, as in `json`."""
    assert items(b'{"data": [1], "data": [2]}', "data") == [(2, b"2")]


def test_byte_order_mark() -> None:
    """A byte order mark is not part of the JSON."""
    assert items(b'\xef\xbb\xbf{"data": []}', "data") == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b'"data"',
        b'{"data"',
        b'{"data":',
        b'{"data" 1}',
        b'{"data": {}}',
        b'{"data": null}',
        b'{"data": [',
        b'{"data": [1',
        b'{"data": [1,]}',
        b'{"data": [1 2]}',
        b'{"data": [1], }',
        b'{"data": [1]',
        b'{1: 2, "data": []}',
        b'{"other": []}',
        b'{"data": [\xff]}',
        b'{"data": [' + b"[" * 100_000,
        b'{"data": [' + b"9" * 5000 + b"]}",
        '{"data": []}'.encode("utf-16"),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_garbage(body: bytes) -> None:
    """A reply without the documented list is a ProtocolError."""
    with pytest.raises(ProtocolError):
        items(body, "data")


@given(body=st.binary() | st.text().map(str.encode))
def test_any_bytes(body: bytes) -> None:
    """Any bytes without the requested member raise ProtocolError and no other error."""
    with pytest.raises(ProtocolError):
        items(body, "no such member")


def test_linear() -> None:
    """Eight times the records take about eight times as long."""

    def seconds(records: int) -> float:
        body = json.dumps({"data": {"data": [{"id": n, "text": "x" * 200} for n in range(records)]}}).encode()
        runs = []
        for _ in range(3):
            begin = time.process_time()
            assert len(items(body, "data", "data")) == records
            runs.append(time.process_time() - begin)
        return min(runs)

    seconds(1000)
    assert seconds(16_000) < 40 * max(seconds(2000), 1e-4)
