"""Files on their way into storage: what waits at a moment is written in one go.

One hand-over to a thread, and one flush of a folder, serve many. Nobody is told that a file is
written before it is complete and flushed.
"""

from __future__ import annotations

import asyncio
from typing import BinaryIO

from include.dsar.delivery.storage import Storage, StorageWriter

AT_ONCE = 100  # files

Waiting = tuple[str, bytes | BinaryIO, asyncio.Future[StorageWriter]]


class Storing:
    """Writes files of one storage; one instance for each stage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._waiting: list[Waiting] = []
        self._writer: asyncio.Task[None] | None = None

    async def write(self, path: str, content: bytes | BinaryIO) -> StorageWriter:
        """As `Storage.write`; raises what stood in this file's way, and no other's."""
        written: asyncio.Future[StorageWriter] = asyncio.get_running_loop().create_future()
        self._waiting.append((path, content, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_waiting())
        return await written

    async def _write_waiting(self) -> None:
        while self._waiting:
            files, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            results = await asyncio.to_thread(self._write, files)
            for (_, _, written), result in zip(files, results, strict=True):
                if written.done():  # whoever asked was broken off
                    continue
                if isinstance(result, Exception):
                    written.set_exception(result)
                else:
                    written.set_result(result)

    def _write(self, files: list[Waiting]) -> list[StorageWriter] | list[StorageWriter | Exception]:
        try:
            return self._storage.write_all([(path, content) for path, content, _ in files])
        except Exception:  # one that cannot be written stops no other
            return [self._write_alone(path, content) for path, content, _ in files]

    def _write_alone(self, path: str, content: bytes | BinaryIO) -> StorageWriter | Exception:
        try:
            if not isinstance(content, bytes):
                content.seek(0)
            return self._storage.write(path, content)
        except Exception as error:
            return error
