"""A download's content decides its file suffix and whether it is a result."""

from __future__ import annotations

import io

import pytest

from include.dsar.errors import ProtocolError
from include.dsar.http.checked_download import CheckedDownload

ZIP = b"PK\x03\x04" + b"x" * 70_000 + b"PK\x05\x06" + b"\0" * 18


def downloaded(content: bytes, chunk: int) -> str:
    target = io.BytesIO()
    download = CheckedDownload(target)
    for start in range(0, len(content), chunk):
        download.write(content[start : start + chunk])
    assert target.getvalue() == content
    return download.suffix()


@pytest.mark.parametrize("chunk", [1_000_000, 3])
@pytest.mark.parametrize(
    ("content", "suffix"),
    [(ZIP, ".zip"), (b'\xef\xbb\xbf {"a": 1}', ".json"), (b"[1]", ".json"), (b"a,b\n1,2\n", ".txt")],
)
def test_the_suffix_follows_from_the_content(content: bytes, suffix: str, chunk: int) -> None:
    """The suffix does not depend on how the download was cut into chunks."""
    assert downloaded(content, chunk) == suffix


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"<!DOCTYPE html><p>", b"\n<HTML>", ZIP[:-22], b"PK\x03\x04"]
)
def test_what_is_not_a_result(content: bytes) -> None:
    """An empty download, a web page or half a zip is not a result, so the data subject never gets it."""
    with pytest.raises(ProtocolError):
        downloaded(content, 1_000)
