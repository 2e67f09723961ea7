"""A file that is being written to storage, with its hash and size."""

from __future__ import annotations

import hashlib
import io
import shutil
from typing import BinaryIO, Protocol

CHUNK = 1024 * 1024


class Target(Protocol):
    """A target for bytes. It needs only `write`, so a plain stream can be used."""

    def write(self, data: bytes, /) -> object: ...


class StorageWriter(io.BufferedIOBase):
    """A file that is being written. `sha256` and `bytes` cover the data written so far."""

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
        """Writes the whole content."""
        if isinstance(content, bytes):
            self.write(content)
        else:
            shutil.copyfileobj(content, self, CHUNK)

    def writable(self) -> bool:
        return True
