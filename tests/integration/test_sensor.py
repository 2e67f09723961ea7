"""The sensor runs without Airflow's runner, on a real ledger and the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from dsar_airflow.sensors import GRACE, PollSensor
from dsar_airflow.triggers import PollTrigger
from include.dsar.errors import (
    ConfigurationError,
    ConnectionMissing,
    OperatorActionRequired,
    ProtocolError,
    VendorUnavailable,
)
from include.dsar.ledger.database import Database
from tests.conftest import SetConnection
from tests.integration.conftest import Row, SubmitRows

if TYPE_CHECKING:
    from airflow.sdk import Context

ENDED = {
    "status": "ended", "ended": 2, "ready": 1, "planned_again": 0, "open_jobs": 1,
    "oldest_submitted_at": "2026-11-01T10:00:00+00:00", "next_poll_at": "2026-11-02T10:00:00+00:00",
    "polls": 5, "failed_polls": 4,
}  # fmt: skip


class PushedValues:
    """Replaces a task instance and records the values that the sensor pushes."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def xcom_push(self, key: str, value: str) -> None:
        self.values[key] = value


def context(**given: Any) -> Context:
    params = {
        "request_ids": [], "accounts": [], "dry_run": False, "await_minutes": 60, "retry_failed": False,
        "decisions": [],
    }  # fmt: skip
    return cast("Context", {"params": params | given, "ti": PushedValues()})


@pytest.fixture
def sensor() -> PollSensor:
    return PollSensor(task_id="await_completion", account="batch")


@pytest.fixture
def submitted(submit_rows: SubmitRows, deployment: Path) -> Callable[..., None]:
    return lambda *rows: asyncio.run(submit_rows("batch", *rows))


def test_it_does_not_defer_without_an_open_job(sensor: PollSensor, deployment: Path) -> None:
    assert sensor.execute(context()) == {"open_jobs": 0}


def test_it_does_not_defer_if_no_poll_is_due_in_the_window(
    sensor: PollSensor, submitted: Callable[..., None], set_connection: SetConnection
) -> None:
    """A vendor that takes weeks never delays a run. The next run polls it."""
    submitted(Row("e-1", user_id="u1"))
    set_connection("batch", extra={"poll_min_seconds": 7200, "poll_max_seconds": 7200})
    before = datetime.now(UTC)
    result = sensor.execute(context())
    assert set(result) == {"next_poll_at"}
    due = datetime.fromisoformat(result["next_poll_at"])
    assert timedelta(hours=1.7) < due - before < timedelta(hours=2.3)


def test_it_defers_to_the_trigger_with_an_absolute_deadline(
    sensor: PollSensor, submitted: Callable[..., None]
) -> None:
    """The deadline is an absolute time, and Airflow's own timeout is a little longer. The XCom
    `waiting_for` says what the task waits for.
    """
    submitted(Row("e-1", user_id="u1"))
    before = datetime.now(UTC)
    given = context(await_minutes=7)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(given)
    after = datetime.now(UTC)
    trigger = deferred.value.trigger
    assert isinstance(trigger, PollTrigger)
    assert trigger.account == "batch"
    assert trigger.request_pks is None
    since, until = datetime.fromisoformat(trigger.since), datetime.fromisoformat(trigger.until)
    assert before <= since <= after
    assert until - since == timedelta(minutes=7)
    assert deferred.value.timeout == timedelta(minutes=7) + GRACE
    assert deferred.value.method_name == "resume"
    (waiting,) = cast("Any", given)["ti"].values.items()
    assert waiting[0] == "waiting_for"
    assert f"batch: the triggerer polls the open jobs until {until:%H:%M:%S} UTC" in waiting[1]


def test_a_limited_run_passes_ledger_ids_to_the_trigger(
    sensor: PollSensor, submitted: Callable[..., None], db: Database
) -> None:
    """The trigger gets ledger ids instead of request ids, because trigger arguments are stored in clear
    text.
    """
    submitted(Row("e-1", user_id="u1"), Row("e-2", user_id="u2"))
    row = db.execute("SELECT id FROM dsar.request WHERE request_id = 'e-2'").fetchone()
    assert row is not None
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context(request_ids=["e-2", "unheard-of"]))
    assert deferred.value.trigger.serialize()[1]["request_pks"] == [row["id"]]
    assert sensor.execute(context(request_ids=["unheard-of"])) == {"open_jobs": 0}


@pytest.mark.parametrize(
    "given", [{"dry_run": True}, {"accounts": ["id5"]}], ids=["dry run", "other accounts"]
)
def test_it_is_skipped(sensor: PollSensor, deployment: Path, given: dict[str, Any]) -> None:
    """The sensor is skipped in a dry run, and in a run that is limited to other accounts."""
    with pytest.raises(AirflowSkipException):
        sensor.execute(context(**given))


def test_a_missing_connection_fails_before_the_deferral(
    sensor: PollSensor, deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_BATCH_DEFAULT")
    with pytest.raises(ConnectionMissing, match="connection batch_default does not exist"):
        sensor.execute(context())


def test_it_returns_the_counts_of_the_event(sensor: PollSensor) -> None:
    """Open jobs are not a failure. The next run continues to poll them."""
    counts = {name: value for name, value in ENDED.items() if name != "status"}
    assert sensor.resume(context(), dict(ENDED)) == counts


def test_a_window_without_a_poll_is_not_a_failure(sensor: PollSensor) -> None:
    """A window without a poll is not a failure, because another trigger may have ended the jobs."""
    assert sensor.resume(context(), ENDED | {"polls": 0, "failed_polls": 0})["polls"] == 0


def test_refused_credentials_fail_without_a_retry(sensor: PollSensor) -> None:
    """The task's error has the text of the event."""
    with pytest.raises(ConfigurationError, match="Fix the secret"):
        sensor.resume(context(), {"status": "refused", "message": "batch: … Fix the secret …"})


def test_outcomes_that_wait_fail_without_a_retry(sensor: PollSensor) -> None:
    """Outcomes that wait for an operator fail the task without a retry. The task's error has the text of
    the event.
    """
    with pytest.raises(OperatorActionRequired, match="discard_outcomes"):
        sensor.resume(context(), {"status": "waiting", "message": "batch: … discard_outcomes …"})


def test_a_window_without_a_usable_answer_fails(sensor: PollSensor) -> None:
    with pytest.raises(VendorUnavailable, match="none of 5 polls got a usable answer"):
        sensor.resume(context(), ENDED | {"failed_polls": 5})


@pytest.mark.parametrize("event", [{}, {"status": "error"}, {"status": "ended"}, {"message": "x"}])
def test_an_unknown_event_fails(sensor: PollSensor, event: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        sensor.resume(context(), event)
