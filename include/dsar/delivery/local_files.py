"""Writes files on a local disk. A file with its final name is always complete.

A file is first written to `.<name>.<n>.part` in the same folder, flushed, and renamed. Only its owner can
read it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from include.dsar.delivery.storage_writer import StorageWriter

PART = re.compile(r"\..+\.[0-9]+\.part", re.DOTALL)


@contextmanager
def local_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a part file. The file gets its final name when the block ends. If the block raises an
    exception, the file is removed.
    """
    _make_folders({path.parent})
    with _part_file(path) as (part, file):
        yield file
        file.flush()
        os.fsync(file.fileno())
        part.replace(path)
    _fsync_folder(path.parent)
    remove_stale(path.parent)


def write_local(files: Sequence[tuple[Path, bytes | BinaryIO]]) -> list[StorageWriter]:
    """Writes files like `local_file`. Each step is done for all files before the next step starts.

    So the disk can write all files at the same time, and a journaling file system commits all names at
    once.
    """
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
        remove_stale(folder)
    return written


def _begin_to_write(file: BinaryIO) -> None:
    """Asks the system to start writing the file to disk, so that a later flush is quick."""
    if hasattr(os, "posix_fadvise"):  # macOS has none
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def _part_file(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Opens a part file in the same folder. If the block raises an exception, the file is removed."""
    part, file = _open_part(path)
    with file:
        try:
            yield part, file
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _open_part(path: Path) -> tuple[Path, BinaryIO]:
    """Opens the first part file that no living writer has locked. If a crash left a part file, the file is
    used again.
    """
    number = 0
    while True:
        part = _part(path, number)
        file = _locked(part, os.O_CREAT)
        if file is not None:
            file.truncate()
            return part, file
        number += 1


def remove_local(path: Path) -> bool:
    """Removes a file, and the stale part files of its folder. Returns whether the file was removed."""
    existed = path.exists()
    if not PART.fullmatch(path.name):
        path.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        remove_stale(path.parent)
    return existed and not path.exists()


def remove_stale(folder: Path) -> None:
    """Removes from the folder the part files that no living writer has locked."""
    with os.scandir(folder) as entries:
        parts = [folder / entry.name for entry in entries if PART.fullmatch(entry.name)]
    for part in parts:
        with suppress(FileNotFoundError):
            file = _locked(part)
            if file is not None:
                with file:
                    part.unlink(missing_ok=True)


def _locked(part: Path, flags: int = 0) -> BinaryIO | None:
    """Locks the part file and returns it. Returns None if another process has locked the file. The lock
    ends with the process.
    """
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
        file.close()  # its writer finished after we opened it: the file now has its final name


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
