"""The variable `dsar_age_recipient` decides whether packages are sealed, and for which key."""

from __future__ import annotations

from pathlib import Path

import pyrage
import pytest

from dsar_airflow.connections.seal import seal
from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError, SettingDiffers
from include.dsar.intake.source import Source
from include.dsar.ledger.database import Database
from tests.conftest import RunDaily
from tests.integration.conftest import source_rows
from tests.integration.test_package import ended

VARIABLE = "AIRFLOW_VAR_DSAR_AGE_RECIPIENT"
KEY = pyrage.x25519.Identity.generate()
PUBLIC = str(KEY.to_public())
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN"


def packages(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("package.zip*")}


def test_the_variable_says_for_whom_packages_are_sealed(
    dsn: str, db: Database, source_table: Source, storage: Storage, deployment: Path, run_daily: RunDaily,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A value that is not a public key fails the task. The log says what to fix, without the value."""
    ended(db, source_table, storage, dsn, "a-1")
    monkeypatch.setenv(VARIABLE, str(KEY))
    ran = run_daily(only="package")
    assert ran.states["package"] == "failed"
    assert f"Variable dsar_age_recipient (or {VARIABLE}) is not a public key" in ran.log
    assert str(KEY) not in ran.log
    monkeypatch.setenv(VARIABLE, PUBLIC)
    assert run_daily(only="package").states["package"] == "success"
    assert packages(deployment) == {"package.zip.age"}
    pyrage.decrypt((deployment / "requests/a-1/package.zip.age").read_bytes(), [KEY])


def test_no_plain_package_is_written_when_the_variable_is_gone(
    dsn: str, db: Database, source_table: Source, storage: Storage, deployment: Path, run_daily: RunDaily,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A secrets backend may be unavailable for a minute, so a missing variable does not end sealing. Only
    the value `none` ends sealing.
    """
    monkeypatch.setenv(VARIABLE, PUBLIC)
    assert run_daily(only="package").states["package"] == "success"
    ended(db, source_table, storage, dsn, "a-1")
    monkeypatch.delenv(VARIABLE)
    ran = run_daily(only="package", retries=1)
    assert (ran.states["package"], ran.tries["package"]) == ("failed", 2)
    assert "this deployment seals its packages" in ran.log
    assert (packages(deployment), source_rows(dsn)["a-1"]["status"]) == (set(), "in_progress")
    monkeypatch.setenv(VARIABLE, "none")
    assert run_daily(only="package").states["package"] == "success"
    assert packages(deployment) == {"package.zip"}
    monkeypatch.delenv(VARIABLE)
    assert run_daily(only="package").states["package"] == "success"


def test_the_recipient_can_change(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipient can change, and sealing can end and start again. An empty value is not accepted as a
    key.
    """
    for given in (PUBLIC, str(pyrage.x25519.Identity.generate().to_public()), " None ", SSH):
        monkeypatch.setenv(VARIABLE, given)
        assert (seal(db) is None) == (given == " None ")
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(SettingDiffers):
        seal(db)
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(ConfigurationError):
        seal(db)


def test_a_deployment_that_never_sealed_needs_no_variable(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger does not record sealing in a deployment that never sealed, so the variable is optional."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert seal(db) is None
    assert db.execute("SELECT * FROM dsar.deployment").fetchall() == []
