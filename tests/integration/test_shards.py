"""The work of an account is distributed over several task instances (shards)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import TriggerRule

from dsar_airflow import triggers
from dsar_airflow.triggers import PollTrigger
from include.accounts import ACCOUNTS
from include.dsar.accounts import WHOLE, Account, Shard
from include.dsar.intake.source import Source
from include.dsar.ledger import claiming, database, vendor_jobs
from include.dsar.ledger.database import Database
from include.dsar.stages.intake import Intake
from include.dsar.stages.submit import Submitted, submit
from include.dsar.vendors import settings
from include.sandbox import Sandbox
from tests.conftest import RunDaily, SetConnection
from tests.integration.conftest import OpenWork, Row, put, source_rows
from tests.integration.requests_given import NOW, RULES, plan, put_into, request, rows, submission

if TYPE_CHECKING:
    from airflow.sdk import DAG

SHARDS = [Shard(number, 3) for number in (1, 2, 3)]
WAITING = "SELECT FROM pg_locks WHERE NOT granted"


def wait_for_sessions(db: Database, count: int) -> None:
    """Waits until `count` sessions are blocked by another session."""
    deadline = time.monotonic() + 30
    while len(db.execute(WAITING).fetchall()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def submit_at_once(db: Database, open_work: OpenWork) -> Callable[..., list[Submitted]]:
    """Runs the submit stage of all shards, each in a thread with its own session.

    No shard can write before every shard has reached its first claim.
    """

    def run(account: str, **extra: Any) -> list[Submitted]:
        async def run_shard(shard: Shard) -> Submitted:
            async with open_work(account, **extra) as work:
                return await submit(replace(work, settings=work.settings.share(shard), shard=shard))

        with ThreadPoolExecutor(len(SHARDS)) as pool:
            with db.transaction():
                db.execute("LOCK TABLE dsar.submission IN EXCLUSIVE MODE")
                running = [pool.submit(asyncio.run, run_shard(shard)) for shard in SHARDS]
                wait_for_sessions(db, len(SHARDS))
            return [one.result() for one in running]

    return run


def test_the_shards_together_keep_the_rate_and_concurrency_of_their_account(
    accounts: dict[str, Account],
) -> None:
    """Each shard may make at least one call at a time."""
    extra = {"api_key": "x", "requests_per_second": 10, "max_concurrency": 8}
    whole = settings(accounts["batch"], base_url="http://localhost", secret="s", extra=extra)
    parts = [whole.share(shard) for shard in SHARDS]
    assert [part.max_concurrency for part in parts] == [3, 3, 2]
    assert sum(part.requests_per_second for part in parts) == pytest.approx(10)
    assert {whole.share(Shard(number, 64)).max_concurrency for number in (1, 64)} == {1}
    assert whole.share(WHOLE) == whole


@pytest.mark.parametrize("shards", [0, -1, 65])
def test_an_invalid_number_of_shards_is_refused(shards: int) -> None:
    """An invalid number of shards raises an error when Airflow parses the DAG, before any run."""
    with pytest.raises(ValueError, match="account a: shards must be from 1 to 64"):
        Account("a", vendor="batch", shards=shards)


def test_shards_send_nothing_twice(
    db: Database, sandbox: Sandbox, submit_at_once: Callable[..., list[Submitted]]
) -> None:
    """No shard sends a submission twice. If a data subject has two requests, the second request shares the
    job of the first request.
    """
    values = [f"u{n}" for n in range(120)]
    plan(db, *(request(f"{again}-{value}", submission(value, "batch")) for again in "ab" for value in values))
    done = submit_at_once("batch", max_concurrency=6)
    assert Counter(value for job in sandbox.jobs() for value in job.values) == Counter(values)
    assert sum(one.submitted for one in done) == 120
    assert {row["state"] for row in rows(db)} == {"submitted"}


def test_shards_keep_the_daily_quota_of_their_account(
    db: Database, sandbox: Sandbox, submit_at_once: Callable[..., list[Submitted]]
) -> None:
    """Shards that claim at the same time do not exceed the quota."""
    plan(db, *(request(f"r-{n}", submission(f"u{n}", "batch")) for n in range(90)))
    for quota in (20, 55):  # the quota is raised during the day
        done = submit_at_once("batch", daily_quota=quota)
        assert any(one.quota_used for one in done)
        assert len(sandbox.jobs()) == quota


def test_two_claims_at_once_do_not_take_two_requests_of_one_data_subject(dsn: str, db: Database) -> None:
    """Two shards claim requests of the same data subject at the same time. The second claim waits for the
    first claim and then gets no submission.
    """
    plan(db, request("early", submission("u1")), request("late", submission("u1")))
    _, late = rows(db)
    claimed: list[Any] = []

    def claim_all() -> None:
        with database.connect(dsn) as other, claiming.one_at_a_time(other, "besitos"):
            claimed.extend(
                claiming.claim(
                    other, "besitos", worker=2, limit=9, now=NOW, request_pks=None, one_job_per_subject=False
                )
            )

    second = threading.Thread(target=claim_all)
    with claiming.one_at_a_time(db, "besitos"):
        only = [late["request"]]  # the run is limited to the later request
        assert (
            len(
                claiming.claim(
                    db, "besitos", worker=1, limit=9, now=NOW, request_pks=only, one_job_per_subject=False
                )
            )
            == 1
        )
        second.start()
        wait_for_sessions(db, 1)
    second.join()
    assert claimed == []


def test_each_job_belongs_to_one_shard(db: Database) -> None:
    """Each open or ready job belongs to one shard. Each shard gets a fair part."""
    plan(db, *(request(f"r-{n}", submission(f"u{n}")) for n in range(300)))
    for one in rows(db):
        state = "ready" if one["id"] % 2 else "submitted"
        put_into(db, [one["id"]], {"state": state, "job_id": f"job-{one['id'] // 4}", "submitted_at": NOW})

    def open_in(shard: Shard) -> list[str]:
        rows = vendor_jobs.open_jobs(db, "besitos", request_pks=None, shard=shard)
        return [vendor_jobs.OpenJob.of(row).job_id for row in rows]

    def ready_in(shard: Shard) -> list[str]:
        return [job.job_id for job in vendor_jobs.ready_jobs(db, "besitos", request_pks=None, shard=shard)]

    for jobs in (open_in, ready_in):
        every = jobs(WHOLE)
        parts = [jobs(shard) for shard in SHARDS]
        assert sorted(job for part in parts for job in part) == sorted(every)
        assert min(map(len, parts)) > len(every) / 6


async def test_the_triggers_of_the_shards_poll_each_job_once(
    dsn: str,
    db: Database,
    source_table: Source,
    open_work: OpenWork,
    deployment: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each trigger polls and counts the jobs of its own shard."""
    monkeypatch.setattr(triggers, "SHORTEST", 0.0)
    put(dsn, *[Row(f"e-{n}", user_id=f"u{n}") for n in range(30)])
    Intake(db, source_table, RULES).run()
    async with open_work("batch") as work:
        await submit(work)
    now = datetime.now(UTC)
    until = (now + timedelta(seconds=20)).isoformat()

    async def fire(shard: Shard) -> dict[str, Any]:
        one = PollTrigger(account="batch", since=now.isoformat(), until=until, request_pks=None, shard=shard)
        (event,) = [event.payload async for event in one.run()]
        return event

    events = await asyncio.gather(*map(fire, SHARDS))
    assert sum(event["ended"] for event in events) == 30
    assert all(event["ended"] for event in events)


# Three shards for each account except ID5.
SHARDED = tuple(a if a.name == "id5" else replace(a, shards=3) for a in ACCOUNTS)
with_shards = pytest.mark.parametrize("dags", [{"ACCOUNTS": SHARDED}], indirect=True, ids=[""])


@with_shards
def test_each_shard_is_a_mapped_task_instance(daily: DAG) -> None:
    """A stage has one mapped task instance for each shard. It also runs if a shard of the previous stage
    failed.
    """
    mapped = {task.task_id: task for task in daily.tasks if task.is_mapped}
    assert set(mapped) == {
        task.task_id for task in daily.tasks if "." in task.task_id and not task.task_id.startswith("id5.")
    }
    for task in mapped.values():
        assert task.expand_input.value == {"shard": [[1, 3], [2, 3], [3, 3]]}
        assert task.trigger_rule == TriggerRule.ALL_DONE
        assert task.retries == 3
        assert "**Red:**" in task.doc_md
    assert mapped["batch.submit"].downstream_task_ids == {"batch.await_completion"}


@with_shards
def test_a_run_with_shards_delivers_everything_once(
    dsn: str, deployment: Path, sandbox: Sandbox, run_daily: RunDaily
) -> None:
    """The run closes every request, and no vendor gets the same call twice."""
    access_rows = [Row(f"a-{n}", "access", user_id=f"u{n}", email=f"a{n}@example.com") for n in range(9)]
    put(dsn, *access_rows, *[Row(f"e-{n}", user_id=f"v{n}", email=f"e{n}@example.com") for n in range(9)])
    ran = run_daily()
    states = dict(ran.states)
    assert states.pop("approve_volume") == "skipped"
    assert states.pop("report") == "failed"  # it says that ID5 and Attentive were not asked for access
    assert set(states.values()) == {"success"}
    assert {
        f"batch.{stage}[{n}]" for stage in ("submit", "await_completion", "collect") for n in range(3)
    } < set(ran.states)
    assert {row["status"] for row in source_rows(dsn).values()} == {"completed"}
    sent = Counter((job.vendor, value) for job in sandbox.jobs() for value in job.values)
    assert set(sent.values()) == {1}
    assert len(list(deployment.glob("requests/a-*/package.zip"))) == 9


@with_shards
def test_the_report_names_the_failed_shards(
    dsn: str, deployment: Path, set_connection: SetConnection, run_daily: RunDaily
) -> None:
    """The report names the shards that failed. A run that is limited to other accounts skips all shards."""
    put(dsn, Row("e-1", user_id="u1"))
    set_connection("batch", host=None, extra={"api_key": None})
    ran = run_daily(only="intake|batch.*|report")
    assert [ran.states[f"batch.submit[{n}]"] for n in range(3)] == ["failed"] * 3
    assert "Task batch.submit (shard 2) failed. Fix what its log says" in ran.log
    ran = run_daily(only="intake|batch.*", accounts=["id5"])
    assert [ran.states[f"batch.submit[{n}]"] for n in range(3)] == ["skipped"] * 3
