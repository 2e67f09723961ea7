"""The trigger, on the real ledger and the sandbox."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dsar_airflow import triggers
from dsar_airflow.triggers import PollTrigger
from include.accounts import ACCOUNTS
from include.dsar.errors import LedgerUnavailable
from include.dsar.intake.rows import Rules
from include.dsar.intake.source import Source
from include.dsar.ledger.database import Database
from include.dsar.stages.intake import Intake
from include.dsar.stages.submit import submit
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork, Row, put, submissions

PAYLOAD = {
    "status", "ended", "ready", "planned_again", "open_jobs", "oldest_submitted_at", "next_poll_at", "polls",
    "failed_polls", "calls", "refused_calls",
}  # fmt: skip

Submit = Callable[..., Any]


def trigger(account: str = "batch", seconds: float = 20, request_pks: list[int] | None = None) -> PollTrigger:
    now = datetime.now(UTC)
    until = now + timedelta(seconds=seconds)
    return PollTrigger(
        account=account, since=now.isoformat(), until=until.isoformat(), request_pks=request_pks
    )


async def fire(one: PollTrigger) -> list[dict[str, Any]]:
    """All the events that the trigger gives before it ends."""
    return [event.payload async for event in one.run()]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for ten seconds."""
    monkeypatch.setattr(triggers, "SHORTEST", 0.0)


@pytest.fixture
def submitted(dsn: str, db: Database, source_table: Source, open_work: OpenWork, deployment: Path) -> Submit:
    """Puts rows into the source, and submits what is planned of them for an account."""

    async def run(account: str, *rows: Row) -> None:
        put(dsn, *rows)
        Intake(db, source_table, Rules(ACCOUNTS, None, b"key")).run()
        async with open_work(account) as work:
            await submit(work)

    return run


def test_serialize_is_exactly_what_the_constructor_takes() -> None:
    """Class path and arguments, as plain JSON."""
    given = {
        "account": "batch_ios",
        "since": "2026-11-01T10:00:00+00:00",
        "until": "2026-11-01T11:00:00+00:00",
        "request_pks": [1, 2],
        "shard": [2, 4],
    }
    assert PollTrigger(**given).serialize() == ("dsar_airflow.triggers.PollTrigger", given)
    assert json.loads(json.dumps(given)) == given


def test_a_trigger_comes_back_the_same_from_the_metadata_database() -> None:
    """The class path can be imported, and Airflow's own serialisation changes no argument."""
    from airflow.models.trigger import Trigger
    from airflow.sdk.module_loading import import_string

    for request_pks in (None, [], [7, 2**40]):
        one = trigger(request_pks=request_pks)
        stored = Trigger.from_object(one)
        again = import_string(stored.classpath)(**stored.kwargs)
        assert again.serialize() == one.serialize()


def test_its_arguments_hold_account_times_and_ledger_ids_only() -> None:
    """They are stored in clear text: a request's own id, or a person's, is refused by their types."""
    _, arguments = trigger(request_pks=[1]).serialize()
    assert set(arguments) == {"account", "since", "until", "request_pks", "shard"}
    assert all(isinstance(one, int) for one in arguments["request_pks"])
    assert arguments["account"] in {account.name for account in ACCOUNTS}
    assert all(datetime.fromisoformat(arguments[name]).tzinfo for name in ("since", "until"))


def test_no_event_comes_within_ten_seconds() -> None:
    """An event at once can meet a task that is not deferred yet; with ten seconds none of 200 did."""
    assert triggers.SHORTEST >= 10


@pytest.mark.asyncio
async def test_an_early_end_is_held_back(deployment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is open the event waits for the shortest time; so does a failure."""
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


@pytest.mark.asyncio
async def test_one_event_tells_counts_when_all_jobs_have_ended(
    db: Database, submitted: Submit, soon: None
) -> None:
    """The ledger has the outcomes, the event has counts and times and nothing else."""
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


@pytest.mark.asyncio
async def test_it_ends_at_the_deadline_with_jobs_still_open(
    db: Database, submitted: Submit, soon: None
) -> None:
    """It tells how many are left, since when, and when the next poll is due."""
    await submitted("batch", Row("e-1", user_id="slow-1"))
    begun = time.monotonic()
    (event,) = await fire(trigger(seconds=1.5))
    assert time.monotonic() - begun < 5
    assert event["open_jobs"] == 1
    assert event["polls"] >= 2
    assert datetime.fromisoformat(event["oldest_submitted_at"]) < datetime.now(UTC)
    assert datetime.fromisoformat(event["next_poll_at"]).tzinfo
    assert submissions(db)["e-1", "batch", "user_id"] == "submitted"


@pytest.mark.asyncio
async def test_it_watches_the_requests_of_its_run_only(db: Database, submitted: Submit, soon: None) -> None:
    """Another run's open jobs are left alone."""
    await submitted("batch", Row("e-1", user_id="u1"), Row("e-2", user_id="u2"))
    row = db.execute("SELECT id FROM dsar.request WHERE request_id = 'e-2'").fetchone()
    assert row is not None
    (event,) = await fire(trigger(request_pks=[row["id"]]))
    assert event["ended"] == 1
    assert submissions(db)["e-1", "batch", "user_id"] == "submitted"


@pytest.mark.asyncio
async def test_refused_credentials_are_an_event_that_names_the_connection(
    submitted: Submit, soon: None, set_connection: Callable[..., None]
) -> None:
    """The task, not the triggerer, fails; and it does so without a retry."""
    await submitted("batch", Row("e-1", user_id="u1"))
    set_connection("batch", password="wrong")
    (event,) = await fire(trigger())
    assert set(event) == {"status", "message", "calls", "refused_calls"}
    assert event["calls"] == event["refused_calls"] == 1
    assert event["status"] == "refused"
    assert "Fix the secret in Password of connection batch_default" in event["message"]


@pytest.mark.asyncio
async def test_broken_off_and_started_again_it_ends_right(
    db: Database, sandbox: Sandbox, submitted: Submit, soon: None
) -> None:
    """A triggerer that dies costs nothing: the second one takes up what the first has left."""
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
    assert len(sandbox.book()) == 21


@pytest.mark.asyncio
async def test_two_at_once_write_every_outcome_once(db: Database, submitted: Submit, soon: None) -> None:
    """For a moment a trigger may run twice; what one has written the other does not count."""
    await submitted("batch", *[Row(f"e-{n}", user_id=f"u{n}") for n in range(20)])
    events = [event for both in await asyncio.gather(fire(trigger()), fire(trigger())) for event in both]
    assert sum(event["ended"] for event in events) == 20
    assert all(event["status"] == "ended" for event in events)


@pytest.mark.asyncio
async def test_a_ledger_that_goes_away_raises(submitted: Submit, soon: None, dsn: str) -> None:
    """There is no event, so the task fails and is retried; nothing is made up."""
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
