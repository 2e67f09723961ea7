"""The package stage runs as several shards. Each request is closed once, and the source gets every status."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import create_engine

from include.dsar.accounts import WHOLE, Shard, all_shards
from include.dsar.delivery.storage import Storage
from include.dsar.delivery.storage_writer import StorageWriter
from include.dsar.intake.source import Source
from include.dsar.intake.write_back import write_back
from include.dsar.ledger import closing, database
from include.dsar.ledger.database import Database
from include.dsar.stages.package import Delivered, Package
from tests.conftest import PROJECT, RunDaily
from tests.integration.conftest import source_rows
from tests.integration.requests_given import NOW, rows
from tests.integration.test_package import ended, package, receipt
from tests.integration.test_shards import wait_for_sessions

SHARDS = all_shards(3, "shards")
NAMES = [f"r-{n:02}" for n in range(30)]


class KilledWhileWriting(Storage):
    """A storage that kills its process just before it writes the fourth receipt. At that time the fourth
    package is already written.
    """

    receipts = 0

    def write(self, path: str, content: bytes | BinaryIO) -> StorageWriter:
        self.receipts += 1
        if self.receipts == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(path, content)


def close_shard(dsn: str, folder: str, shard: Shard, killed: bool, counts: Any) -> None:
    """Runs one shard in its own process."""
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    storage = (KilledWhileWriting if killed else Storage)(LocalFileSystem(), folder)
    with database.connect(dsn) as db:
        counts.put(Package(db, Source(engine), storage, shard=shard).run())


@pytest.fixture
def close_at_once(dsn: str, tmp_path: Path) -> Callable[..., list[Delivered]]:
    """Returns a function that runs shards in processes at the same time. The function returns the counts of
    delivered requests for each shard that was not killed.
    """

    def run(shards: Sequence[Shard], killed: Shard | None = None) -> list[Delivered]:
        context = multiprocessing.get_context("spawn")
        counts = context.SimpleQueue()
        folder = str(tmp_path / "storage")
        processes = [
            context.Process(target=close_shard, args=(dsn, folder, shard, shard == killed, counts))
            for shard in shards
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(180)
        codes = [-signal.SIGKILL if shard == killed else 0 for shard in shards]
        assert [process.exitcode for process in processes] == codes
        return [counts.get() for code in codes if code == 0]

    return run


def test_each_request_belongs_to_one_shard(
    dsn: str, db: Database, source_table: Source, storage: Storage
) -> None:
    """All shards together close every request. Each shard gets a fair part."""
    ended(db, source_table, storage, dsn, *NAMES, action="erasure")
    every = closing.closable(db, request_pks=None)
    assert closing.closable(db, request_pks=None, shard=WHOLE) == every
    parts = [closing.closable(db, request_pks=None, shard=shard) for shard in SHARDS]
    assert sorted(pk for part in parts for pk in part) == every
    assert min(map(len, parts)) > len(every) / 6


def test_a_killed_shard_loses_and_doubles_nothing(
    dsn: str,
    db: Database,
    source_table: Source,
    storage: Storage,
    close_at_once: Callable[..., list[Delivered]],
) -> None:
    """The other shards close their requests. When the killed shard runs again, it closes its requests."""
    ended(db, source_table, storage, dsn, *NAMES)
    of_killed = len(closing.closable(db, request_pks=None, shard=SHARDS[1]))
    assert of_killed > 4
    first = close_at_once(SHARDS, killed=SHARDS[1])
    assert sum(one.completed for one in first) == len(NAMES) - of_killed
    statuses = [row["status"] for row in source_rows(dsn).values()]
    assert statuses.count("in_progress") == of_killed
    (last,) = close_at_once([SHARDS[1]])
    assert last == Delivered(completed=of_killed, source_updated=of_killed)
    assert sum(one.source_updated for one in first) + last.source_updated == len(NAMES)
    assert {row["status"] for row in source_rows(dsn).values()} == {"completed"}
    for name, row in zip(NAMES, rows(db), strict=True):
        assert f"data/besitos/user_id_{row['id']}.json" in package(storage, name)
        assert receipt(storage, name)["status"] == "completed"
    assert not storage.exists(f"work/{NAMES[0]}")


def test_write_backs_at_the_same_time_leave_the_newest_status(
    dsn: str, db: Database, source_table: Source, storage: Storage
) -> None:
    """A slow session and a newer session write statuses at the same time. One session waits for the other,
    so the slow session does not overwrite the newer status.
    """
    ended(db, source_table, storage, dsn, "r-1")
    db.execute("UPDATE dsar.request SET source_updated = false")
    reached, go_on = threading.Event(), threading.Event()

    class SlowSource:
        def update(self, given: Sequence[dict[str, Any]]) -> set[object]:
            reached.set()
            assert go_on.wait(30)
            return source_table.update(given)

    def write_back_alone(source: Any) -> int:
        with database.connect(dsn) as other:
            return write_back(other, source)

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(write_back_alone, SlowSource())
        assert reached.wait(30)
        ((record,),) = closing.records(db, closing.closable(db, request_pks=None))
        closing.close(db, [closing.Closed(record.id, record.status, None, "file:///r-1")], now=NOW)
        fast = pool.submit(write_back_alone, source_table)
        wait_for_sessions(db, 1)
        go_on.set()
        assert (slow.result(), fast.result()) == (1, 1)
    assert source_rows(dsn)["r-1"]["status"] == "completed"
    assert closing.pending_write_backs(db, limit=9) == []


@pytest.mark.parametrize("dags", [{"PACKAGE_SHARDS": len(SHARDS)}], indirect=True)
def test_the_dag_runs_an_instance_for_each_shard(
    dsn: str, db: Database, source_table: Source, storage: Storage, deployment: Path, run_daily: RunDaily
) -> None:
    """If a shard fails, the other shards still run, and the report names the failed shard. After the failed
    shard is cleared, it closes its requests.
    """
    ended(db, source_table, storage, dsn, *NAMES)
    (deployment / "requests").mkdir()
    in_the_way = deployment / "requests" / NAMES[0]
    in_the_way.write_text("a file where a folder is needed")
    pk = rows(db)[0]["request"]
    (red,) = (s.number for s in SHARDS if pk in closing.closable(db, request_pks=None, shard=s))
    ran = run_daily(only="package|report")
    assert {name: ran.states[name] for name in ran.states if name.startswith("package")} == {
        f"package[{s.number - 1}]": "failed" if s.number == red else "success" for s in SHARDS
    }
    assert f"- Task package (shard {red}) failed. Fix what its log says, then clear it." in ran.log
    statuses = {name: row["status"] for name, row in source_rows(dsn).items()}
    assert statuses == dict.fromkeys(NAMES, "completed") | {NAMES[0]: "in_progress"}
    in_the_way.unlink()
    assert set(run_daily(only="package").states.values()) == {"success"}
    assert source_rows(dsn)[NAMES[0]]["status"] == "completed"


@pytest.mark.parametrize("count", [0, 65])
def test_the_dag_file_refuses_an_impossible_number_of_shards(
    metadata_db: None, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """An impossible number of shards is an import error of the DAG file. The error names the setting."""
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setattr("include.accounts.PACKAGE_SHARDS", count)
    (error,) = DagBag(PROJECT / "dags").import_errors.values()
    assert "PACKAGE_SHARDS must be from 1 to 64" in error
