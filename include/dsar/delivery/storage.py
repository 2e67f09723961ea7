"""Files in storage: on a local disk, or in any system that `fsspec` supports, such as an object store.

A file with its final name is always complete. On a local disk, a file is renamed when it is complete. In
any other system, a file is written to a local temporary file and uploaded. Object stores show a file only
when it is complete.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from include.dsar.delivery.local_files import local_file, remove_local, write_local
from include.dsar.delivery.storage_writer import StorageWriter

ONE_CALL_BYTES = 8 * 1024 * 1024  # up to here an upload is one call from memory
UPLOADS = 8  # at a time

# Control characters, and characters that mean more than a name.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\*?\[\]]")


class Storage:
    """Files below a root. Paths are relative and use `/`. Raises ValueError if a path is not valid."""

    def __init__(self, fs: fsspec.AbstractFileSystem, root: str) -> None:
        self._fs = fs
        self._root = str(fs._strip_protocol(root)).rstrip("/")
        if not self._root.strip("/") and not str(root).startswith("memory:"):
            raise ValueError("invalid storage root: it must be a folder or a bucket")
        self._local = isinstance(fs, LocalFileSystem)

    def write(self, path: str, content: bytes | BinaryIO) -> StorageWriter:
        """Writes a complete file, or leaves the earlier file unchanged. Returns the file's `sha256` and
        `bytes`.
        """
        with self.writer(path) as out:
            out.take(content)
        return out

    def write_all(self, files: Sequence[tuple[str, bytes | BinaryIO]]) -> list[StorageWriter]:
        """Writes several files like `write`, but waits for the disk or the network less often.

        After an exception, some of the files may be written.
        """
        if self._local:
            return write_local([(Path(self._full(path)), content) for path, content in files])
        with ThreadPoolExecutor(UPLOADS) as pool:
            return list(pool.map(lambda file: self.write(*file), files))

    @contextmanager
    def writer(self, path: str) -> Iterator[StorageWriter]:
        """Opens a file for writing. The file appears in storage when the block ends. If the block raises an
        exception, the earlier file stays unchanged.
        """
        full = self._full(path)
        with local_file(Path(full)) if self._local else self._remote_file(full) as file:
            yield StorageWriter(file)

    def open(self, path: str) -> BinaryIO:
        """Opens the file for reading. Raises FileNotFoundError if it does not exist."""
        return cast(BinaryIO, self._fs.open(self._full(path), "rb"))

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(self._full(path)))

    def files(self, prefix: str) -> list[str]:
        """Returns the paths of all files in a folder and below it, part files included."""
        full = self._full(prefix)
        self._fs.invalidate_cache(full)
        return [path.removeprefix(f"{self._root}/") for path in self._fs.find(full)]

    def remove(self, path: str) -> bool:
        """Removes a file, and the part files that a crash left. Returns whether the file was removed.

        Does nothing if the file is missing, or if it is a part file that a living writer has locked.
        """
        full = self._full(path)
        if self._local:
            return remove_local(Path(full))
        with suppress(FileNotFoundError):
            self._fs.rm_file(full)
            return True
        return False

    def remove_tree(self, prefix: str) -> None:
        """Removes a folder and everything in it. Does nothing if the folder is missing."""
        full = self._full(prefix)
        with suppress(FileNotFoundError):
            if self._local:
                shutil.rmtree(full)
            else:
                self._fs.rm(full, recursive=True)

    def uri(self, path: str) -> str:
        """Returns the full address, such as `file:///…` or `s3://bucket/…`."""
        return str(self._fs.unstrip_protocol(self._full(path)))

    def _full(self, path: str) -> str:
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts) or _FORBIDDEN.search(path):
            raise ValueError("invalid storage path: it must be relative, without empty, '.' or '..' parts")
        return f"{self._root}/{path}"

    @contextmanager
    def _remote_file(self, full: str) -> Iterator[BinaryIO]:
        with tempfile.TemporaryFile() as temporary:  # without a name: a crash leaves no personal data
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
