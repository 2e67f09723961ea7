"""A task that reaches its time limit says what it waited for. The next report names a run that was ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout

from dsar_airflow.sensors import PollSensor
from include.dsar.ledger.database import Database
from include.sandbox import Sandbox
from tests.conftest import Ran
from tests.integration.conftest import Row, put, submissions
from tests.integration.test_sensor import context

if TYPE_CHECKING:
    from airflow.sdk import DAG

RunDaily = Callable[..., Ran]
HOURS = 0.002  # about seven seconds


def limit(daily: DAG, *task_ids: str) -> None:
    """Gives these tasks a short time limit."""
    for task_id in task_ids:
        daily.get_task(task_id).execution_timeout = timedelta(hours=HOURS)


def test_a_stage_that_waits_for_its_vendor_says_so(
    dsn: str, db: Database, daily: DAG, deployment: Path, sandbox: Sandbox, run_daily: RunDaily
) -> None:
    """The task fails without a retry. The later tasks run. The next run finds the call on record."""
    put(dsn, Row("e-1", user_id="u1", accounts=["batch"]))
    sandbox.inject("hang", vendor="batch", route="create", seconds=12)
    limit(daily, "batch.submit")
    ran = run_daily(only=r"intake|batch\..*|package|report", retries=3)
    assert (ran.states["batch.submit"], ran.tries["batch.submit"]) == ("failed", 1)
    assert (
        "batch.submit was stopped at its time limit of 0.002 hours, while it waited for the vendor's replies "
        "and the account's rate. The work that it finished is recorded, and the next run continues."
    ) in ran.log
    assert "Task batch.submit failed." in ran.log
    assert submissions(db) == {("e-1", "batch", "user_id"): "submitting"}


def test_a_stage_that_waits_for_the_ledger_says_so(
    dsn: str, daily: DAG, deployment: Path, sandbox: Sandbox, run_daily: RunDaily
) -> None:
    """The stage waits for a lock of the ledger in a thread."""
    put(dsn, Row("e-1", user_id="u1", accounts=["batch"]))
    run_daily(only="intake")
    limit(daily, "batch.submit", "batch.await_completion")
    with psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE dsar.submission")
        ran = run_daily(only=r"batch\.submit|batch\.await_completion")
    assert (ran.states["batch.submit"], ran.states["batch.await_completion"]) == ("failed", "failed")
    for task in ("batch.submit", "batch.await_completion"):
        assert (
            f"{task} was stopped at its time limit of 0.002 hours, while it waited for the ledger "
            "(connection dsar_db). "
        ) in ran.log


def test_intake_that_waits_for_the_source_says_so(
    dsn: str, daily: DAG, deployment: Path, run_daily: RunDaily
) -> None:
    limit(daily, "intake")
    with psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE public.dsar_requests")
        ran = run_daily(only="intake", retries=3)
    assert (ran.states["intake"], ran.tries["intake"]) == ("failed", 1)
    assert (
        "intake was stopped at its time limit of 0.002 hours, while it waited for the source (connection "
        "dsar_source, or dsar_db if there is none). "
    ) in ran.log


def test_a_sensor_that_waits_for_the_triggerer_says_so() -> None:
    """Airflow ends the deferral if the triggerer has not ended it in time."""
    sensor = PollSensor(task_id="await_completion", account="batch")
    with pytest.raises(AirflowSensorTimeout, match="await_completion waited for the triggerer"):
        sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, context())


def end_run_at_its_limit(*unfinished: str) -> str:
    """Lets Airflow's scheduler end the latest run at its time limit. Returns the id of the run."""
    from airflow._shared.timezones import timezone
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        run: Any = session.scalar(select(DagRun).order_by(DagRun.logical_date.desc()).limit(1))
        run.state, run.end_date = "running", None
        run.start_date = timezone.utcnow() - timedelta(days=4)
        for instance in run.get_task_instances(session=session):
            if instance.task_id in unfinished:
                instance.state = instance.duration = None
        session.flush()
        SchedulerJobRunner(job=Job())._schedule_dag_run(run, session=session)
        assert run.state == "failed"
        return str(run.run_id)


def test_the_next_report_names_a_run_that_was_ended_at_its_limit(
    dsn: str, daily: DAG, deployment: Path, run_daily: RunDaily
) -> None:
    """The report names the unfinished tasks, but not the tasks that the operator told the run to skip. A
    dry run before the report changes nothing. The next report does not name the run again.
    """
    ran = run_daily(only="id5.submit|report", accounts=["batch"])
    assert ran.states["id5.submit"] == "skipped"
    run_id = end_run_at_its_limit("batch.await_completion", "batch.collect", "package", "report")
    run_daily(only="report", dry_run=True)
    ran = run_daily(only="report", dry_run=False)
    assert ran.states["report"] == "failed"
    assert (
        f"Run {run_id} was ended before its report, by its time limit or by an operator. These tasks were "
        "unfinished: batch.await_completion, batch.collect, package, report."
    ) in ran.log
    assert run_daily(only="report").states["report"] == "success"
