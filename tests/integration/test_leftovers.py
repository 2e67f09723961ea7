"""A `collect` that is killed may leave files in `work/`. The package stage removes these files when no
request needs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.intake.source import Source
from include.dsar.ledger.database import Database
from include.dsar.stages.package import Package
from tests.integration.requests_given import put_into, rows
from tests.integration.test_package import ended

ORPHAN = "besitos_run7_user_id_1.json"


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A local disk, and a system without folders, like an object store."""
    if request.param == "local":
        return Storage(fsspec.filesystem("file"), str(tmp_path / "store"))
    return Storage(fsspec.filesystem("memory"), f"memory://{tmp_path.name}-{id(tmp_path)}")


def left(storage: Storage, name: str) -> list[str]:
    """Writes the files that a killed `collect` leaves. Only a local disk has part files."""
    storage.write(f"work/{name}/{ORPHAN}", b"complete, but the ledger does not name it")
    if not storage._local:
        return [ORPHAN]
    Path(storage._full(f"work/{name}/.{ORPHAN}.0.part")).write_bytes(b"half")
    return [ORPHAN, f".{ORPHAN}.0.part"]


def names(storage: Storage, name: str) -> set[str]:
    return {path.rpartition("/")[2] for path in storage.files("work") if path.startswith(f"work/{name}/")}


def test_files_of_a_closed_request_are_removed(
    dsn: str, db: Database, source_table: Source, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """A slow worker wrote the files after the request was closed. The log has the number of removed files."""
    ended(db, source_table, storage, dsn, "r-1")
    Package(db, source_table, storage).run()
    files = left(storage, "r-1")
    assert Package(db, source_table, storage).run().leftover_files == len(files)
    assert storage.files("work") == []
    assert not Path(storage._full("work/r-1")).exists()
    assert storage.exists("requests/r-1/package.zip")
    assert f"removed {len(files)} files from work/" in caplog.text
    assert Package(db, source_table, storage).run().leftover_files == 0


def test_files_of_an_open_request_are_removed_after_its_results_were_collected_again(
    dsn: str, db: Database, source_table: Source, storage: Storage
) -> None:
    """While a result is ready, a worker may be writing it, so nothing is removed. The files that the ledger
    names stay until the request is closed.
    """
    ended(db, source_table, storage, dsn, "r-1")
    (row,) = rows(db)
    other = open_submission(db, row)
    files = {*left(storage, "r-1")}
    (kept,) = names(storage, "r-1") - files
    put_into(db, [other], {"state": "ready"})
    assert Package(db, source_table, storage).run().leftover_files == 0
    assert names(storage, "r-1") == {*files, kept}
    put_into(db, [other], {"state": "submitted"})
    assert Package(db, source_table, storage).run().leftover_files == len(files)
    assert names(storage, "r-1") == {kept}


def open_submission(db: Database, like: dict[str, Any]) -> int:
    """Adds another submission to a request, so that the request stays open. Returns its ledger id."""
    row = db.execute(
        "INSERT INTO dsar.submission (request, account, vendor, identity, identity_hash, identifiers, state,"
        " job_id, due_at, changed_at, submitted_at) SELECT request, 'batch', 'batch', identity,"
        " identity_hash, identifiers, 'submitted', 'j-2', due_at, changed_at, submitted_at"
        " FROM dsar.submission WHERE id = %s RETURNING id",
        [like["id"]],
    ).fetchone()
    assert row is not None
    return int(row["id"])


def test_files_that_may_be_needed_stay(
    dsn: str, db: Database, source_table: Source, storage: Storage, tmp_path: Path
) -> None:
    """A file stays if the ledger does not know its request, or if a living worker is writing the file."""
    storage.write("work/r-9/file.json", b"of another deployment")
    ended(db, source_table, storage, dsn, "r-1")
    open_submission(db, rows(db)[0])
    with storage.writer(f"work/r-1/{ORPHAN}") as file:
        file.write(b"half")
        assert Package(db, source_table, storage).run().leftover_files == 0
    assert storage.exists("work/r-9/file.json")
    assert storage.exists(f"work/r-1/{ORPHAN}")


def test_a_storage_that_cannot_be_listed_stops_nothing(
    dsn: str,
    db: Database,
    source_table: Source,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The request is closed. The log has the type of the error, but not the text of the error."""

    def refuse(*_: object) -> list[str]:
        raise PermissionError("a value that must not be shown")

    monkeypatch.setattr(storage, "files", refuse)
    ended(db, source_table, storage, dsn, "r-1")
    assert Package(db, source_table, storage).run().completed == 1
    assert "could not remove the files of interrupted tasks: PermissionError" in caplog.text
    assert "shown" not in caplog.text
