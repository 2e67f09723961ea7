"""The sensor, on the real ledger and the sandbox, without Airflow's runner."""

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
from include.accounts import ACCOUNTS
from include.dsar.errors import ConfigurationError, ConnectionMissing, ProtocolError, VendorUnavailable
from include.dsar.intake.rows import Rules
from include.dsar.intake.source import Source
from include.dsar.ledger.database import Database
from include.dsar.stages.intake import Intake
from include.dsar.stages.submit import submit
from tests.integration.conftest import OpenWork, Row, put

if TYPE_CHECKING:
    from airflow.sdk import Context

ENDED = {
    "status": "ended", "ended": 2, "ready": 1, "planned_again": 0, "open_jobs": 1,
    "oldest_submitted_at": "2026-11-01T10:00:00+00:00", "next_poll_at": "2026-11-02T10:00:00+00:00",
    "polls": 5, "failed_polls": 4,
}  # fmt: skip


class Pushed:
    """Of the running task instance, what the sensor calls."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def xcom_push(self, key: str, value: str) -> None:
        self.values[key] = value


def context(**given: Any) -> Context:
    params = {
        "request_ids": [], "accounts": [], "dry_run": False, "await_minutes": 60, "retry_failed": False,
        "decisions": [],
    }  # fmt: skip
    return cast("Context", {"params": params | given, "ti": Pushed()})


@pytest.fixture
def sensor() -> PollSensor:
    return PollSensor(task_id="await_completion", account="batch")


@pytest.fixture
def submitted(
    dsn: str, db: Database, source_table: Source, open_work: OpenWork, deployment: Path
) -> Callable[..., None]:
    """Puts rows into the source and submits what is planned for Batch."""

    async def run() -> None:
        async with open_work("batch") as work:
            await submit(work)

    def put_and_submit(*rows: Row) -> None:
        put(dsn, *rows)
        Intake(db, source_table, Rules(ACCOUNTS, None, b"key")).run()
        asyncio.run(run())

    return put_and_submit


def test_it_returns_at_once_where_nothing_is_open(sensor: PollSensor, deployment: Path) -> None:
    """A deferral would cost the triggerer a place for nothing."""
    assert sensor.execute(context()) == {"open_jobs": 0}


def test_it_returns_where_no_poll_is_due_within_the_window(
    sensor: PollSensor, submitted: Callable[..., None], set_connection: Callable[..., None]
) -> None:
    """A vendor of weeks never holds a run open: the next run looks again."""
    submitted(Row("e-1", user_id="u1"))
    set_connection("batch", extra={"poll_min_seconds": 7200, "poll_max_seconds": 7200})
    before = datetime.now(UTC)
    told = sensor.execute(context())
    assert set(told) == {"next_poll_at"}
    due = datetime.fromisoformat(told["next_poll_at"])
    assert timedelta(hours=1.7) < due - before < timedelta(hours=2.3)


def test_it_defers_to_the_trigger_with_an_absolute_deadline(
    sensor: PollSensor, submitted: Callable[..., None]
) -> None:
    """The trigger gets account, times and ledger ids; Airflow's own timeout is a little longer; a sentence
    tells what is waited for."""
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


def test_a_limited_run_hands_on_the_ledgers_ids(
    sensor: PollSensor, submitted: Callable[..., None], db: Database
) -> None:
    """Trigger arguments are stored in clear text, so a request's own id does not stand in them."""
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
def test_it_is_skipped_where_the_run_does_not_want_it(
    sensor: PollSensor, deployment: Path, given: dict[str, Any]
) -> None:
    """A dry run, or one that is limited to other accounts."""
    with pytest.raises(AirflowSkipException):
        sensor.execute(context(**given))


def test_a_missing_connection_is_told_before_any_deferral(
    sensor: PollSensor, deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names it."""
    monkeypatch.delenv("AIRFLOW_CONN_BATCH_DEFAULT")
    with pytest.raises(ConnectionMissing, match="connection batch_default does not exist"):
        sensor.execute(context())


def test_it_goes_on_with_the_counts_of_the_event(sensor: PollSensor) -> None:
    """Jobs that are still open are no failure: they are carried over."""
    counts = {name: value for name, value in ENDED.items() if name != "status"}
    assert sensor.resume(context(), dict(ENDED)) == counts


def test_no_poll_at_all_is_no_failure(sensor: PollSensor) -> None:
    """Somebody else may have ended the jobs in the meantime."""
    assert sensor.resume(context(), ENDED | {"polls": 0, "failed_polls": 0})["polls"] == 0


def test_refused_credentials_fail_with_the_triggers_sentence(sensor: PollSensor) -> None:
    """As an error that is not retried."""
    with pytest.raises(ConfigurationError, match="Fix the secret"):
        sensor.resume(context(), {"status": "refused", "message": "batch: … Fix the secret …"})


def test_a_watch_without_one_usable_answer_fails(sensor: PollSensor) -> None:
    """Silence for the whole window is not a green square."""
    with pytest.raises(VendorUnavailable, match="none of 5 polls got a usable answer"):
        sensor.resume(context(), ENDED | {"failed_polls": 5})


@pytest.mark.parametrize("event", [{}, {"status": "error"}, {"status": "ended"}, {"message": "x"}])
def test_an_event_that_is_not_understood_fails_loudly(sensor: PollSensor, event: dict[str, Any]) -> None:
    """It is never taken for success."""
    with pytest.raises(ProtocolError):
        sensor.resume(context(), event)
