"""A run of `dsar_daily` with shards on the Celery executor survives the death of a worker and a triggerer.

Redis, two workers and two triggerers are real processes. One worker and one triggerer get SIGKILL during the
run. It takes about four minutes. Only `make celery` runs it; pytest does not collect it.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from include.stack import postgres
from include.stack.home import PROJECT, Home, StackError, free_port
from include.stack.processes import Processes
from include.stack.stack import COMPONENTS, running
from tests.e2e import daily_run
from tests.e2e.conftest import RunningStack, own_environment
from tests.e2e.daily_run import ALL, RunResult, SourceRow
from tests.e2e.drill import wait_for

SHARDS = 2
RUN_SECONDS = 420  # includes the detection of dead processes, retries, and the wait for lost replies

WITH_SHARDS = '''"""The project's DAG with shards and short retry delays."""

import runpy
from dataclasses import replace
from datetime import timedelta

import include.accounts

include.accounts.ACCOUNTS = tuple(replace(one, shards={0}) for one in include.accounts.ACCOUNTS)
include.accounts.PACKAGE_SHARDS = {0}
dag = runpy.run_path("{1}")["dag"]
for task in dag.tasks:  # of an airflow DAG
    task.retry_delay = timedelta(seconds=3)
'''

# Short timeouts. docs/capacity.md says which values suit a deployment.
SHORT_TIMEOUTS = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
}

MARKS = ("", "", "-unknown", "", "-refused", "")
ROWS = [
    *[
        SourceRow(
            f"acc-{n}", "access", ALL, user_id=f"zq7x-acc-{n}{MARKS[n % 6]}", email=f"zq7x.a{n}@example.com"
        )
        for n in range(18)
    ],
    *[
        SourceRow(
            f"era-{n}", "erasure", ALL,
            user_id=f"zq7x-era-{n}{MARKS[n % 6]}", email=f"zq7x.e{n}@example.com", phone=f"+1202555{n:04}",
            advertising_id=f"0f0e0d0c-77aa-4bbb-8ccc-{n:012x}",
        )
        for n in range(42)
    ],
]  # fmt: skip


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Redis server for this module. It keeps its data in memory."""
    server = shutil.which("redis-server")
    if server is None:
        raise StackError("redis-server is missing: apt-get install redis-server")
    home, port = Home(tmp_path_factory.mktemp("redis")), free_port()
    processes = Processes(home.path("processes.json"))
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(home.root)]
    processes.start("redis", command, {"PATH": os.defpath}, home.path("redis.log"))
    yield f"redis://127.0.0.1:{port}/0"
    processes.stop()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[RunningStack]:
    """Run a stack with two workers and two triggerers. Calls to Batch are slow, so that a kill can
    interrupt submit.
    """
    home = Home(tmp_path_factory.mktemp("stack"))
    dags = home.directory("dags")
    (dags / "dsar_daily.py").write_text(WITH_SHARDS.format(SHARDS, PROJECT / "dags/dsar_daily.py"))
    batch = f"http://:sandbox-secret@127.0.0.1:{home.usable_port('sandbox')}/http"
    environ = {
        **own_environment(),
        "AIRFLOW__API__PORT": str(free_port()),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": redis_url,
        "AIRFLOW_CONN_BATCH_DEFAULT": f"{batch}?api_key=demo-app&requests_per_second=4"
        "&poll_min_seconds=2&poll_max_seconds=5",
        **SHORT_TIMEOUTS,
    }
    parts = {name: command for name, command in COMPONENTS.items() if name != "triggerer"}
    for one in ("one", "two"):
        pid = str(home.path(f"worker-{one}.pid"))
        # One trigger for each triggerer. Otherwise killing one triggerer may have no effect.
        parts[f"triggerer-{one}"] = [*COMPONENTS["triggerer"], "--capacity", "1"]
        parts[f"worker-{one}"] = [
            *("celery", "worker", "--skip-serve-logs", "--concurrency", "6"),
            *("--celery-hostname", one, "--pid", pid),
        ]
    with running(home, environ, any_port=False, components=parts) as started:
        yield RunningStack(started)


@pytest.fixture(scope="module")
def delivered(stack: RunningStack) -> RunResult:
    """Run the DAG to its end. Kill a worker during submit and a triggerer during polling."""
    daily_run.insert(stack, *ROWS)
    run_id = stack.trigger({"await_minutes": 3})
    id5 = [
        f"id5.submit[{n}]" for n in range(SHARDS)
    ]  # an uncertain submission at ID5 is reconciled on another day
    batch = [f"batch.submit[{n}]" for n in range(SHARDS)]

    def submitting() -> bool:
        states = stack.task_states(run_id)
        return (
            all(states.get(name) == "success" for name in id5)
            and all(states.get(name) == "running" for name in batch)
            and accepted(stack, "batch") > 5
        )

    wait_for("both shards of Batch to submit", 120, submitting)
    logs = {name: (stack.logs / f"{name}.log").read_text() for name in ("worker-one", "worker-two")}
    busy = next(name for name, log in logs.items() if "task_id=batch.submit" in log)
    stack.stack.processes.kill(busy, for_good=True)

    def shared() -> bool:
        return len({one for one in triggerers(stack) if one}) == 2

    wait_for("triggers on both triggerers", 240, shared)
    stack.stack.processes.kill("triggerer-one", for_good=True)
    return daily_run.result_of(stack, run_id, stack.wait(run_id, RUN_SECONDS))


def accepted(stack: RunningStack, account: str) -> int:
    with psycopg.connect(stack.dsn) as db:
        row = db.execute(
            "SELECT count(*) FROM dsar.submission WHERE account = %s AND submitted_at IS NOT NULL", [account]
        ).fetchone()
    return row[0] if row else 0


def triggerers(stack: RunningStack) -> list[int | None]:
    """Returns which triggerer runs each trigger."""
    with psycopg.connect(postgres.url(stack.stack.home, "airflow")) as db:
        return [one for (one,) in db.execute("SELECT triggerer_id FROM trigger").fetchall()]


def ledger(stack: RunningStack, statement: str) -> list[dict[str, Any]]:
    with psycopg.connect(stack.dsn, row_factory=dict_row) as db:
        return db.execute(statement.encode()).fetchall()


def test_every_task_succeeds_despite_the_kills(stack: RunningStack, delivered: RunResult) -> None:
    """Every task succeeds except the report, which fails because the sandbox refuses some identifiers. The
    killed task was retried.
    """
    assert {name: state for name, state in delivered.tasks.items() if state != "success"} == {
        "approve_volume": "skipped", "report": "failed"
    }  # fmt: skip
    reply = stack.api("GET", f"/dags/dsar_daily/dagRuns/{delivered.run_id}/taskInstances")
    tries = {
        (one["task_id"], one["rendered_map_index"]): one["try_number"] for one in reply["task_instances"]
    }
    for task in ("batch.submit", "package"):
        assert {name for other, name in tries if other == task} == {"shard 1 of 2", "shard 2 of 2"}
    assert max(tries["batch.submit", f"shard {n} of 2"] for n in (1, 2)) > 1


def test_every_outcome_is_the_sandboxs_decision(delivered: RunResult) -> None:
    """No request is lost, and no outcome differs from the vendor's reply."""
    daily_run.check_outcomes(delivered, ROWS)


def test_every_repeated_call_is_recorded(stack: RunningStack, delivered: RunResult) -> None:
    """The dead worker's submissions became uncertain. If a call was repeated after the vendor had accepted
    it, an event records the repeat.
    """
    sent = Counter((job.vendor, value) for job in delivered.jobs for value in job.values)
    assert set(sent) == daily_run.expected_calls(ROWS)
    events = ledger(
        stack,
        "SELECT e.leaves, e.enters, e.reason, s.account FROM dsar.event e"
        " JOIN dsar.submission s ON s.id = e.submission",
    )
    died = [e for e in events if (e["leaves"], e["enters"]) == ("submitting", "uncertain")]
    assert died
    assert {e["reason"] for e in died} == {"the worker died before it recorded the result"}
    again = Counter(e["account"] for e in events if (e["leaves"], e["enters"]) == ("uncertain", "planned"))
    for account in ALL:
        repeated = sum(count - 1 for (vendor, _), count in sent.items() if vendor == account)
        assert repeated <= again[account]


def test_receipts_and_packages_are_complete(stack: RunningStack, delivered: RunResult) -> None:
    daily_run.check_files(stack, delivered, ROWS)


def test_no_log_contains_an_identifier(stack: RunningStack, delivered: RunResult) -> None:
    """The logs of workers, triggerers, Celery and Airflow's tasks contain no identifier."""
    files = daily_run.process_logs(stack)
    assert {"worker-one.log", "worker-two.log"} <= {file.name for file in files}
    assert daily_run.leaks(files, daily_run.identifiers(ROWS)) == []
