"""Files of many coroutines are written together."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from include.dsar.delivery.batched_storage import BatchedStorage
from include.dsar.delivery.storage import Storage


async def test_each_caller_gets_its_own_file(storage: Storage) -> None:
    """Each caller gets its own file, even if it calls while other files are being written."""
    batched = BatchedStorage(storage)

    async def call(n: int) -> None:
        await asyncio.sleep(n % 3 / 100)
        written = await batched.write(f"work/{n}/file", b"x" * n)
        assert written.bytes == n
        with storage.open(f"work/{n}/file") as file:
            assert file.read() == b"x" * n

    await asyncio.gather(*map(call, range(250)))


async def test_a_file_that_cannot_be_written_does_not_stop_others(storage: Storage, tmp_path: Path) -> None:
    """Only the caller of the failed file gets the exception. A stream is written from its start."""
    (tmp_path / "storage/work").mkdir(parents=True)
    (tmp_path / "storage/work/2").write_bytes(b"a file where a folder should be")
    batched = BatchedStorage(storage)
    contents = [io.BytesIO(b"stream"), b"bytes", b"never", b"last"]
    results = await asyncio.gather(
        *(batched.write(f"work/{n}/file", content) for n, content in enumerate(contents)),
        return_exceptions=True,
    )
    assert [isinstance(result, OSError) for result in results] == [False, False, True, False]
    for n, content in ((0, b"stream"), (1, b"bytes"), (3, b"last")):
        with storage.open(f"work/{n}/file") as file:
            assert file.read() == content
