"""Writes the files of many coroutines to storage together.

Many files share one call to a thread and one flush of a folder. A coroutine continues only when its own file
is complete and flushed.
"""

from __future__ import annotations

import asyncio
from typing import BinaryIO

from include.dsar.delivery.storage import Storage
from include.dsar.delivery.storage_writer import StorageWriter

FILES_PER_BATCH = 100

Waiting = tuple[str, bytes | BinaryIO, asyncio.Future[StorageWriter]]


class BatchedStorage:
    """Writes files to one storage. Each stage has one instance."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._waiting: list[Waiting] = []
        self._writer: asyncio.Task[None] | None = None

    async def write(self, path: str, content: bytes | BinaryIO) -> StorageWriter:
        """Writes one file, like `Storage.write`. Raises the error of this file, but not the errors of other
        files in the same batch.
        """
        written: asyncio.Future[StorageWriter] = asyncio.get_running_loop().create_future()
        self._waiting.append((path, content, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_waiting())
        return await written

    async def _write_waiting(self) -> None:
        while self._waiting:
            files, self._waiting = self._waiting[:FILES_PER_BATCH], self._waiting[FILES_PER_BATCH:]
            results = await asyncio.to_thread(self._write, files)
            for (_, _, written), result in zip(files, results, strict=True):
                if written.done():  # the caller was cancelled
                    continue
                if isinstance(result, Exception):
                    written.set_exception(result)
                else:
                    written.set_result(result)

    def _write(self, files: list[Waiting]) -> list[StorageWriter] | list[StorageWriter | Exception]:
        try:
            return self._storage.write_all([(path, content) for path, content, _ in files])
        except Exception:  # a file that cannot be written does not stop the others
            return [self._write_alone(path, content) for path, content, _ in files]

    def _write_alone(self, path: str, content: bytes | BinaryIO) -> StorageWriter | Exception:
        try:
            if not isinstance(content, bytes):
                content.seek(0)
            return self._storage.write(path, content)
        except Exception as error:
            return error
