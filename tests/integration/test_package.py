"""The package stage closes requests in steps. It can stop safely after any step."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError, NotDelivered
from include.dsar.intake.source import Source
from include.dsar.ledger import closing, planning
from include.dsar.ledger.database import Database
from include.dsar.stages.intake import Intake
from include.dsar.stages.package import Delivered, Package
from tests.integration.conftest import Row, put, source_rows
from tests.integration.requests_given import NOW, RULES, put_into, rows
from tests.integration.test_collect import full_for


class Killed(BaseException):
    """An error that no `except` in the code catches. It ends the stage as SIGKILL would."""


def ended(
    db: Database, source: Source, storage: Storage, dsn: str, *request_ids: str, action: str = "access"
) -> None:
    """Adds requests with ended submissions, and a collected file for each access submission."""
    put(dsn, *(Row(name, action, user_id=f"user of {name}", accounts=["besitos"]) for name in request_ids))
    Intake(db, source, RULES).run()
    for row in rows(db):
        if row["state"] == "planned":
            finish(db, storage, row, with_file=action == "access")


def finish(
    db: Database, storage: Storage, row: dict[str, Any], *, with_file: bool = True, **state: Any
) -> None:
    columns = {"state": "completed", "attempts": 1, "submitted_at": NOW, "finished_at": NOW, "job_id": "j"}
    if with_file:
        name = f"user_id_{row['id']}.json"
        path = f"work/{row['request_id']}/{row['account']}/{name}"
        written = storage.write(path, json.dumps({"of": row["request_id"], "row": row["id"]}).encode())
        columns |= {
            "file_path": path, "file_name": name,
            "file_sha256": written.sha256, "file_bytes": written.bytes,
        }  # fmt: skip
    put_into(db, [row["id"]], columns | state)


def package(storage: Storage, request_id: str) -> dict[str, bytes]:
    with storage.open(f"requests/{request_id}/package.zip") as stream:
        archive = zipfile.ZipFile(io.BytesIO(stream.read()))
    assert archive.testzip() is None
    return {name: archive.read(name) for name in archive.namelist()}


def receipt(storage: Storage, request_id: str) -> dict[str, Any]:
    with storage.open(f"requests/{request_id}/receipt.json") as stream:
        found: dict[str, Any] = json.loads(stream.read())
    return found


def test_a_request_is_closed_with_its_files(
    dsn: str, db: Database, source_table: Source, storage: Storage
) -> None:
    """Receipt, package, ledger and source agree. The work folder is empty."""
    ended(db, source_table, storage, dsn, "r-1")
    done = Package(db, source_table, storage).run()
    assert done == Delivered(completed=1, source_updated=1)
    row = source_rows(dsn)["r-1"]
    assert (row["status"], row["status_reason"]) == ("completed", None)
    assert row["export_uri"] == storage.uri("requests/r-1/package.zip")
    assert receipt(storage, "r-1")["closed_at"] == f"{row['closed_at']:%Y-%m-%dT%H:%M:%SZ}"
    assert [name for name in package(storage, "r-1") if name.startswith("data/")] == [
        f"data/besitos/user_id_{rows(db)[0]['id']}.json"
    ]
    assert not storage.exists("work/r-1")
    assert all(row["identifiers"] is None for row in rows(db))


def test_an_erasure_gets_a_receipt_and_no_package(
    dsn: str, db: Database, source_table: Source, storage: Storage
) -> None:
    """An erasure request gets a receipt and no package. The source gets the address of the receipt."""
    ended(db, source_table, storage, dsn, "r-1", action="erasure")
    Package(db, source_table, storage).run()
    assert source_rows(dsn)["r-1"]["export_uri"] == storage.uri("requests/r-1/receipt.json")
    assert not storage.exists("requests/r-1/package.zip")


STEPS: list[tuple[Any, str]] = [
    (Storage, "write"), (Storage, "remove_tree"), (Storage, "uri"),
    (closing, "close"), (closing, "pending_write_backs"), (closing, "mark_written_back"),
    (Source, "update"),
]  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[step for _, step in STEPS])
def test_a_stop_at_any_step_is_repaired(
    dsn: str, db: Database, source_table: Source, storage: Storage, monkeypatch: pytest.MonkeyPatch,
    owner: Any, step: str, when: str,
) -> None:  # fmt: skip
    """The next run closes the requests with the same data, even if the stopped run already deleted
    collected files.
    """
    ended(db, source_table, storage, dsn, "r-1", "r-2")
    real: Callable[..., Any] = getattr(owner, step)

    def killed(*args: Any, **options: Any) -> None:
        if when == "after":
            real(*args, **options)
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(owner, step, killed)
        Package(db, source_table, storage).run()
    Package(db, source_table, storage).run()
    assert {row["status"] for row in source_rows(dsn).values()} == {"completed"}
    for name, row in zip(("r-1", "r-2"), rows(db), strict=True):
        held = package(storage, name)
        assert json.loads(held[f"data/besitos/user_id_{row['id']}.json"]) == {"of": name, "row": row["id"]}
        assert receipt(storage, name)["accounts"][0]["files"][0]["sha256"] == row["file_sha256"]
    assert not storage.exists("work/r-1")
    assert closing.pending_write_backs(db, limit=9) == []


def test_a_request_that_storage_refuses_does_not_stop_others(
    dsn: str, db: Database, source_table: Source, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """The refused request stays open, the log names it, and the next run delivers it."""
    ended(db, source_table, storage, dsn, "r-1", "r-2", "r-3")
    with pytest.raises(NotDelivered, match="1 requests could not be delivered"):
        Package(db, source_table, full_for(storage, "r-2")).run()
    statuses = {name: row["status"] for name, row in source_rows(dsn).items()}
    assert statuses == {"r-1": "completed", "r-2": "in_progress", "r-3": "completed"}
    assert "request r-2 could not be delivered: QuotaExceeded" in caplog.text
    assert "shown" not in caplog.text
    assert Package(db, source_table, storage).run().completed == 1


def test_the_package_of_a_reopened_request_keeps_earlier_results(
    dsn: str, db: Database, source_table: Source, storage: Storage
) -> None:
    """The new result is added to the earlier results in the package."""
    put(dsn, Row("r-1", "access", user_id=["a", "b"], accounts=["besitos"]))
    Intake(db, source_table, RULES).run()
    one, two = rows(db)
    finish(db, storage, one)
    finish(db, storage, two, with_file=False, state="failed", reason="the job failed")
    assert Package(db, source_table, storage).run().partial == 1
    row = source_rows(dsn)["r-1"]
    assert (row["status"], row["status_reason"]) == ("partial", "besitos: partial")
    first = {name: data for name, data in package(storage, "r-1").items() if name.startswith("data/")}
    Intake(db, source_table, RULES, retry_failed=True).run()
    assert source_rows(dsn)["r-1"]["status"] == "in_progress"
    (again,) = (row for row in rows(db) if row["state"] == "planned")
    finish(db, storage, again)
    assert Package(db, source_table, storage).run().completed == 1
    second = {name: data for name, data in package(storage, "r-1").items() if name.startswith("data/")}
    assert len(second) == 2
    assert second.items() > first.items()
    assert source_rows(dsn)["r-1"]["status"] == "completed"


def test_an_update_that_the_source_refuses_does_not_stop_others(
    dsn: str, db: Database, source_table: Source, storage: Storage
) -> None:
    """All requests are closed, even if the source refuses an update. The task fails, and the next run
    updates the source.
    """
    ended(db, source_table, storage, dsn, "r-1", "r-2", "r-3")
    with psycopg.connect(dsn) as other:
        other.execute(
            "ALTER TABLE public.dsar_requests ADD CONSTRAINT narrow"
            " CHECK (request_id <> 'r-2' OR closed_at IS NULL)"
        )
    with pytest.raises(ConfigurationError, match="refused the status of 1 requests"):
        Package(db, source_table, storage).run()
    assert [row["status"] for row in source_rows(dsn).values()].count("completed") == 2
    assert [n.request_id for n in closing.pending_write_backs(db, limit=9)] == ["r-2"]
    with psycopg.connect(dsn) as other:
        other.execute("ALTER TABLE public.dsar_requests DROP CONSTRAINT narrow")
    assert Package(db, source_table, storage).run() == Delivered(source_updated=1)
    assert source_rows(dsn)["r-2"]["status"] == "completed"


def test_a_run_limited_to_some_requests_closes_no_other(
    dsn: str, db: Database, source_table: Source, storage: Storage
) -> None:
    ended(db, source_table, storage, dsn, "r-1", "r-2")
    only = planning.request_pks_of(db, ["r-2"])
    assert Package(db, source_table, storage, only).run().completed == 1
    assert source_rows(dsn)["r-1"]["status"] == "in_progress"
