"""Runs Airflow in the tests' process. Airflow's home must be set before anything imports airflow."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import settings

from include.accounts import ACCOUNTS
from include.dsar.delivery.storage import Storage
from include.sandbox import VENDORS, Sandbox

if TYPE_CHECKING:
    from airflow.sdk import DAG

PROJECT = Path(__file__).resolve().parents[1]
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="dsar-tests-"))

# The developer's own Airflow must not affect a test. (include.stack builds its own environment.)
for name in [name for name in os.environ if name.startswith(("AIRFLOW", "_AIRFLOW"))]:
    del os.environ[name]
os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}

# The examples are the same in each run, so that a test fails only because of a change.
# `make fuzz` generates new examples, and more of them.
settings.register_profile("gate", derandomize=True)
settings.register_profile("fuzz", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

# The Extra that a connection to the sandbox needs, by vendor.
EXTRA: Mapping[str, Mapping[str, str]] = {name: vendor.extra for name, vendor in VENDORS.items()}
SetConnection = Callable[..., None]
PACE = {"requests_per_second": 500, "poll_min_seconds": 0.1, "poll_max_seconds": 0.5}


def pytest_sessionfinish() -> None:
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def metadata_db() -> None:
    """Create Airflow's own database, which `dag.test()` needs."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(LocalFileSystem(), str(tmp_path / "storage"))


@pytest.fixture
def set_connection(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> SetConnection:
    """Returns a function that sets an account's connection to the sandbox. It omits fields that are None."""

    def set_one(account: str, *, extra: Mapping[str, Any] | None = None, **fields: Any) -> None:
        given = {
            "conn_type": "http",
            "host": sandbox.url,
            "password": "sandbox-secret",
            "extra": {**EXTRA.get(account, {}), **PACE, **(extra or {})},
            **fields,
        }
        monkeypatch.setenv(
            f"AIRFLOW_CONN_{account.upper()}_DEFAULT",
            json.dumps({name: value for name, value in given.items() if value is not None}),
        )

    return set_one


@pytest.fixture
def deployment(
    dsn: str, set_connection: SetConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Set every connection and variable of a deployment. Returns the storage folder."""
    for account in ACCOUNTS:
        set_connection(account.name)
    storage = tmp_path / "storage"
    monkeypatch.setenv("AIRFLOW_CONN_DSAR_DB", dsn)
    monkeypatch.setenv("AIRFLOW_VAR_DSAR_STORAGE_URI", storage.as_uri())
    return storage


@dataclass(frozen=True)
class Ran:
    """A finished run of the DAG: its log, and the state and tries of each task (`id[n]` if mapped)."""

    states: Mapping[str, str]
    tries: Mapping[str, int]
    log: str


RunDaily = Callable[..., Ran]


def displayed_name(instance: Any) -> str:
    """Returns the name of a task instance as Airflow's UI shows it."""
    return instance.task_id if instance.map_index < 0 else f"{instance.task_id}[{instance.map_index}]"


@pytest.fixture
def dags(
    request: pytest.FixtureRequest, metadata_db: None, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, DAG]:
    """Returns the DAGs, loaded by Airflow's own loader.

    A test can change names of `include.accounts` first: `parametrize("dags", [{…}], indirect=True)`.
    """
    from airflow.dag_processing.dagbag import DagBag

    for name, value in getattr(request, "param", {}).items():
        monkeypatch.setattr(f"include.accounts.{name}", value)
    bag = DagBag(PROJECT / "dags")
    assert not bag.import_errors
    return bag.dags


@pytest.fixture
def daily(dags: Mapping[str, DAG]) -> DAG:
    return dags["dsar_daily"]


@pytest.fixture
def upkeep(dags: Mapping[str, DAG]) -> DAG:
    return dags["dsar_upkeep"]


@pytest.fixture
def run_daily(daily: DAG, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> RunDaily:
    """Returns a function that runs the daily DAG with these Params. `only` names the tasks to run. All
    other tasks are marked as successful.

    A task is retried `retries` times, without delay.
    """
    monkeypatch.setattr("dsar_airflow.triggers.SHORTEST", 0)
    return partial(_runner(daily, capfd), await_minutes=1)


@pytest.fixture
def run_upkeep(upkeep: DAG, capfd: pytest.CaptureFixture[str]) -> RunDaily:
    """Returns a function that runs the weekly DAG."""
    return _runner(upkeep, capfd)


def _runner(dag: DAG, capfd: pytest.CaptureFixture[str]) -> RunDaily:
    asyncio.set_event_loop(None)  # otherwise Airflow uses the current loop and leaves it open

    def run(only: str = ".*", retries: int = 0, **conf: Any) -> Ran:
        for task in dag.tasks:
            task.retries, task.retry_delay = retries, timedelta()
        capfd.readouterr()
        ran = dag.test(run_conf=conf, mark_success_pattern=f"(?!(?:{only})$).*")
        instances = ran.get_task_instances()
        out, err = capfd.readouterr()
        return Ran(
            {displayed_name(instance): str(instance.state) for instance in instances},
            {displayed_name(instance): instance.try_number for instance in instances},
            out + err,
        )

    return run
