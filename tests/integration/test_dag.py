"""The DAG file defines the tasks and the Params, and is cheap to parse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from airflow.exceptions import ParamValidationError
from airflow.sdk import RetryAction, TriggerRule
from airflow.sdk.exceptions import AirflowTaskTimeout

from dsar_airflow.params import RunParams
from dsar_airflow.sensors import GRACE
from include.accounts import ACCOUNTS
from include.dsar import errors
from include.dsar.accounts import Account
from include.dsar.vendors import VENDORS
from tests.conftest import PROJECT

if TYPE_CHECKING:
    from airflow.sdk import DAG

STEPS = {  # vendor: the tasks of each of its accounts
    name: ["submit", "await_completion", *(["collect"] if vendor.returns_data else [])]
    for name, vendor in VENDORS.items()
}


def edges(dag: DAG) -> set[tuple[str, str]]:
    return {(task.task_id, below) for task in dag.tasks for below in task.downstream_task_ids}


def expected_edges(accounts: dict[str, list[str]]) -> set[tuple[str, str]]:
    found = {("package", "report"), ("intake", "approve_volume")}
    for account, steps in accounts.items():
        way = ["intake", *[f"{account}.{step}" for step in steps], "package"]
        found |= set(pairwise(way))
    return found


def test_airflow_loads_the_files_without_a_warning(daily: DAG) -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(PROJECT / "dags")
    assert (bag.import_errors, bag.captured_warnings) == ({}, {})
    assert set(bag.dags) == {"dsar_daily", "dsar_upkeep"}


def test_each_account_is_a_group_between_intake_and_package(daily: DAG) -> None:
    """The number of tasks depends on the number of accounts. No account waits for another account, and no
    task waits for an operator's answer.
    """
    steps = {account.name: STEPS[account.vendor] for account in ACCOUNTS}
    assert edges(daily) == expected_edges(steps)
    groups = daily.task_group.get_task_group_dict()
    assert {name for name in groups if name} == set(steps)
    assert all(groups[account.name].tooltip for account in ACCOUNTS)


def test_tasks_after_a_failed_task_run(daily: DAG) -> None:
    """Later tasks run even if an earlier task failed. Open jobs are polled even if submit fails, and
    packages are written even if an account fails.
    """
    rules = {task.task_id: task.trigger_rule for task in daily.tasks}
    assert rules.pop("intake") == TriggerRule.ALL_SUCCESS
    assert set(rules.values()) == {TriggerRule.ALL_DONE}


def test_it_runs_daily_without_catch_up(daily: DAG) -> None:
    """One run is active at a time. No backfill is needed, because each run processes all pending requests."""
    assert daily.timetable.expression == "0 0 * * *"
    assert (daily.max_active_runs, daily.catchup) == (1, False)
    assert daily.allowed_run_types == {"scheduled", "manual", "operator_triggered"}


def test_every_task_has_a_time_limit(daily: DAG) -> None:
    """The report still runs if every other task hangs and polling takes its longest window. A task that
    reaches its time limit is not retried.

    A run that hangs ends, so that the next run can start.
    """
    limits = {task.task_id.rpartition(".")[2]: task.execution_timeout for task in daily.tasks}
    assert all(limits.values())
    longest = timedelta(minutes=daily.params.get_param("await_minutes").schema["maximum"]) + GRACE
    assert daily.dagrun_timeout is not None
    assert sum(limits.values(), longest) < daily.dagrun_timeout
    for task in daily.tasks:
        assert task.retry_policy.evaluate(AirflowTaskTimeout(), 1, 3).action == RetryAction.FAIL


def test_only_errors_that_may_pass_are_retried(dags: Mapping[str, DAG]) -> None:
    """An outage is retried. An error that needs manual action is not retried."""
    for_operator = errors.ConfigurationError, errors.CredentialsRefused, errors.OperatorActionRequired
    passing = (
        errors.LedgerUnavailable,
        errors.VendorUnavailable,
        errors.NotDelivered,
        errors.ConnectionMissing,
        errors.SettingDiffers,
        OSError,
    )
    for task in (task for dag in dags.values() for task in dag.tasks):
        assert task.retries == 3
        policy = task.retry_policy
        assert {policy.evaluate(kind("x"), 1, 3).action for kind in for_operator} == {RetryAction.FAIL}
        assert {policy.evaluate(kind("x"), 1, 3).action for kind in passing} == {RetryAction.DEFAULT}


def test_every_task_and_param_is_documented(dags: Mapping[str, DAG], daily: DAG) -> None:
    """Each DAG has a runbook. Each task's text says what a failure means and what to do."""
    for dag in dags.values():
        assert dag.description
        assert dag.doc_md is not None
        assert "When a square is red" in dag.doc_md
        for task in dag.tasks:
            assert "**Red:**" in task.doc_md
            assert "{" not in task.doc_md
            assert f"**{task.task_id.rpartition('.')[2]}**" in dag.doc_md
    for name in daily.params:
        param = daily.params.get_param(name)
        assert param.schema["title"]
        assert param.description
        assert param.description.endswith(".")


def test_the_tasks_of_an_account_name_its_connection(daily: DAG) -> None:
    for account in ACCOUNTS:
        for step in ("submit", "await_completion"):
            assert f"connection `{account.connection}`" in daily.get_task(f"{account.name}.{step}").doc_md


def test_accounts_that_return_data_have_a_task_that_collects_it(daily: DAG) -> None:
    """The other accounts have no task that collects results."""
    for account in ACCOUNTS:
        assert daily.has_task(f"{account.name}.collect") == VENDORS[account.vendor].returns_data


def test_a_scheduled_run_has_the_default_params(daily: DAG) -> None:
    assert RunParams.of({"params": daily.params.dump()}) == RunParams((), (), False, 60, False, ())


VALID: list[dict[str, Any]] = [
    {"request_ids": ["r-1", "A.b_c-9", "x" * 128]},
    {"request_ids": None, "accounts": None},
    {"accounts": ["id5", "besitos"]},
    {"await_minutes": 0},
    {"decisions": ["r-1 id5 send_again", "r-2 batch_ios taken 4f2c-77"]},
    {"decisions": ["r-1 id5 taken 4711 email", "r-1 attentive send_again email+phone"]},
    {"decisions": ["id5 release_volume the import of 2024", "id5 discard_outcomes wrong key"]},
    {"decisions": ["r-1 id5 job_lost", "r-1 id5 job_lost email#2"]},
    {"decisions": ["r-1 id5 taken 4711 email#2", "r-1 attentive send_again email+phone#12"]},
    {"await_minutes": 1380, "dry_run": True, "retry_failed": True},
]
INVALID: list[dict[str, Any]] = [
    {"request_ids": "r-1"},
    {"request_ids": ["../etc/passwd"]},
    {"request_ids": [""]},
    {"request_ids": ["a b"]},
    {"request_ids": ["x" * 129]},
    {"request_ids": [7]},
    {"accounts": ["nosuch"]},
    {"accounts": "id5"},
    {"dry_run": "yes"},
    {"dry_run": None},
    {"await_minutes": -1},
    {"await_minutes": 1381},
    {"await_minutes": 1.5},
    {"await_minutes": "60"},
    {"retry_failed": 1},
    {"decisions": ["r-1 id5 taken 4711 email#0"]},
    {"decisions": ["r-1 id5"]},
    {"decisions": ["r-1 id5 forget"]},
    {"decisions": ["r-1 besitos"]},
    {"decisions": ["besitos release_volume"]},
    {"decisions": ["besitos release_outcomes a reason"]},
    {"decisions": ["r-1 besitos taken"]},
    {"decisions": ["r-1 besitos perhaps"]},
    {"decisions": ["r-1 id5 taken 4711 email phone"]},
]


@pytest.mark.parametrize("given", VALID, ids=str)
def test_valid_params_are_accepted(daily: DAG, given: dict[str, Any]) -> None:
    """A list may be null, because the trigger form sends null for an empty field."""
    assert RunParams.of({"params": with_params(daily, given).validate()})


@pytest.mark.parametrize("given", INVALID, ids=lambda given: str(given)[:50])
def test_invalid_params_are_refused(daily: DAG, given: dict[str, Any]) -> None:
    """The API server checks the Params' schemas before it creates a run."""
    with pytest.raises(ParamValidationError):
        with_params(daily, given).validate()


def with_params(daily: DAG, given: dict[str, Any]) -> Any:
    """Returns the Params as the API server sees them before it creates a run."""
    from airflow.serialization.serialized_objects import DagSerialization

    known = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(daily))
    return known.params.deep_merge(given)


PARSE = """
import json, runpy, sys
import airflow.sdk, airflow.triggers.base
before = set(sys.modules)
runpy.run_path(sys.argv[1])
print(json.dumps(sorted(set(sys.modules) - before)))
"""
EXPENSIVE = (
    "pandas",
    "numpy",
    "aiohttp",
    "psycopg",
    "sqlalchemy",
    "alembic",
    "jinja2",
    "phonenumbers",
    "fsspec",
)


def in_python(code: str, *arguments: str, **environ: str) -> str:
    """Returns the last line that a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'plugins'}", **environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("name", ["dsar_daily", "dsar_upkeep"])
def test_parsing_loads_no_large_library(name: str) -> None:
    """Every task parses its DAG file, and the DAG processor parses it every half minute."""
    loaded = json.loads(in_python(PARSE, str(PROJECT / f"dags/{name}.py")))
    assert "include.accounts" in loaded
    assert [name for name in loaded if name.partition(".")[0] in EXPENSIVE] == []
    assert [name for name in loaded if name.startswith(("include.dsar.vendors", "include.dsar.stages"))] == []


START = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted(sys.modules)))
"""
LIBRARIES = {
    "pandas", "numpy", "psycopg", "aiohttp", "alembic", "phonenumbers", "email_validator", "pyrage",
}  # fmt: skip
OF_A_TASK = ("dsar_airflow.operators", "dsar_airflow.sensors", "dsar_airflow.triggers")


@pytest.mark.parametrize(
    ("modules", "needed"),
    [
        ((), set()),
        (("dsar_airflow.connections.source", "dsar_airflow.connections.storage"), {"psycopg"}),
        # The sensor imports this both before it defers and when it resumes.
        (("dsar_airflow.connections.accounts", "include.dsar.stages.poll"), {"psycopg"}),
        (("dsar_airflow.metrics", "include.dsar.errors"), set()),
    ],
)
def test_a_task_loads_only_what_its_stage_needs(modules: tuple[str, ...], needed: set[str]) -> None:
    """Every task starts a process, so each import costs time in every task."""
    loaded = {name.partition(".")[0] for name in json.loads(in_python(START, *OF_A_TASK, *modules))}
    assert loaded & LIBRARIES == needed


TWO_APPS = (
    Account("batch_ios", vendor="batch"), Account("batch_android", vendor="batch", connection="droid"),
    Account("id5_eu", vendor="id5"),
)  # fmt: skip


@pytest.mark.parametrize("dags", [{"ACCOUNTS": TWO_APPS}], indirect=True)
def test_every_account_gets_a_group(daily: DAG) -> None:
    """Two apps of Batch give two groups. Each group has the tasks of its vendor."""
    steps = {account.name: STEPS[account.vendor] for account in TWO_APPS}
    assert edges(daily) == expected_edges(steps)
    assert daily.params.get_param("accounts").schema["examples"] == list(steps)
    assert "connection `droid`" in daily.get_task("batch_android.submit").doc_md
