"""Packages are sealed with age while they are written."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyrage
import pytest

from include.dsar.delivery.package import write_package
from include.dsar.delivery.seal import Seal
from include.dsar.delivery.storage import Storage
from include.dsar.errors import NotDelivered
from include.dsar.intake.source import Source
from include.dsar.ledger import closing, planning
from include.dsar.ledger.database import Database
from include.dsar.stages.intake import Intake
from include.dsar.stages.package import Delivered, Package
from include.sandbox import Sandbox
from tests.integration.conftest import Row, put, source_rows, submissions
from tests.integration.requests_given import NOW, RULES
from tests.integration.stage_runs import Stages

KEY = pyrage.x25519.Identity.generate()
SEAL = Seal(str(KEY.to_public()))
SEALED, PLAIN = "requests/a-1/package.zip.age", "requests/a-1/package.zip"
RECEIPT = "requests/a-1/receipt.json"
PARTS = (".package.zip.age.0.part", ".receipt.json.0.part")
BOTH = {"besitos", "batch"}

later_seals = pytest.mark.parametrize("later", [SEAL, None], ids=["sealing", "no_longer_sealing"])


@dataclass
class Deployment:
    """A deployment with one access request, a-1, for Besitos and Batch."""

    dsn: str
    db: Database
    source: Source
    stages: Stages
    storage: Storage
    sandbox: Sandbox
    folder: Path

    async def collect(self, *, retry_failed: bool = False, refused_at_batch: bool = False) -> None:
        """Runs the stages from intake to collect."""
        if refused_at_batch:
            body = json.dumps({"status": "done", "request_type": "review", "error": "no"})
            self.sandbox.inject("body", vendor="batch", route="status", body=body)
        Intake(self.db, self.source, RULES, retry_failed=retry_failed).run()
        for account in ("besitos", "batch"):
            await self.stages.submit(account)
            await self.stages.poll(account)
            await self.stages.collect(account)

    def package(self, seal: Seal | None) -> Delivered:
        return Package(self.db, self.source, self.storage, seal=seal, clock=lambda: NOW).run()

    def package_and_stop(self, seal: Seal | None) -> None:
        """Stops the stage just before the ledger closes the request, as if the process had ended."""
        self.db.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN RAISE EXCEPTION 'no'; END$$;"
            "CREATE TRIGGER refuse BEFORE UPDATE ON dsar.request EXECUTE FUNCTION refuse()"
        )
        with pytest.raises(psycopg.errors.RaiseException):
            self.package(seal)
        self.db.execute("DROP FUNCTION refuse CASCADE")

    @property
    def status(self) -> str:
        return str(source_rows(self.dsn)["a-1"]["status"])

    @property
    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}

    @property
    def asked(self) -> list[str]:
        """Returns the vendors in the order in which they were asked."""
        return [job.vendor for job in self.sandbox.jobs()]

    def opened(self) -> bytes:
        """Returns the plain package, decrypted with the data subject's key."""
        return bytes(pyrage.decrypt((self.folder / SEALED).read_bytes(), [KEY]))

    def sealed_accounts(self) -> set[str]:
        """Returns the accounts with data in the sealed package."""
        with zipfile.ZipFile(io.BytesIO(self.opened())) as archive:
            return {name.split("/")[1] for name in archive.namelist() if name.startswith("data/")}

    def plans(self) -> list[tuple[str, str]]:
        """Returns the earlier state and the reason of each submission that was planned again."""
        events = self.db.execute("SELECT leaves, reason FROM dsar.event WHERE enters = 'planned' ORDER BY id")
        return [(row["leaves"], row["reason"]) for row in events]


@pytest.fixture
def one(
    dsn: str, db: Database, source_table: Source, stages: Stages, storage: Storage, sandbox: Sandbox,
    tmp_path: Path,
) -> Deployment:  # fmt: skip
    put(dsn, Row("a-1", "access", user_id="u1"))
    return Deployment(dsn, db, source_table, stages, storage, sandbox, tmp_path / "storage")


LISTENERS: list[list[str]] = []


def _opened(event: str, arguments: tuple[Any, ...]) -> None:
    if LISTENERS and event == "open" and isinstance(arguments[0], str | Path) and arguments[2] & os.O_CREAT:
        LISTENERS[0].append(str(arguments[0]))


@contextmanager
def created_files() -> Iterator[list[str]]:
    """Returns the paths of all files that this process creates."""
    if not hasattr(_opened, "added"):
        sys.addaudithook(_opened)  # a hook cannot be removed
        _opened.added = True  # type: ignore[attr-defined]
    LISTENERS.append([])
    yield LISTENERS[0]
    LISTENERS.clear()


async def test_the_sealed_package_holds_the_plain_package(one: Deployment) -> None:
    """The decrypted package equals the plain package. No plain package is ever written to disk."""
    await one.collect()
    ((record,),) = closing.records(one.db, closing.closable(one.db, request_pks=None))
    plain = io.BytesIO()
    write_package(plain, record, NOW, lambda file: one.storage.open(file.path))
    with created_files() as created:
        one.package(SEAL)
    assert {Path(name).name for name in created} == set(PARTS)
    assert one.files == {SEALED, RECEIPT}
    assert one.opened() == plain.getvalue()
    assert one.sealed_accounts() == BOTH
    assert source_rows(one.dsn)["a-1"]["export_uri"] == (one.folder / SEALED).as_uri()


async def test_a_reopened_request_collects_sealed_results_again(one: Deployment) -> None:
    """We cannot decrypt the earlier package, so every vendor is asked for its results again. The ledger
    records the reason.
    """
    await one.collect(refused_at_batch=True)
    one.package(SEAL)
    assert (one.status, one.sealed_accounts()) == ("partial", {"besitos"})
    await one.collect(retry_failed=True)
    one.package(SEAL)
    assert (one.status, one.sealed_accounts()) == ("completed", BOTH)
    assert one.files == {SEALED, RECEIPT}
    assert one.asked == ["besitos", "batch", "besitos", "batch"]
    assert [leaves for leaves, _ in one.plans()] == ["failed", "completed"]
    assert one.plans()[1][1] == planning.REASON_RETRY_SEALED


async def test_a_plain_package_is_removed_when_its_content_is_sealed(one: Deployment) -> None:
    """The new sealed package includes the results of the plain package, so the vendors of these results are
    not asked again.
    """
    await one.collect(refused_at_batch=True)
    one.package(None)
    assert one.files == {PLAIN, RECEIPT}
    await one.collect(retry_failed=True)
    one.package(SEAL)
    assert one.files == {SEALED, RECEIPT}
    assert one.sealed_accounts() == BOTH
    assert one.asked == ["besitos", "batch", "batch"]


@pytest.mark.parametrize("earlier_plain", [False, True])
@later_seals
async def test_a_run_that_stopped_after_sealing_is_finished(
    one: Deployment, later: Seal | None, earlier_plain: bool
) -> None:
    """The receipt describes the sealed package. The package stays unchanged."""
    if earlier_plain:
        await one.collect(refused_at_batch=True)
        one.package(None)
    await one.collect(retry_failed=earlier_plain)
    one.package_and_stop(SEAL)
    assert one.files == {SEALED, RECEIPT}
    before = (one.folder / SEALED).read_bytes()
    one.package(later)
    assert (one.folder / SEALED).read_bytes() == before
    row = source_rows(one.dsn)["a-1"]
    assert (row["status"], row["export_uri"]) == ("completed", (one.folder / SEALED).as_uri())


@later_seals
async def test_a_retry_after_such_a_stop_collects_sealed_results_again(
    one: Deployment, later: Seal | None
) -> None:
    """The results exist only in the sealed package, which we cannot decrypt. They are collected again, and
    the next run closes the request with all results.
    """
    await one.collect(refused_at_batch=True)
    one.package_and_stop(SEAL)
    await one.collect(retry_failed=True)
    done = one.package(later)
    assert (done.asked_again, done.not_delivered, one.status) == (1, 0, "in_progress")
    await one.collect()
    one.package(later)
    assert one.status == "completed"
    assert one.files == {SEALED if later else PLAIN, RECEIPT}
    if later:
        assert one.sealed_accounts() == BOTH
    assert one.asked == ["besitos", "batch", "batch", "besitos"]
    assert [leaves for leaves, _ in one.plans()] == ["failed", "completed"]
    assert one.plans()[1][1] == closing.REASON_SEALED


async def test_an_older_sealed_package_does_not_replace_lost_results(one: Deployment) -> None:
    """Results that are newer than the sealed package are collected again."""
    await one.collect(refused_at_batch=True)
    one.package(SEAL)
    await one.collect(retry_failed=True)
    one.storage.remove_tree("work/a-1")
    assert one.package(SEAL).asked_again == 1
    assert one.sealed_accounts() == {"besitos"}
    assert set(submissions(one.db).values()) == {"planned", "not_applicable"}
    await one.collect()
    one.package(SEAL)
    assert one.sealed_accounts() == BOTH


async def test_missing_results_that_were_never_sealed_are_not_collected_again(one: Deployment) -> None:
    """A wrong dsar_storage_uri fails the task, because the results are missing. After the URI is corrected,
    the task delivers the results.
    """
    await one.collect()
    elsewhere = (one.folder / "work").rename(one.folder.parent / "elsewhere")
    with pytest.raises(NotDelivered):
        one.package(SEAL)
    elsewhere.rename(one.folder / "work")
    assert one.package(SEAL).completed == 1
    assert one.asked == ["besitos", "batch"]
