"""Writes `package.zip`, the answer to an access request. The same request always gives the same bytes."""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO, cast

from include.dsar.delivery.excerpt import PageRoom
from include.dsar.delivery.package_paths import PackagedFile, packaged_files, table_path
from include.dsar.delivery.page import ShownFile, page
from include.dsar.delivery.receipt import json_bytes, utc_text
from include.dsar.delivery.spreadsheet import csv_pieces
from include.dsar.delivery.storage_writer import Target
from include.dsar.delivery.table import Note
from include.dsar.delivery.tables import tables_of
from include.dsar.errors import UnsafeDownload
from include.dsar.model import Action, CollectedFile, RequestRecord

CHUNK = 1024 * 1024
WRITE_BYTES = 64 * 1024  # the target gets this much at a time. zipfile itself makes many small writes
SPOOL_BYTES = 8 * 1024 * 1024  # an answer up to this size stays in memory
ZIP64_ROWS = 1_000_000  # a table with more rows may exceed 4 GB

OpenFile = Callable[[CollectedFile], BinaryIO]


def write_package(target: Target, request: RequestRecord, closed_at: datetime, open_file: OpenFile) -> None:
    """Writes the package of a closed access request.

    Raises UnsafeDownload if a collected file has changed, ValueError if the request is an erasure, and the
    errors of `open_file`. After an error, `target` has an incomplete package, which the caller must
    discard.
    """
    if request.action is not Action.ACCESS:
        raise ValueError("no package can be written: this is not an access request")
    with _Package(target, request, closed_at) as package:
        shown = [package.add_answer(packaged, open_file) for packaged in packaged_files(request)]
        package.add("index.html", [page(request, closed_at, shown)])
        manifest = {
            "request_id": request.request_id,
            "closed_at": utc_text(closed_at),
            "files": sorted(package.files, key=lambda file: str(file["path"])),
        }
        package.add("manifest.json", [json_bytes(manifest)])


class _Package:
    """The zip file, and the list of the files in it."""

    def __init__(self, target: Target, request: RequestRecord, closed_at: datetime) -> None:
        utc = closed_at.astimezone(UTC)
        year = min(max(utc.year, 1980), 2107)  # the range of the format
        self._moment = (year, utc.month, utc.day, utc.hour, utc.minute, utc.second)
        self._stream = _Stream(target)
        out = io.BufferedWriter(cast(io.RawIOBase, self._stream), WRITE_BYTES)
        self._zip = zipfile.ZipFile(cast(BinaryIO, out), "w", zipfile.ZIP_DEFLATED)
        self._request = request
        self._room = PageRoom()
        self._table_paths: set[str] = set()
        self.files: list[dict[str, str | int]] = []

    def __enter__(self) -> _Package:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._stream.stop()  # otherwise `close` would end an incomplete package as if it were complete
        self._zip.close()

    def add_answer(self, packaged: PackagedFile, open_file: OpenFile) -> ShownFile:
        """Adds a vendor's answer unchanged, and the tables that can be read from it."""
        shown = ShownFile(packaged)
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as answer:
            content = cast(BinaryIO, answer)
            self._copy_checked(packaged, open_file, content)
            content.seek(0)
            zip64 = packaged.file.bytes >= zipfile.ZIP64_LIMIT // 2
            self.add(packaged.path, iter(partial(content.read, CHUNK), b""), zip64=zip64)
            content.seek(0)
            for part in tables_of(packaged.file.name, content):
                if isinstance(part, Note):
                    shown.add_note(part.text)
                    continue
                path = table_path(packaged.account.account, part.name, self._table_paths)
                self.add(path, csv_pieces(part), zip64=len(part.rows) > ZIP64_ROWS)
                shown.add_table(self._room.excerpt(part, path))
        return shown

    def _copy_checked(self, packaged: PackagedFile, open_file: OpenFile, copy: BinaryIO) -> None:
        digest = hashlib.sha256()
        count = 0
        with open_file(packaged.file) as source:
            while count <= packaged.file.bytes and (chunk := source.read(CHUNK)):
                digest.update(chunk)
                count += len(chunk)
                copy.write(chunk)
        if digest.hexdigest() != packaged.file.sha256 or count != packaged.file.bytes:
            raise UnsafeDownload(
                f"account {packaged.account.account}, request {self._request.request_id}: "
                "the collected file has changed since it was collected (its SHA-256 differs)"
            )

    def add(self, path: str, pieces: Iterable[bytes], *, zip64: bool = False) -> None:
        info = zipfile.ZipInfo(path, self._moment)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.create_system = 3  # Unix, wherever this runs
        info.external_attr = 0o100600 << 16
        digest = hashlib.sha256()
        count = 0
        with self._zip.open(info, "w", force_zip64=zip64) as member:
            for piece in pieces:
                digest.update(piece)
                count += len(piece)
                member.write(piece)
        self.files.append({"path": path, "sha256": digest.hexdigest(), "bytes": count})


class _Stream(io.RawIOBase):
    """Hides `seek` and `tell` of the target, because zipfile writes other bytes if the target has these
    methods.
    """

    def __init__(self, target: Target) -> None:
        self._target: Target | None = target

    def stop(self) -> None:
        self._target = None

    def write(self, data: memoryview, /) -> int:  # type: ignore[override]
        if self._target is not None:
            self._target.write(bytes(data))
        return len(data)

    def writable(self) -> bool:
        return True
