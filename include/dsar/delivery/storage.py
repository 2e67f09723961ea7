"""Files in storage: a local disk, or an object store, whatever `fsspec` reaches.

A file under its own name is always whole. On a local disk it is written beside its place as
`.<name>.<n>.part`, flushed, and renamed; on other file systems it is written to a temporary file here
and handed over in one call that object stores make visible only when it is complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

CHUNK = 1024 * 1024
ONE_CALL_BYTES = 8 * 1024 * 1024  # up to here an upload is one call from memory
UPLOADS = 8  # at a time, of files that are written together

_FORBIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\*?\[\]]"
)  # controls, and what means more than a name

PART = re.compile(r"\..+\.[0-9]+\.part", re.DOTALL)


class StorageWriter(io.BufferedIOBase):
    """A file being written; `sha256` and `bytes` say what it got so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)
        return len(data)

    def take(self, content: bytes | BinaryIO) -> None:
        """Writes all of it."""
        if isinstance(content, bytes):
            self.write(content)
        else:
            shutil.copyfileobj(content, self, CHUNK)

    def writable(self) -> bool:
        return True


class Storage:
    """Files below a root. Paths are relative, with `/`; a ValueError says that one is not a plain path."""

    def __init__(self, fs: fsspec.AbstractFileSystem, root: str) -> None:
        self._fs = fs
        self._root = str(fs._strip_protocol(root)).rstrip("/")
        if not self._root.strip("/") and not str(root).startswith("memory:"):
            raise ValueError("the root of a storage is a folder or a bucket")
        self._local = isinstance(fs, LocalFileSystem)

    def write(self, path: str, content: bytes | BinaryIO) -> StorageWriter:
        """Writes a whole file, or leaves what was there. The result knows its `sha256` and `bytes`."""
        with self.writer(path) as out:
            out.take(content)
        return out

    def write_all(self, files: Sequence[tuple[str, bytes | BinaryIO]]) -> list[StorageWriter]:
        """Writes several files as `write` does each, waiting for the disk or the network less often.

        An exception may leave some of them written.
        """
        if self._local:
            return _write_local([(Path(self._full(path)), content) for path, content in files])
        with ThreadPoolExecutor(UPLOADS) as pool:
            return list(pool.map(lambda file: self.write(*file), files))

    @contextmanager
    def writer(self, path: str) -> Iterator[StorageWriter]:
        """A file to stream into. It appears when the block ends; an exception leaves what was there."""
        full = self._full(path)
        with _local_file(Path(full)) if self._local else self._remote_file(full) as file:
            yield StorageWriter(file)

    def open(self, path: str) -> BinaryIO:
        """The file for reading; raises FileNotFoundError."""
        return cast(BinaryIO, self._fs.open(self._full(path), "rb"))

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(self._full(path)))

    def remove(self, path: str) -> None:
        """Removes a file, and what a crash has left of it; no error where it is absent."""
        full = self._full(path)
        if self._local:
            Path(full).unlink(missing_ok=True)
            _remove_stale(Path(full).parent)
            return
        with suppress(FileNotFoundError):
            self._fs.rm_file(full)

    def remove_tree(self, prefix: str) -> None:
        """Removes a folder with all that is in it; no error where it is absent."""
        full = self._full(prefix)
        with suppress(FileNotFoundError):
            if self._local:
                shutil.rmtree(full)
            else:
                self._fs.rm(full, recursive=True)

    def uri(self, path: str) -> str:
        """The full address, such as `file:///…` or `s3://bucket/…`."""
        return str(self._fs.unstrip_protocol(self._full(path)))

    def _full(self, path: str) -> str:
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts) or _FORBIDDEN.search(path):
            raise ValueError("a path in storage is relative and made of plain names")
        return f"{self._root}/{path}"

    @contextmanager
    def _remote_file(self, full: str) -> Iterator[BinaryIO]:
        with tempfile.TemporaryFile() as temporary:  # nameless: a crash leaves nothing of a person behind
            yield cast(BinaryIO, temporary)
            temporary.flush()
            try:
                self._upload(cast(BinaryIO, temporary), full)
            except FileNotFoundError:  # a file system with real folders, and none there yet
                self._fs.makedirs(full.rpartition("/")[0], exist_ok=True)
                self._upload(cast(BinaryIO, temporary), full)

    def _upload(self, temporary: BinaryIO, full: str) -> None:
        size = temporary.seek(0, os.SEEK_END)
        temporary.seek(0)
        if size <= ONE_CALL_BYTES:
            self._fs.pipe_file(full, temporary.read())
        else:
            self._fs.put_file(f"/dev/fd/{temporary.fileno()}", full)


@contextmanager
def _local_file(path: Path) -> Iterator[BinaryIO]:
    """A file beside its place that takes the place at the end, or vanishes on an exception."""
    _make_folders({path.parent})
    with _part_file(path) as (part, file):
        yield file
        file.flush()
        os.fsync(file.fileno())
        part.replace(path)
    _fsync_folder(path.parent)
    _remove_stale(path.parent)


def _write_local(files: Sequence[tuple[Path, bytes | BinaryIO]]) -> list[StorageWriter]:
    """Each file as `_local_file` does it, step by step for all: the disk writes them at the same time,
    and a file system with a journal commits their names at once."""
    folders = {path.parent for path, _ in files}
    _make_folders(folders)
    written = []
    with ExitStack() as parts:
        places = []
        for path, content in files:
            part, file = parts.enter_context(_part_file(path))
            out = StorageWriter(file)
            out.take(content)
            file.flush()
            _begin_to_write(file)
            written.append(out)
            places.append((part, file, path))
        for part, file, path in places:
            os.fsync(file.fileno())
            part.replace(path)
    for folder in folders:
        _fsync_folder(folder)
    for folder in folders:
        _remove_stale(folder)
    return written


def _begin_to_write(file: BinaryIO) -> None:
    """Asks the system to write the file out now, so that a flush of it later finds little to do."""
    if hasattr(os, "posix_fadvise"):  # macOS has none
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def _part_file(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A file beside its place; an exception removes it."""
    part, file = _open_part(path)
    with file:
        try:
            yield part, file
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _open_part(path: Path) -> tuple[Path, BinaryIO]:
    """The first part file that no living writer holds: what a crash has left is used again."""
    number = 0
    while True:
        part = _part(path, number)
        file = _locked(part, os.O_CREAT)
        if file is not None:
            file.truncate()
            return part, file
        number += 1


def _remove_stale(folder: Path) -> None:
    """Removes the folder's part files that no living writer holds: tomorrow's have other names."""
    with os.scandir(folder) as entries:
        parts = [folder / entry.name for entry in entries if PART.fullmatch(entry.name)]
    for part in parts:
        with suppress(FileNotFoundError):
            file = _locked(part)
            if file is not None:
                with file:
                    part.unlink(missing_ok=True)


def _locked(part: Path, flags: int = 0) -> BinaryIO | None:
    """The part file under an exclusive lock, which ends with its holder; None where another has it."""
    while True:
        descriptor = os.open(part, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
        file = cast(BinaryIO, os.fdopen(descriptor, "wb"))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        with suppress(FileNotFoundError):
            if part.stat().st_ino == os.fstat(descriptor).st_ino:
                return file
        file.close()  # its holder finished between our opening and locking it: the file is the final one now


def _part(path: Path, number: int) -> Path:
    return path.with_name(f".{path.name}.{number}.part")


def _make_folders(folders: set[Path]) -> None:
    missing = {folder for folder in folders if not folder.is_dir()}
    if not missing:
        return
    above = {folder.parent for folder in missing}
    _make_folders(above)
    for folder in missing:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    for folder in above:
        _fsync_folder(folder)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
