"""Files that wait for storage together."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import fsspec
import pytest

from include.dsar.delivery.batched_storage import BatchedStorage
from include.dsar.delivery.storage import Storage

pytestmark = pytest.mark.asyncio


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(fsspec.filesystem("file"), str(tmp_path / "store"))


async def test_each_asker_gets_its_own_file(storage: Storage) -> None:
    """However many ask at a time, before or while others are written."""
    storing = BatchedStorage(storage)

    async def ask(n: int) -> None:
        await asyncio.sleep(n % 3 / 100)
        written = await storing.write(f"work/{n}/file", b"x" * n)
        assert written.bytes == n
        with storage.open(f"work/{n}/file") as file:
            assert file.read() == b"x" * n

    await asyncio.gather(*map(ask, range(250)))


async def test_one_that_cannot_be_written_stops_no_other(storage: Storage, tmp_path: Path) -> None:
    """Its asker gets the exception; a stream that was read already is written whole."""
    (tmp_path / "store/work").mkdir(parents=True)
    (tmp_path / "store/work/2").write_bytes(b"a file where a folder should be")
    storing = BatchedStorage(storage)
    contents = [io.BytesIO(b"stream"), b"bytes", b"never", b"last"]
    results = await asyncio.gather(
        *(storing.write(f"work/{n}/file", content) for n, content in enumerate(contents)),
        return_exceptions=True,
    )
    assert [isinstance(result, OSError) for result in results] == [False, False, True, False]
    for n, content in ((0, b"stream"), (1, b"bytes"), (3, b"last")):
        with storage.open(f"work/{n}/file") as file:
            assert file.read() == content
