"""The trigger runs on a real ledger and the sandbox."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dsar_airflow import triggers
from dsar_airflow.triggers import PollTrigger
from include.accounts import ACCOUNTS
from include.dsar.errors import LedgerUnavailable
from include.dsar.ledger.database import Database
from include.sandbox import Sandbox
from tests.conftest import SetConnection
from tests.integration.conftest import Row, SubmitRows, submissions

PAYLOAD = {
    "status", "ended", "ready", "planned_again", "open_jobs", "oldest_submitted_at", "next_poll_at", "polls",
    "failed_polls", "not_reached", "calls", "refused_calls",
}  # fmt: skip


def trigger(account: str = "batch", seconds: float = 20, request_pks: list[int] | None = None) -> PollTrigger:
    now = datetime.now(UTC)
    until = now + timedelta(seconds=seconds)
    return PollTrigger(
        account=account, since=now.isoformat(), until=until.isoformat(), request_pks=request_pks
    )


async def fire(one: PollTrigger) -> list[dict[str, Any]]:
    """Returns all events of the trigger."""
    return [event.payload async for event in one.run()]


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the trigger send its event without the usual ten seconds of delay."""
    monkeypatch.setattr(triggers, "SHORTEST", 0.0)


@pytest.fixture
def submitted(submit_rows: SubmitRows, deployment: Path) -> SubmitRows:
    return submit_rows


def test_serialize_returns_the_arguments_of_the_constructor() -> None:
    given = {
        "account": "batch_ios",
        "since": "2026-11-01T10:00:00+00:00",
        "until": "2026-11-01T11:00:00+00:00",
        "request_pks": [1, 2],
        "shard": [2, 4],
    }
    assert PollTrigger(**given).serialize() == ("dsar_airflow.triggers.PollTrigger", given)
    assert json.loads(json.dumps(given)) == given


def test_the_metadata_database_keeps_every_argument() -> None:
    """The class path can be imported, and Airflow's serialisation changes no argument."""
    from airflow.models.trigger import Trigger
    from airflow.sdk.module_loading import import_string

    for request_pks in (None, [], [7, 2**40]):
        one = trigger(request_pks=request_pks)
        stored = Trigger.from_object(one)
        again = import_string(stored.classpath)(**stored.kwargs)
        assert again.serialize() == one.serialize()


def test_the_arguments_are_account_times_and_ledger_ids() -> None:
    """Airflow stores the arguments in clear text, so they must not contain request ids or identifiers."""
    _, arguments = trigger(request_pks=[1]).serialize()
    assert set(arguments) == {"account", "since", "until", "request_pks", "shard"}
    assert all(isinstance(one, int) for one in arguments["request_pks"])
    assert arguments["account"] in {account.name for account in ACCOUNTS}
    assert all(datetime.fromisoformat(arguments[name]).tzinfo for name in ("since", "until"))


def test_the_first_event_comes_after_ten_seconds() -> None:
    """An event that comes earlier can reach a task that is not deferred yet, and the task would fail."""
    assert triggers.SHORTEST >= 10


async def test_an_early_event_is_delayed(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trigger delays an early event, and an early failure too."""
    monkeypatch.setattr(triggers, "SHORTEST", 0.8)
    begun = time.monotonic()
    (event,) = await fire(trigger())
    assert 0.8 <= time.monotonic() - begun < 5
    assert (event["status"], event["polls"], event["open_jobs"]) == ("ended", 0, 0)
    monkeypatch.setenv("AIRFLOW_CONN_DSAR_DB", "postgresql://nobody@127.0.0.1:1/none")
    begun = time.monotonic()
    with pytest.raises(Exception, match="does not answer"):
        await fire(trigger())
    assert time.monotonic() - begun >= 0.8


async def test_the_event_has_counts_when_all_jobs_have_ended(
    db: Database, submitted: SubmitRows, fast: None
) -> None:
    """The ledger has the outcomes. The event has only counts and times."""
    await submitted(
        "batch",
        Row("a-1", "access", user_id="u1"),
        Row("e-1", user_id="u2"),
        Row("e-2", user_id="unknown-3"),
        Row("e-3", user_id="jobfails-4"),
    )
    (event,) = await fire(trigger())
    assert set(event) == PAYLOAD
    assert event["status"] == "ended"
    assert (event["ended"], event["ready"], event["planned_again"], event["open_jobs"]) == (3, 1, 0, 0)
    assert event["failed_polls"] == 0
    assert (event["oldest_submitted_at"], event["next_poll_at"]) == (None, None)
    assert json.loads(json.dumps(event)) == event
    states = {
        request: state for (request, account, _), state in submissions(db).items() if account == "batch"
    }
    assert states == {"a-1": "ready", "e-1": "completed", "e-2": "no_data", "e-3": "failed"}


async def test_it_ends_at_the_deadline_with_open_jobs(
    db: Database, submitted: SubmitRows, fast: None
) -> None:
    """The event says how many jobs are open, since when, and when the next poll is due."""
    await submitted("batch", Row("e-1", user_id="slow-1"))
    begun = time.monotonic()
    (event,) = await fire(trigger(seconds=1.5))
    assert time.monotonic() - begun < 5
    assert event["open_jobs"] == 1
    assert event["polls"] >= 2
    assert datetime.fromisoformat(event["oldest_submitted_at"]) < datetime.now(UTC)
    assert datetime.fromisoformat(event["next_poll_at"]).tzinfo
    assert submissions(db)["e-1", "batch", "user_id"] == "submitted"


async def test_it_polls_only_the_requests_of_its_run(db: Database, submitted: SubmitRows, fast: None) -> None:
    await submitted("batch", Row("e-1", user_id="u1"), Row("e-2", user_id="u2"))
    row = db.execute("SELECT id FROM dsar.request WHERE request_id = 'e-2'").fetchone()
    assert row is not None
    (event,) = await fire(trigger(request_pks=[row["id"]]))
    assert event["ended"] == 1
    assert submissions(db)["e-1", "batch", "user_id"] == "submitted"


async def test_the_event_of_refused_credentials_names_the_connection(
    submitted: SubmitRows, fast: None, set_connection: SetConnection
) -> None:
    """The event makes the task fail without a retry. The triggerer does not fail."""
    await submitted("batch", Row("e-1", user_id="u1"))
    set_connection("batch", password="wrong")
    (event,) = await fire(trigger())
    assert set(event) == {"status", "message", "calls", "refused_calls"}
    assert event["calls"] == event["refused_calls"] == 1
    assert event["status"] == "refused"
    assert "Fix the secret in Password of connection batch_default" in event["message"]


async def test_a_second_trigger_continues_after_the_first_is_cancelled(
    db: Database, sandbox: Sandbox, submitted: SubmitRows, fast: None
) -> None:
    """A second trigger polls the remaining jobs, as after the death of a triggerer."""
    await submitted("batch", *[Row(f"e-{n}", user_id=f"u{n}") for n in range(20)], Row("e-x", user_id="slow"))
    one = trigger(seconds=3)
    running = asyncio.create_task(fire(one))
    await asyncio.sleep(0.15)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    sandbox.advance(7200)
    _, arguments = one.serialize()
    (event,) = await fire(PollTrigger(**arguments))
    assert event["open_jobs"] == 0
    assert {state for (_, account, _), state in submissions(db).items() if account == "batch"} == {
        "completed"
    }
    assert len(sandbox.jobs()) == 21


async def test_a_lost_ledger_raises(submitted: SubmitRows, fast: None, dsn: str) -> None:
    """The trigger sends no event, so the task fails and is retried."""
    await submitted("batch", *[Row(f"e-{n}", user_id=f"u{n}") for n in range(50)])
    running = asyncio.create_task(fire(trigger()))
    await asyncio.sleep(0.05)
    with psycopg.connect(dsn, autocommit=True) as admin:
        while not running.done():
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.05)
    with pytest.raises(LedgerUnavailable):
        await running
