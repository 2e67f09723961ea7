"""Malicious zip files cause no write, no long read and no exception."""

from __future__ import annotations

import io
import stat
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from include.dsar.delivery.table import Note, Table
from include.dsar.delivery.tables import tables_of
from tests.unit.delivery.delivery_samples import zipped

END = b"PK\x05\x06"
DIRECTORY = b"PK\x01\x02"


def parts(content: bytes) -> list[Table | Note]:
    return list(tables_of("data.zip", content))


def notes(content: bytes) -> str:
    return " ".join(part.text for part in parts(content) if isinstance(part, Note))


def made(*members: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    target = io.BytesIO()
    with (
        warnings.catch_warnings(action="ignore"),
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, content in members:
            archive.writestr(name, content)
    return target.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "../../../../tmp/{}.json", "/tmp/{}.json", "..\\..\\{}.json", "C:\\{}.json", "//host/share/{}.json",
        "a/../../{}.json", "./{}.json", "~/{}.json", "{}.json\n", "\u202e{}.json", "con/{}.json",
        "a\x1b[2J{}.json",
    ],
)  # fmt: skip
def test_a_name_of_a_member_is_not_a_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a member is only used as a title. No file is created."""
    monkeypatch.chdir(tmp_path)
    (table,) = parts(made((name.format("harm"), b'[{"a": 1}]')))
    assert "/" not in getattr(table, "name", "") and "\\" not in getattr(table, "name", "")
    assert not list(tmp_path.rglob("*")) and not Path("/tmp/harm.json").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_are_not_opened(kind: int) -> None:
    """A device in an archive is read as bytes of the archive, and a link is not read at all."""
    info = zipfile.ZipInfo("passwd.json")
    info.external_attr = (kind | 0o777) << 16
    content = made((info, b"/etc/passwd"), ("ok.json", b"[1]"))
    assert "root:" not in str(parts(content)) and "ok" in str(parts(content))
    assert ("“passwd.json” is a link to another file" in notes(content)) == (kind == stat.S_IFLNK)


def test_two_members_of_one_name_are_both_read() -> None:
    found = parts(made(("a.json", b'[{"n": 1}]'), ("a.json", b'[{"n": 2}]')))
    assert [part.rows for part in found if isinstance(part, Table)] == [[["1"]], [["2"]]]


def test_members_that_overlap_are_not_read_twice() -> None:
    """A zip bomb can have a thousand entries for the same bytes."""
    honest = made(("a.json", b"[1]"), ("b.json", b"[2]"))
    start = honest.index(DIRECTORY)
    second = honest.index(DIRECTORY, start + 1)
    overlapping = bytearray(honest)
    overlapping[second + 42 : second + 46] = struct.pack("<I", 0)  # b.json points to the data of a.json
    assert "cannot be read" in notes(bytes(overlapping))


@pytest.mark.parametrize("depth", [1, 5])
def test_a_nested_bomb_is_not_opened(depth: int) -> None:
    content = b"0" * 5_000_000
    for _ in range(depth):
        content = zipped({"a.zip": content, "a.json": content})
    size, found = measured(content)
    assert not any(isinstance(part, Table) for part in found)
    assert size < 40_000_000


@pytest.mark.parametrize("really", [False, True], ids=["declared", "real"])
def test_a_million_entries_take_little_memory(really: bool) -> None:
    """An archive with a million entries takes little memory. The same is true if the archive only claims to
    have a million entries.
    """
    if really:
        entry = (
            DIRECTORY
            + struct.pack("<6H3I5H2I", *[20, 20, 0, 0, 0, 0], 0, 0, 0, *[1, 0, 0, 0, 0], 0, 0)
            + b"a"
        )
        directory = entry * 1_000_000
    else:
        directory = b""
    count = 0xFFFF
    content = b"PK\x03\x04" + directory
    content += END + struct.pack("<4H2IH", 0, 0, count, count, len(directory), 4, 0)
    size, found = measured(content)
    assert all(isinstance(part, Note) for part in found) and len(found) <= 1
    assert size < 20_000_000


HONEST = made(("profile.json", b'[{"a": 1, "b": "x"}]'), ("l/events.csv", b"a,b\r\n1,2\r\n"))


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(HONEST) - 1), st.integers(0, 255)), min_size=1, max_size=12
    ),
    cut=st.integers(0, len(HONEST)) | st.just(len(HONEST)),
)
@example(changes=[(HONEST.index(b"profile.json", HONEST.index(DIRECTORY)), 0)], cut=len(HONEST))  # no name
def test_a_damaged_archive_raises_nothing(changes: list[tuple[int, int]], cut: int) -> None:
    """Any byte of the archive may be wrong, and the archive may end at any byte. A notice names each
    unreadable member.
    """
    damaged = bytearray(HONEST)
    for at, byte in changes:
        damaged[at] = byte
    for part in parts(bytes(damaged[:cut])):
        assert isinstance(part, Table | Note)


@given(
    field=st.integers(0, 14),
    value=st.sampled_from([0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]),
    where=st.sampled_from([END, DIRECTORY, b"PK\x03\x04"]),
)
def test_a_broken_directory_raises_nothing(field: int, value: int, where: bytes) -> None:
    """Wrong sizes, offsets and counts in any header of the archive raise no exception."""
    damaged = bytearray(HONEST)
    at = HONEST.index(where) + 4 + field
    damaged[at : at + 4] = struct.pack("<I", value)
    for part in parts(bytes(damaged)):
        assert isinstance(part, Table | Note)


def measured(content: bytes) -> tuple[int, list[Any]]:
    """Read the file. Return the peak memory in bytes, and the parts."""
    tracemalloc.start()
    try:
        found = parts(content)
        return tracemalloc.get_traced_memory()[1], list(found)
    finally:
        tracemalloc.stop()
