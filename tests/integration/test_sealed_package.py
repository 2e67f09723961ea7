"""Packages sealed for the person with age, and packages that only their owner may read."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyrage
import pytest

from dsar_airflow.connections.seal import seal
from include.accounts import ACCOUNTS
from include.dsar.delivery.package import write_package
from include.dsar.delivery.seal import Seal
from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError, NotDelivered, SettingDiffers
from include.dsar.intake.rows import Rules
from include.dsar.intake.source import Source
from include.dsar.ledger import closing
from include.dsar.ledger.database import Database
from include.dsar.stages.collect import collect
from include.dsar.stages.intake import Intake
from include.dsar.stages.package import Package
from include.dsar.stages.poll import poll_open_jobs
from include.dsar.stages.submit import submit
from include.sandbox import Sandbox
from tests.conftest import Ran
from tests.integration.conftest import OpenWork, Row, put, source_rows, submissions

RULES = Rules(ACCOUNTS, None, b"key")
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEY = pyrage.x25519.Identity.generate()
SEAL = Seal(str(KEY.to_public()))
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN"
REFUSED_AT_BATCH = json.dumps({"status": "done", "request_type": "review", "error": "no"})
SEALED, PLAIN = "requests/a-1/package.zip.age", "requests/a-1/package.zip"
RECEIPT = "requests/a-1/receipt.json"

BringToPackage = Callable[..., Awaitable[None]]
Stage = Callable[[Seal | None], Package]


@pytest.fixture
def bring_to_package(
    dsn: str, db: Database, source_table: Source, storage: Storage, open_work: OpenWork
) -> BringToPackage:
    """Request a-1 up to where its results are collected; again with `retry_failed`."""
    put(dsn, Row("a-1", "access", user_id="u1"))

    async def bring(*, retry_failed: bool = False) -> None:
        Intake(db, source_table, RULES, retry_failed=retry_failed).run()
        for account in ("besitos", "batch"):
            async with open_work(account) as work:
                await submit(work)
                now = datetime.now(UTC)
                await poll_open_jobs(work, since=now, until=now + timedelta(seconds=5))
                await collect(work, storage)

    return bring


@pytest.fixture
def package(db: Database, source_table: Source, storage: Storage) -> Stage:
    return lambda seal: Package(db, source_table, storage, seal=seal, clock=lambda: NOW)


@pytest.fixture
def broken_off(db: Database) -> Callable[[], Any]:
    """The ledger refuses to close a request, as if the process had ended just before."""

    class BrokenOff:
        def __enter__(self) -> None:
            db.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN RAISE EXCEPTION 'no'; END$$;"
                "CREATE TRIGGER refuse BEFORE UPDATE ON dsar.request EXECUTE FUNCTION refuse()"
            )

        def __exit__(self, *_: object) -> None:
            db.execute("DROP FUNCTION refuse CASCADE")

    return BrokenOff


@pytest.fixture
def written() -> Iterator[list[str]]:
    """The names of all files that this process makes, or would make where they are missing."""
    names: list[str] = []
    _hear(names)
    yield names
    HEARING.clear()


HEARING: list[list[str]] = []


def _hear(names: list[str]) -> None:
    if not HOOKED:
        sys.addaudithook(_opened)  # stays as long as the process
        HOOKED.append(True)
    HEARING.append(names)


HOOKED: list[bool] = []


def _opened(event: str, arguments: tuple[Any, ...]) -> None:
    if HEARING and event == "open" and isinstance(arguments[0], str | Path) and arguments[2] & os.O_CREAT:
        HEARING[0].append(str(arguments[0]))


def stored(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def sealed_members(folder: Path) -> dict[str, bytes]:
    """What the person finds in the package."""
    with zipfile.ZipFile(io.BytesIO(pyrage.decrypt((folder / SEALED).read_bytes(), [KEY]))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def data_of(members: dict[str, bytes]) -> set[str]:
    """The accounts whose data is in it."""
    return {name.split("/")[1] for name in members if name.startswith("data/")}


@pytest.mark.asyncio
async def test_the_key_opens_what_would_have_been_the_plain_package(
    dsn: str,
    db: Database,
    storage: Storage,
    bring_to_package: BringToPackage,
    package: Stage,
    tmp_path: Path,
    written: list[str],
) -> None:
    """Byte for byte; and nothing but the sealed one is ever written, be it to storage or elsewhere."""
    await bring_to_package()
    ((record,),) = closing.records(db, closing.closable(db, request_pks=None))
    plain = io.BytesIO()
    write_package(plain, record, NOW, lambda file: storage.open(file.path))
    written.clear()
    package(SEAL).run()
    folder = tmp_path / "storage"
    assert {Path(name).name for name in written} == {".package.zip.age.0.part", ".receipt.json.0.part"}
    assert stored(folder) == {SEALED, RECEIPT}
    assert pyrage.decrypt((folder / SEALED).read_bytes(), [KEY]) == plain.getvalue()
    assert data_of(sealed_members(folder)) == {"besitos", "batch"}
    assert source_rows(dsn)["a-1"]["export_uri"] == (folder / SEALED).as_uri()


@pytest.mark.asyncio
async def test_a_reopened_request_asks_again_for_what_is_sealed(
    dsn: str,
    db: Database,
    sandbox: Sandbox,
    bring_to_package: BringToPackage,
    package: Stage,
    tmp_path: Path,
) -> None:
    """Nobody here can open the earlier package, so the new one takes every vendor's answer anew, and the
    ledger says why the vendor was asked twice."""
    sandbox.inject("body", vendor="batch", route="status", body=REFUSED_AT_BATCH)
    await bring_to_package()
    package(SEAL).run()
    folder = tmp_path / "storage"
    assert source_rows(dsn)["a-1"]["status"] == "partial"
    assert data_of(sealed_members(folder)) == {"besitos"}
    await bring_to_package(retry_failed=True)
    package(SEAL).run()
    assert source_rows(dsn)["a-1"]["status"] == "completed"
    assert stored(folder) == {SEALED, RECEIPT}
    assert data_of(sealed_members(folder)) == {"besitos", "batch"}
    assert [entry.vendor for entry in sandbox.book()] == ["besitos", "batch", "besitos", "batch"]
    events = db.execute("SELECT leaves, reason FROM dsar.event WHERE enters = 'planned' ORDER BY id")
    assert [(row["leaves"], row["reason"]) for row in events] == [
        ("failed", "a person asked for another try"),
        (
            "completed",
            "a person asked for another try, and nobody here can open the sealed package with its result",
        ),
    ]


@pytest.mark.asyncio
async def test_an_earlier_plain_package_goes_once_its_content_is_sealed(
    sandbox: Sandbox, bring_to_package: BringToPackage, package: Stage, tmp_path: Path
) -> None:
    """A plain package gives what it has to the sealed one, without asking the vendor again."""
    sandbox.inject("body", vendor="batch", route="status", body=REFUSED_AT_BATCH)
    await bring_to_package()
    package(None).run()
    folder = tmp_path / "storage"
    assert stored(folder) == {PLAIN, RECEIPT}
    await bring_to_package(retry_failed=True)
    package(SEAL).run()
    assert stored(folder) == {SEALED, RECEIPT}
    assert data_of(sealed_members(folder)) == {"besitos", "batch"}
    assert [entry.vendor for entry in sandbox.book()] == ["besitos", "batch", "batch"]


@pytest.mark.asyncio
@pytest.mark.parametrize("earlier_plain", [False, True])
@pytest.mark.parametrize("later", [SEAL, None], ids=["sealing", "no_longer_sealing"])
async def test_a_try_that_broke_off_after_sealing_is_finished(
    dsn: str,
    sandbox: Sandbox,
    bring_to_package: BringToPackage,
    package: Stage,
    tmp_path: Path,
    broken_off: Callable[[], Any],
    later: Seal | None,
    earlier_plain: bool,
) -> None:
    """What is sealed and gone from everywhere else is known by its receipt, and stays as it is."""
    if earlier_plain:
        sandbox.inject("body", vendor="batch", route="status", body=REFUSED_AT_BATCH)
        await bring_to_package()
        package(None).run()
    await bring_to_package(retry_failed=earlier_plain)
    with broken_off(), pytest.raises(psycopg.errors.RaiseException):
        package(SEAL).run()
    folder = tmp_path / "storage"
    assert stored(folder) == {SEALED, RECEIPT}
    before = (folder / SEALED).read_bytes()
    package(later).run()
    assert (folder / SEALED).read_bytes() == before
    row = source_rows(dsn)["a-1"]
    assert (row["status"], row["export_uri"]) == ("completed", (folder / SEALED).as_uri())


@pytest.mark.asyncio
@pytest.mark.parametrize("later", [SEAL, None], ids=["sealing", "no_longer_sealing"])
async def test_another_try_after_sealing_broke_off_asks_again_for_what_is_sealed(
    dsn: str,
    db: Database,
    sandbox: Sandbox,
    bring_to_package: BringToPackage,
    package: Stage,
    tmp_path: Path,
    broken_off: Callable[[], Any],
    later: Seal | None,
) -> None:
    """The rest is there, the sealed part nowhere else: its vendor is asked once more, on record, and
    the next run closes the request with both."""
    sandbox.inject("body", vendor="batch", route="status", body=REFUSED_AT_BATCH)
    await bring_to_package()
    with broken_off(), pytest.raises(psycopg.errors.RaiseException):
        package(SEAL).run()
    await bring_to_package(retry_failed=True)
    done = package(later).run()
    assert (done.asked_again, done.not_delivered, source_rows(dsn)["a-1"]["status"]) == (1, 0, "in_progress")
    await bring_to_package()
    package(later).run()
    assert source_rows(dsn)["a-1"]["status"] == "completed"
    folder = tmp_path / "storage"
    assert stored(folder) == {SEALED if later else PLAIN, RECEIPT}
    if later:
        assert data_of(sealed_members(folder)) == {"besitos", "batch"}
    assert [entry.vendor for entry in sandbox.book()] == ["besitos", "batch", "batch", "besitos"]
    events = db.execute("SELECT leaves, reason FROM dsar.event WHERE enters = 'planned' ORDER BY id")
    assert [(row["leaves"], row["reason"]) for row in events] == [
        ("failed", "a person asked for another try"),
        ("completed", closing.SEALED),
    ]


@pytest.mark.asyncio
async def test_a_lost_result_is_not_taken_for_a_sealed_one(
    db: Database,
    sandbox: Sandbox,
    storage: Storage,
    bring_to_package: BringToPackage,
    package: Stage,
    tmp_path: Path,
) -> None:
    """The sealed package of an earlier closing does not stand for results that came in since: they are
    asked for once more."""
    sandbox.inject("body", vendor="batch", route="status", body=REFUSED_AT_BATCH)
    await bring_to_package()
    package(SEAL).run()
    await bring_to_package(retry_failed=True)
    storage.remove_tree("work/a-1")
    assert package(SEAL).run().asked_again == 1
    assert data_of(sealed_members(tmp_path / "storage")) == {"besitos"}
    assert set(submissions(db).values()) == {"planned", "not_applicable"}
    await bring_to_package()
    package(SEAL).run()
    assert data_of(sealed_members(tmp_path / "storage")) == {"besitos", "batch"}


@pytest.mark.asyncio
async def test_a_result_that_nobody_sealed_is_not_asked_for_again(
    sandbox: Sandbox, bring_to_package: BringToPackage, package: Stage, tmp_path: Path
) -> None:
    """Where results are missing and nothing says why, as after a wrong dsar_storage_uri, the task is
    red: mended, it delivers them."""
    await bring_to_package()
    elsewhere = (tmp_path / "storage" / "work").rename(tmp_path / "elsewhere")
    with pytest.raises(NotDelivered):
        package(SEAL).run()
    elsewhere.rename(tmp_path / "storage" / "work")
    assert package(SEAL).run().completed == 1
    assert [entry.vendor for entry in sandbox.book()] == ["besitos", "batch"]


@pytest.mark.asyncio
async def test_only_the_owner_may_read_what_is_in_storage(
    bring_to_package: BringToPackage, package: Stage, tmp_path: Path
) -> None:
    """Results, packages and receipts are 0600, their folders 0700, however generous the umask."""
    before = os.umask(0)
    try:
        await bring_to_package()
        results = _modes(tmp_path / "storage")
        package(None).run()
    finally:
        os.umask(before)
    modes = results | _modes(tmp_path / "storage")
    assert {"work/a-1", PLAIN, RECEIPT, "requests/a-1"} <= modes.keys()
    assert {mode for path, mode in modes.items() if (tmp_path / "storage" / path).suffix} == {0o600}
    assert {mode for path, mode in modes.items() if not (tmp_path / "storage" / path).suffix} == {0o700}


def _modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.asyncio
async def test_the_variable_says_whom_packages_are_sealed_for(
    deployment: Path,
    bring_to_package: BringToPackage,
    run_daily: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """dsar_age_recipient seals; what is not a public key there stops the task, with what to mend."""
    await bring_to_package()
    monkeypatch.setenv("AIRFLOW_VAR_DSAR_AGE_RECIPIENT", str(KEY))
    ran = run_daily(only="package")
    assert ran.states["package"] == "failed"
    assert "Variable dsar_age_recipient (or AIRFLOW_VAR_DSAR_AGE_RECIPIENT) is not a public key" in ran.log
    assert str(KEY) not in ran.log
    monkeypatch.setenv("AIRFLOW_VAR_DSAR_AGE_RECIPIENT", str(KEY.to_public()))
    assert run_daily(only="package").states["package"] == "success"
    assert data_of(sealed_members(deployment)) == {"besitos", "batch"}
    assert not (deployment / PLAIN).exists()


@pytest.mark.asyncio
async def test_a_deployment_that_seals_writes_no_plain_package_when_its_variable_is_gone(
    dsn: str,
    db: Database,
    deployment: Path,
    bring_to_package: BringToPackage,
    run_daily: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Airflow says the same of a secrets backend that does not answer, which may be over in a minute. Only
    a person who sets it to none ends the sealing."""
    monkeypatch.setenv("AIRFLOW_VAR_DSAR_AGE_RECIPIENT", str(KEY.to_public()))
    assert run_daily(only="package").states["package"] == "success"
    await bring_to_package()
    before = stored(deployment)
    monkeypatch.delenv("AIRFLOW_VAR_DSAR_AGE_RECIPIENT")
    ran = run_daily(only="package", retries=1)
    assert (ran.states["package"], ran.tries["package"]) == ("failed", 2)
    assert "this deployment seals its packages" in ran.log
    assert stored(deployment) == before
    assert source_rows(dsn)["a-1"]["status"] == "in_progress"
    monkeypatch.setenv("AIRFLOW_VAR_DSAR_AGE_RECIPIENT", "none")
    assert run_daily(only="package").states["package"] == "success"
    assert stored(deployment) == {PLAIN, RECEIPT}
    monkeypatch.delenv("AIRFLOW_VAR_DSAR_AGE_RECIPIENT")
    assert run_daily(only="package").states["package"] == "success"


def test_another_recipient_may_take_the_place_of_the_first(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys are changed for good reasons; and sealing may begin again after it was ended."""
    for given in (str(KEY.to_public()), str(pyrage.x25519.Identity.generate().to_public()), " None ", SSH):
        monkeypatch.setenv("AIRFLOW_VAR_DSAR_AGE_RECIPIENT", given)
        assert (seal(db) is None) == (given == " None ")
    monkeypatch.delenv("AIRFLOW_VAR_DSAR_AGE_RECIPIENT")
    with pytest.raises(SettingDiffers):
        seal(db)
    with pytest.raises(ConfigurationError):
        monkeypatch.setenv("AIRFLOW_VAR_DSAR_AGE_RECIPIENT", "")
        seal(db)


def test_a_deployment_that_never_sealed_needs_no_variable(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And remembers nothing of it."""
    monkeypatch.delenv("AIRFLOW_VAR_DSAR_AGE_RECIPIENT", raising=False)
    assert seal(db) is None
    assert db.execute("SELECT * FROM dsar.deployment").fetchall() == []
