"""Reads a vendor's zip file without trusting it. No file is unpacked to disk, and no name becomes a path.

Sizes are counted while reading, because the sizes in the archive may be wrong. No content of an archive
raises an error. Instead, a `Note` names each file that is not read.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from include.dsar.delivery import table as limits
from include.dsar.delivery.table import Note, Unreadable

MAX_MEMBERS = 10_000
MAX_ARCHIVE_BYTES = 200 * 1024 * 1024  # of all members together, counted while reading
MAX_RATIO = 250  # of uncompressed to compressed bytes, if there are more than RATIO_FREE_BYTES
RATIO_FREE_BYTES = 1024 * 1024
MAX_DIRECTORY_BYTES = 8 * 1024 * 1024  # zipfile makes an object of every entry before we can count them
MAX_TITLE = 120  # characters
CHUNK = 64 * 1024

# No bzip2 and LZMA: their decoders take as much memory as the archive asks for.
KNOWN_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError,
    OverflowError, OSError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file in an archive. The title is for display only. It is not a path."""

    title: str
    content: bytes


def is_archive(stream: BinaryIO) -> bool:
    start = stream.tell()
    magic = stream.read(4)
    stream.seek(start)
    return _is_zip(magic)


def archive_members(stream: BinaryIO) -> Iterator[Member | Note]:
    """Yields the files of a zip one by one, and a `Note` for each file that is left out."""
    try:
        with zipfile.ZipFile(cast(BinaryIO, _ShortReads(stream))) as archive:
            # Not is_dir(): up to Python 3.11 it fails on a name that is empty.
            infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
            if len(infos) > MAX_MEMBERS:
                yield Note(f"It has more than {MAX_MEMBERS:,} files, so this page does not show them.")
                return
            yield from _members(archive, infos)
    except _BROKEN:
        yield Note("This zip file cannot be read, so this page does not show it.")


def _members(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> Iterator[Member | Note]:
    allowance = _Allowance(MAX_ARCHIVE_BYTES)
    for info in infos:
        title = _title(info)
        try:
            content = _read(archive, info, allowance)
        except Unreadable as error:
            yield Note(f"“{title}” {error}, so it is only in the original answer.")
        else:
            yield Member(title, content)
        if allowance.left < 0:
            yield Note("It is too large to show here. The rest is only in the original answer.")
            return


@dataclass
class _Allowance:
    left: int  # bytes that may still be read. Bytes of refused members count too


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, allowance: _Allowance) -> bytes:
    if stat.S_ISLNK(info.external_attr >> 16):
        raise Unreadable("is a link to another file")
    if info.flag_bits & 0x1:
        raise Unreadable("is protected by a password")
    if info.compress_type not in KNOWN_COMPRESSIONS:
        raise Unreadable("is compressed in a way that we cannot read")
    content = bytearray()
    try:
        with archive.open(info) as file:
            while chunk := file.read(CHUNK):
                content += chunk
                allowance.left -= len(chunk)
                if allowance.left < 0 or _is_too_large(len(content), info.compress_size):
                    raise Unreadable("is too large to show")
    except _BROKEN:
        raise Unreadable("cannot be read") from None
    if _is_zip(content[:4]):
        raise Unreadable("is a zip file inside the zip file")
    return bytes(content)


def _is_too_large(size: int, compressed: int) -> bool:
    return size > limits.MAX_FILE_BYTES or (size > RATIO_FREE_BYTES and size > MAX_RATIO * max(compressed, 1))


def _is_zip(magic: bytes | bytearray) -> bool:
    return bytes(magic) in (b"PK\x03\x04", b"PK\x05\x06")


def _title(info: zipfile.ZipInfo) -> str:
    """Returns the name of the member. Folders are joined by dots: `a/b.json` becomes `a.b.json`."""
    return re.sub(r"[/\\]+", ".", info.filename[-MAX_TITLE:]).strip(".") or "file"


class _ShortReads(io.RawIOBase):
    """A stream that refuses very long reads. zipfile reads the whole directory of an archive in one read.
    The archive itself gives the size of the directory, so a hostile archive could fill the memory.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("the directory is too large")
        return self._stream.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True
