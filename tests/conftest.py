"""Airflow inside the tests' own process: a home of its own, chosen before anything imports airflow."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from include.accounts import ACCOUNTS
from include.sandbox import VENDORS, Sandbox

if TYPE_CHECKING:
    from airflow.sdk import DAG

PROJECT = Path(__file__).resolve().parents[1]
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="dsar-tests-"))

# Nothing of the developer's own Airflow reaches a test. (include.stack makes an environment of its own.)
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

# A gate must not fail for what a change did not touch: the examples are the same in each run.
# `make fuzz` draws new ones, and more of them.
settings.register_profile("gate", derandomize=True)
settings.register_profile("fuzz", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))

# The Extra that a connection to the sandbox needs, by vendor.
EXTRA: Mapping[str, Mapping[str, str]] = {name: vendor.extra for name, vendor in VENDORS.items()}
PACE = {"requests_per_second": 500, "poll_min_seconds": 0.1, "poll_max_seconds": 0.5}


def pytest_sessionfinish() -> None:
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def metadata_db() -> None:
    """Airflow's own database, for `dag.test()`."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def set_connection(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> Callable[..., None]:
    """Sets an account's connection at the sandbox in the environment; None takes a field out."""

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
    dsn: str, set_connection: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Every connection and variable of a deployment in the environment; returns the storage's folder."""
    for account in ACCOUNTS:
        set_connection(account.name)
    storage = tmp_path / "storage"
    monkeypatch.setenv("AIRFLOW_CONN_DSAR_DB", dsn)
    monkeypatch.setenv("AIRFLOW_VAR_DSAR_STORAGE_URI", storage.as_uri())
    return storage


@dataclass(frozen=True)
class Ran:
    """A run of the DAG in this process: the state of each task (`id[n]` where mapped), and what it logged."""

    states: Mapping[str, str]
    tries: Mapping[str, int]
    log: str


def square(instance: Any) -> str:
    """How a task instance is called: as in Airflow's UI."""
    return instance.task_id if instance.map_index < 0 else f"{instance.task_id}[{instance.map_index}]"


@pytest.fixture
def daily(metadata_db: None) -> DAG:
    """The DAG as Airflow's own loader reads it."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(PROJECT / "dags")
    assert not bag.import_errors
    return bag.dags["dsar_daily"]


@pytest.fixture
def run_daily(
    daily: DAG, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Runs the DAG with these Params; with `only`, the other tasks count as successful.

    No task is retried unless `retries` says so, and then at once.
    """
    monkeypatch.setattr("dsar_airflow.triggers.SHORTEST", 0)
    asyncio.set_event_loop(None)  # else Airflow takes the loop that Python has set, and leaves it open

    def run(only: str = ".*", retries: int = 0, **conf: Any) -> Ran:
        for task in daily.tasks:
            task.retries, task.retry_delay = retries, timedelta()
        capfd.readouterr()
        ran = daily.test(run_conf={"await_minutes": 1, **conf}, mark_success_pattern=f"(?!(?:{only})$).*")
        instances = ran.get_task_instances()
        out, err = capfd.readouterr()
        return Ran(
            {square(instance): str(instance.state) for instance in instances},
            {square(instance): instance.try_number for instance in instances},
            out + err,
        )

    return run
