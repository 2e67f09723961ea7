"""One bad request does not stop other requests in any stage, and it is not lost."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import nullcontext
from typing import Any

import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError, NotDelivered, RequestsRefused, VendorUnavailable
from include.dsar.execution.job_failures import UNREADABLE
from include.dsar.intake.source import Source
from include.dsar.ledger.database import Database
from include.dsar.stages.intake import Intake
from include.dsar.stages.package import Package
from include.sandbox import Sandbox
from tests.integration.conftest import Row, put
from tests.integration.elsewhere import listening
from tests.integration.requests_given import RULES, events, rows, states
from tests.integration.stage_runs import Stages

GOOD = tuple(f"good-{n}" for n in range(4))
POISON = "poison"
PACE = {"max_concurrency": 1, "poll_min_seconds": 0.02, "poll_max_seconds": 0.02}


class Run:
    """The stages of a run at one account. They can run repeatedly, and each may end with an error."""

    def __init__(
        self, dsn: str, db: Database, source: Source, storage: Storage, sandbox: Sandbox, stages: Stages
    ) -> None:
        self.dsn, self.db, self.source, self.storage = dsn, db, source, storage
        self.sandbox, self.stages = sandbox, stages

    def intake(self, *poisoned: Row, account: str = "besitos", action: str = "access") -> None:
        """Adds four good requests and the poisoned requests. The poisoned requests come first in every
        order.
        """
        good = [Row(name, action, user_id=f"user-{name}", accounts=[account]) for name in GOOD]
        put(self.dsn, *poisoned, *good)
        Intake(self.db, self.source, RULES, clock=self.stages.clock).run()

    async def submit(self, account: str = "besitos") -> None:
        await self.stages.submit(account, **PACE)

    async def poll(self, account: str = "besitos") -> None:
        self.stages.advance(seconds=2)
        await self.stages.poll(account, seconds=0.5, **PACE)

    async def collect(self, account: str = "besitos") -> None:
        await self.stages.collect(account, **PACE)

    def package(self) -> None:
        Package(self.db, self.source, self.storage, clock=self.stages.clock).run()

    async def finish(self, account: str = "besitos") -> None:
        """Runs all stages after intake."""
        await self.submit(account)
        await self.poll(account)
        await self.collect(account)
        self.package()

    def good_are_delivered(self) -> bool:
        return all(
            self.in_source[name]["status"] == "completed"
            and self.storage.exists(f"requests/{name}/receipt.json")
            for name in GOOD
        )

    @property
    def in_source(self) -> dict[str, dict[str, Any]]:
        """Returns each request's status in the source."""
        rows = self.db.execute("SELECT request_id, status, status_reason FROM public.dsar_requests")
        return {row["request_id"]: row for row in rows}

    @property
    def poison(self) -> dict[str, Any]:
        return self.in_source[POISON]

    def status_body(self) -> dict[str, Any]:
        """Returns a reply of Besitos about its only job."""
        (job,) = self.sandbox.jobs()
        return {"success": True, "request": {"id": job.job_id, "status": "completed"}, "data": None}


@pytest.fixture
def run(
    dsn: str, db: Database, source_table: Source, storage: Storage, sandbox: Sandbox, stages: Stages
) -> Run:
    return Run(dsn, db, source_table, storage, sandbox, stages)


def poisoned(**fields: Any) -> Row:
    usual = {"request_type": "access", "user_id": f"user-{POISON}", "accounts": ["besitos"]}
    return Row(POISON, **usual | fields)


@pytest.mark.parametrize(
    "record",
    [
        b"{}",
        b'"text"',
        b'{"partner_user_id": null}',
        b'{"partner_user_id": {"a": ' + b"[" * 90 + b"]" * 90 + b"}}",
    ],
)
async def test_a_record_without_an_owner_does_not_stop_its_batch(run: Run, record: bytes) -> None:
    """A record without an id may belong to any data subject of the batch, so none of them gets "no data".
    The missing result is fetched again.
    """
    run.intake(poisoned())
    await run.submit()
    await run.poll()
    records = [b'{"partner_user_id": "user-%s"}' % name.encode() for name in GOOD]
    body = json.dumps(run.status_body()).encode().replace(
        b'"data": null', b'"data": {"data": [' + b",".join([record, *records]) + b"]}"
    )  # fmt: skip
    run.sandbox.inject("body", vendor="besitos", route="status", body=body.decode(), times=None)
    with pytest.raises(VendorUnavailable):
        await run.collect()
    run.package()
    assert run.good_are_delivered()
    assert states(run.db)[POISON] == "ready" and run.poison["status"] == "in_progress"
    run.stages.advance(days=8)
    await run.collect()
    run.package()
    assert run.poison["status"] == "failed"
    (reason,) = (row["reason"] for row in rows(run.db) if row["request_id"] == POISON)
    assert reason == "the result could not be fetched in 7 days"


@pytest.mark.parametrize("action", ["access", "erasure"])
async def test_a_batch_with_an_unreadable_status_is_sent_again_in_smaller_ones(run: Run, action: str) -> None:
    """The batch is sent again after a day of unreadable replies. The other requests are delivered."""
    run.intake(poisoned(request_type=action), action=action)
    await run.submit()
    run.sandbox.inject("body", vendor="besitos", route="status", body='{"data": [{"a": ', times=None)
    await run.poll()
    assert set(states(run.db).values()) == {"submitted"}
    run.stages.advance(days=1)
    await run.poll()
    assert set(states(run.db).values()) == {"planned"}
    assert {event["reason"] for event in events(run.db)} == {UNREADABLE}
    run.sandbox.clear_faults()
    await run.submit()
    assert [len(job.subjects) for job in run.sandbox.jobs()] == [5, 1, 1, 1, 1, 1]
    await run.poll()
    await run.collect()
    run.package()
    assert run.good_are_delivered()


async def test_a_batch_without_replies_is_sent_again_in_smaller_ones(run: Run) -> None:
    """Each attempt without a reply is recorded as an event."""
    run.intake(poisoned())
    run.sandbox.inject("status", status=500, vendor="besitos", route="create", times=2)
    for _ in range(3):
        await run.submit()
        run.stages.advance(minutes=2)
    assert [len(job.subjects) for job in run.sandbox.jobs()] == [5]
    assert {row["batch_limit"] for row in rows(run.db)} == {10}
    assert len(events(run.db)) == 5 * 5  # twice uncertain and planned again, then submitted


@pytest.mark.parametrize(
    ("stage", "status"),
    [("submit", 404), *((stage, status) for stage in ("submit", "poll", "collect") for status in (401, 403))],
)
async def test_one_refused_call_does_not_stop_the_account(run: Run, stage: str, status: int) -> None:
    """A firewall may refuse one call. The stage reports the refused call and makes the other calls."""
    run.intake(Row(POISON, "access", user_id=f"user-{POISON}", accounts=["batch"]), account="batch")
    route = "create" if stage == "submit" else "status"
    for name in ("submit", "poll", "collect"):
        if name == stage:
            run.sandbox.inject("status", status=status, vendor="batch", route=route)
        expected = RequestsRefused if stage == "submit" else ConfigurationError
        with pytest.raises(expected) if name == stage else nullcontext():
            await getattr(run, name)("batch")
    run.package()
    ended = [row["status"] == "completed" for row in run.in_source.values()]
    assert sorted(ended) == [False, *[True] * len(GOOD)]
    await run.finish("batch")
    assert run.good_are_delivered() and run.poison["status"] == "completed"


def a_zip(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("profile.json", content)
    return made.getvalue()


BROKEN_INSIDE = a_zip(b"x" * 100).replace(b"profile.json", b"profile.jso\xff", 1)
BOMB = a_zip(b"\0" * 300_000_000)


@pytest.mark.parametrize("content", [BROKEN_INSIDE, BOMB], ids=["broken", "bomb"])
async def test_a_damaged_zip_is_delivered_unchanged(run: Run, content: bytes) -> None:
    """A zip bomb is delivered unchanged too. Each data subject gets the bytes of the vendor."""
    run.intake(Row(POISON, "access", user_id=f"user-{POISON}", accounts=["batch"]), account="batch")
    await run.submit("batch")
    await run.poll("batch")
    with listening() as elsewhere:
        elsewhere.answer = content
        body = {"status": "done", "request_type": "review", "data_url": f"{elsewhere.url}/data.zip"}
        run.sandbox.inject("body", vendor="batch", route="status", body=json.dumps(body))
        await run.collect("batch")
    run.package()
    assert {row["status"] for row in run.in_source.values()} == {"completed"}
    inside = []
    for name in (*GOOD, POISON):
        with zipfile.ZipFile(run.storage.open(f"requests/{name}/package.zip")) as package:
            data = [entry for entry in package.namelist() if entry.startswith("data/")]
            inside.append(package.read(data[0]))
            assert package.testzip() is None
            assert sum(entry.file_size for entry in package.infolist()) < 10_000_000
    assert inside.count(content) == 1


@pytest.mark.parametrize("trouble", ["missing", "changed", "in the way"])
async def test_a_request_that_cannot_be_packaged_stays_open(run: Run, trouble: str) -> None:
    """A request stays open if one of its files is missing or changed, or if its package cannot be written.
    Other requests are delivered.
    """
    run.intake(poisoned())
    await run.submit()
    await run.poll()
    await run.collect()
    (path,) = [row["file_path"] for row in rows(run.db) if row["request_id"] == POISON]
    with run.storage.open(path) as file:
        content = file.read()
    if trouble == "missing":
        run.storage.remove(path)
    elif trouble == "changed":
        run.storage.write(path, content.replace(b"user", b"User", 1))
    else:
        run.storage.write(f"requests/{POISON}/package.zip/in the way", b"")
    for _ in range(2):
        with pytest.raises(NotDelivered):
            run.package()
        assert trouble == "in the way" or not run.storage.exists(f"requests/{POISON}/package.zip")
        assert run.good_are_delivered()
        assert run.poison["status"] == "in_progress"
    run.storage.remove_tree(f"requests/{POISON}")
    run.storage.write(path, content)
    run.package()
    assert run.poison["status"] == "completed"
