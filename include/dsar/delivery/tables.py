"""Reads a vendor's answer as tables: JSON, CSV, or a zip of such files.

Every cell is the text that the vendor wrote: `0.00` stays `0.00`. A `Note` names each part that cannot be
read. The other parts are still read. Parts are yielded one by one, so that only one member of an archive is
in memory at a time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from include.dsar.delivery import table as limits
from include.dsar.delivery.archive import archive_members, is_archive
from include.dsar.delivery.csv_table import csv_table
from include.dsar.delivery.json_tables import json_tables
from include.dsar.delivery.table import Note, Table, Unreadable


def tables_of(name: str, content: bytes | BinaryIO) -> Iterator[Table | Note]:
    """Yields the tables of a file, and a `Note` for each part that is not shown as a table.

    No content raises an error. A stream must be seekable. It is read from its current position.
    """
    parts = _parts_of(name, io.BytesIO(content) if isinstance(content, bytes) else content)
    yield from islice(parts, limits.MAX_TABLES)
    if next(parts, None) is not None:
        yield Note(f"It has more than {limits.MAX_TABLES:,} tables. The rest is only in the original answer.")


def _parts_of(name: str, stream: BinaryIO) -> Iterator[Table | Note]:
    if is_archive(stream):
        for member in archive_members(stream):
            if isinstance(member, Note):
                yield member
                continue
            try:
                yield from _tables_of_file(member.title, member.content, in_archive=True)
            except Unreadable as error:
                yield Note(f"“{member.title}” {error}, so it is only in the original answer.")
        return
    content = stream.read(limits.MAX_FILE_BYTES + 1)
    try:
        if len(content) > limits.MAX_FILE_BYTES:
            raise Unreadable("is too large to show")
        yield from _tables_of_file(name, content, in_archive=False)
    except Unreadable as error:
        yield Note(f"It {error}, so this page does not show it.")


def _tables_of_file(name: str, content: bytes, *, in_archive: bool) -> list[Table]:
    stem, _, suffix = name.rpartition(".")
    stem = stem or name
    if suffix.lower() == "csv":
        return [csv_table(stem, content)]
    if suffix.lower() == "json" or content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return json_tables(stem, content, lists_below=stem if in_archive else "")
    raise Unreadable("is not a kind of file that this page can show")
