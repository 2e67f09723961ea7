"""The task `approve_volume` asks under Required Actions, and records the answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import (
    AirflowSkipException,
    DagRunTriggerException,
    ParamValidationError,
    TaskAwaitingInput,
)

from dsar_airflow.approval import APPROVE, ASK_AGAIN, DENY
from include.accounts import VOLUME
from include.dsar.accounts import VolumeLimit
from include.dsar.errors import OperatorActionRequired
from include.dsar.ledger import approvals
from include.dsar.ledger.database import Database
from include.sandbox import Sandbox
from tests.conftest import Ran
from tests.integration.conftest import Row, put
from tests.integration.requests_given import events, plan, request, rows, submission

if TYPE_CHECKING:
    from airflow.sdk import DAG

LIMIT = VolumeLimit(at_least=2, without_history=2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Returns the questions that Airflow would show."""
    found: list[dict[str, Any]] = []
    target = "airflow.providers.standard.operators.hitl.upsert_hitl_detail"
    monkeypatch.setattr(target, lambda **given: found.append(given))
    return found


@pytest.fixture
def held(db: Database, deployment: Path) -> Database:
    """Puts three submissions on hold."""
    now = datetime.now(UTC)
    three = [request(f"r-{n}", submission(f"r-{n}", "batch")) for n in range(3)]
    plan(db, *three, now=now, limit=LIMIT)
    return db


def context(daily: DAG, **params: Any) -> Any:
    given = {**daily.params.dump(), **params}
    run = SimpleNamespace(run_id="run-7")
    return {"params": given, "task_instance": SimpleNamespace(id="ti"), "dag_run": run}


def respond(daily: DAG, choice: str, reason: str | None = "an import", **given: Any) -> Any:
    event = {
        "chosen_options": [choice],
        "params_input": {} if reason is None else {"reason": reason},
        "responded_at": datetime.now(UTC),
        "responded_by_user": {"id": "1", "name": "alice"},
        **given,
    }
    return daily.get_task("approve_volume").execute_complete(context(daily), event)


def ask(daily: DAG) -> TaskAwaitingInput:
    with pytest.raises(TaskAwaitingInput) as waits:
        daily.get_task("approve_volume").execute(context(daily))
    return waits.value


def test_an_unusual_volume_is_asked_about(held: Database, daily: DAG, asked: list[dict[str, Any]]) -> None:
    """The question has the counts, three answers and a field for the reason. The question waits as long as
    the settings say. Every user who may respond to Required Actions of the DAG may answer.
    """
    waits = ask(daily)
    (shown,) = asked
    assert "3 submissions are on hold" in shown["subject"]
    assert "| batch | erasure | 3 | 3 | 0 | 2 |" in shown["body"]
    assert "r-1" not in str(shown)
    assert (shown["options"], shown["defaults"]) == ([APPROVE, DENY, ASK_AGAIN], [ASK_AGAIN])
    assert list(shown["params"]) == ["reason"]
    assert shown["assigned_users"] is None
    assert VOLUME is not None
    assert waits.timeout == timedelta(hours=VOLUME.answer_hours)
    assert waits.method_name == "execute_complete"


@pytest.mark.parametrize("params", [{"dry_run": True}, {"request_ids": ["r-1"]}, {"accounts": ["id5"]}])
def test_a_dry_or_limited_run_asks_nobody(
    held: Database, daily: DAG, asked: list[dict[str, Any]], params: dict[str, Any]
) -> None:
    with pytest.raises(AirflowSkipException):
        daily.get_task("approve_volume").execute(context(daily, **params))
    assert asked == []


def test_an_approval_starts_a_run(held: Database, daily: DAG, asked: list[dict[str, Any]]) -> None:
    """The submissions can be sent, and a new ordinary run starts. The ledger has the author and reason."""
    ask(daily)
    with pytest.raises(DagRunTriggerException) as triggers:
        respond(daily, APPROVE)
    assert (triggers.value.trigger_dag_id, triggers.value.conf) == ("dsar_daily", {})
    assert not any(row["is_held"] for row in rows(held))
    reason = "decided by alice in run run-7: the unusual volume is approved (an import)"
    assert events(held)[-1]["reason"] == reason


def test_a_denial_keeps_the_submissions_on_hold(
    held: Database, daily: DAG, asked: list[dict[str, Any]]
) -> None:
    ask(daily)
    assert respond(daily, DENY, " a wrong join ") == {"decided": 3}
    assert all(row["is_held"] for row in rows(held))
    (one,) = approvals.on_hold(held)
    assert (one.decision, one.decided_by, one.reason) == ("denied", "alice in run run-7", "a wrong join")


@pytest.mark.parametrize("reason", [None, ""])
def test_an_answer_without_a_reason_is_recorded_as_such(
    held: Database, daily: DAG, asked: list[dict[str, Any]], reason: str | None
) -> None:
    ask(daily)
    respond(daily, DENY, reason)
    assert approvals.on_hold(held)[0].reason == "no reason was given"


def test_a_reason_that_is_too_long_is_refused(
    held: Database, daily: DAG, asked: list[dict[str, Any]]
) -> None:
    ask(daily)
    with pytest.raises(ParamValidationError):
        respond(daily, DENY, "x" * 301)
    assert approvals.on_hold(held)[0].decision is None


@pytest.mark.parametrize(
    ("user", "says"),
    [(None, "nobody has answered in time"), ({"id": "1", "name": "bob"}, "bob chose to be asked again")],
)
def test_without_an_answer_the_task_is_red_and_the_next_run_asks_again(
    held: Database, daily: DAG, asked: list[dict[str, Any]], user: Any, says: str
) -> None:
    """Airflow chooses the default answer when the time is over. The error has the counts and the first due
    date.
    """
    ask(daily)
    with pytest.raises(OperatorActionRequired, match=says) as error:
        respond(daily, ASK_AGAIN, responded_by_user=user, timedout=user is None)
    assert "on hold: batch 3 erasure. The first is due on 2026-12-19" in str(error.value)
    assert all(row["is_held"] for row in rows(held))
    ask(daily)
    assert len(asked) == 2


def test_a_run_sends_what_is_usual_and_nothing_that_is_on_hold(
    dsn: str,
    held: Database,
    sandbox: Sandbox,
    run_daily: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tasks of the accounts do not wait for the answer. The report lists the submissions on hold."""
    monkeypatch.setattr("include.accounts.VOLUME", LIMIT)
    put(dsn, *(Row(f"e-{n}", "erasure", email=f"e{n}@example.com", accounts=["id5"]) for n in range(3)))
    put(dsn, Row("a-1", "access", user_id="u1"))
    ran = run_daily(only="(?!approve_volume).*")
    assert {name for name, state in ran.states.items() if state == "failed"} == {"report"}
    assert {job.vendor for job in sandbox.jobs()} == {"besitos", "batch"}
    assert {row["request_id"] for row in rows(held) if row["is_held"]} == {
        "r-0", "r-1", "r-2", "e-0", "e-1", "e-2"
    }  # fmt: skip
    for account in ("batch", "id5"):
        assert f"{account}: 3 erasure submissions are on hold, because" in ran.log


def test_a_dry_run_says_what_would_be_on_hold(
    dsn: str, db: Database, deployment: Path, run_daily: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written to the ledger, and nobody is asked."""
    monkeypatch.setattr("include.accounts.VOLUME", LIMIT)
    put(dsn, *(Row(f"e-{n}", "erasure", email=f"e{n}@example.com", accounts=["id5"]) for n in range(3)))
    ran = run_daily(dry_run=True)
    assert "dry run: id5 would be sent: nothing" in ran.log
    assert "dry run: id5 would be on hold: 3 erasure" in ran.log
    assert ran.states["approve_volume"] == "skipped"
    assert rows(db) == []
    assert db.execute("SELECT count(*) AS n FROM dsar.volume").fetchone() == {"n": 0}
