"""One poisoned request stops nobody else, in no stage; and it is never lost itself."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from include.accounts import ACCOUNTS
from include.dsar.accounts import AccountSettings
from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError, NotDelivered, RequestsRefused, VendorUnavailable
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.job_failures import UNREADABLE
from include.dsar.http.messages import HttpRequest
from include.dsar.intake.rows import Rules
from include.dsar.intake.source import Source
from include.dsar.ledger.database import Database
from include.dsar.model import Action, IdentityKind, Subject
from include.dsar.stages import submit as submit_module
from include.dsar.stages.collect import collect
from include.dsar.stages.intake import Intake
from include.dsar.stages.package import Package
from include.dsar.stages.poll import poll_open_jobs
from include.dsar.stages.submit import submit
from include.dsar.vendors.besitos import Besitos
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork, Row, put
from tests.integration.elsewhere import listening
from tests.integration.requests_given import Clock, events, rows, states

RULES = Rules(ACCOUNTS, None, b"key")
GOOD = tuple(f"good-{n}" for n in range(4))
POISON = "poison"
POLLS = {"poll_min_seconds": 0.02, "poll_max_seconds": 0.02}


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is postponed is left to the next run."""
    monkeypatch.setattr(submit_module, "MAX_WAIT", timedelta())


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Run:
    """The stages of a run at one account, as often as wanted; each may end with an error."""

    def __init__(
        self, dsn: str, db: Database, source: Source, storage: Storage, open_work: OpenWork,
        sandbox: Sandbox, clock: Clock,
    ) -> None:  # fmt: skip
        self.dsn, self.db, self.source, self.storage = dsn, db, source, storage
        self._open_work, self.sandbox, self.clock = open_work, sandbox, clock

    def intake(self, *poisoned: Row, account: str = "besitos", action: str = "access") -> None:
        """Four good requests and the poisoned ones, which come first in every order."""
        good = [Row(name, action, user_id=f"user-{name}", accounts=[account]) for name in GOOD]
        put(self.dsn, *poisoned, *good)
        Intake(self.db, self.source, RULES, clock=self.clock).run()

    async def account(self, stage: Callable[..., Awaitable[Any]], account: str, **given: Any) -> Any:
        async with self._open_work(account, max_concurrency=1, **POLLS) as work:
            return await stage(replace(work, clock=self.clock, **given))

    async def submit(self, account: str = "besitos", **given: Any) -> None:
        await self.account(submit, account, **given)

    async def poll(self, account: str = "besitos") -> None:
        async def looked(work: AccountWork) -> object:
            now = work.clock()
            return await poll_open_jobs(work, since=now, until=now + timedelta(seconds=0.05))

        self.advance(seconds=2)
        await self.account(looked, account)

    async def collect(self, account: str = "besitos") -> None:
        await self.account(lambda work: collect(work, self.storage), account)

    def package(self) -> None:
        Package(self.db, self.source, self.storage, clock=self.clock).run()

    def advance(self, **units: float) -> None:
        self.clock.advance(**units)
        self.sandbox.advance(timedelta(**units).total_seconds())

    def good_are_delivered(self) -> bool:
        return all(
            self.told[name]["status"] == "completed" and self.storage.exists(f"requests/{name}/receipt.json")
            for name in GOOD
        )

    @property
    def told(self) -> dict[str, dict[str, Any]]:
        """What the source knows of each request."""
        rows = self.db.execute("SELECT request_id, status, status_reason FROM public.dsar_requests")
        return {row["request_id"]: row for row in rows}

    @property
    def poison(self) -> dict[str, Any]:
        return self.told[POISON]

    def status_body(self) -> dict[str, Any]:
        """What Besitos says of its only job."""
        (entry,) = self.sandbox.book()
        return {"success": True, "request": {"id": entry.job_id, "status": "completed"}, "data": None}


@pytest.fixture
def run(
    dsn: str, db: Database, source_table: Source, storage: Storage, open_work: OpenWork, sandbox: Sandbox,
    clock: Clock,
) -> Run:  # fmt: skip
    return Run(dsn, db, source_table, storage, open_work, sandbox, clock)


def poisoned(**fields: Any) -> Row:
    usual = {"request_type": "access", "user_id": f"user-{POISON}", "accounts": ["besitos"]}
    return Row(POISON, **usual | fields)


async def finish(run: Run, account: str = "besitos") -> None:
    await run.submit(account)
    await run.poll(account)
    await run.collect(account)
    run.package()


FIELDS = {
    "request_type": "no such thing", "regulation": "\u202eGDPR",
    "received_at": "infinity", "due_at": "-infinity",
    "email": "a@b@c", "phone": "12", "user_id": "x" * 1_000_000, "advertising_id": "'; DROP TABLE x; --",
    "install_id": "a\u2028b", "id5_id": "no id of ID5's", "accounts": "nobody",
}  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize("column", FIELDS)
async def test_a_field(run: Run, column: str) -> None:
    """Whatever stands in a cell, its row alone is invalid and says why; the others are delivered."""
    run.intake(poisoned(**{column: FIELDS[column]}))
    assert run.poison["status"] == "invalid" and column.removesuffix("s") in run.poison["status_reason"]
    await finish(run)
    assert run.good_are_delivered()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "record",
    [
        b"{}",
        b'"text"',
        b'{"partner_user_id": null}',
        b'{"partner_user_id": {"a": ' + b"[" * 90 + b"]" * 90 + b"}}",
    ],
)
async def test_a_record_in_a_shared_reply(run: Run, record: bytes) -> None:
    """A record that names nobody stops no other of its batch, and is taken for nobody's "no data"."""
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
    run.advance(days=8)
    await run.collect()
    run.package()
    assert run.poison["status"] == "failed"
    (reason,) = (row["reason"] for row in rows(run.db) if row["request_id"] == POISON)
    assert reason == "its result could not be fetched in 7 days"


@pytest.mark.asyncio
@pytest.mark.parametrize("action", ["access", "erasure"])
async def test_a_record_that_spoils_the_whole_reply(run: Run, action: str) -> None:
    """A batch whose status nobody can read is sent again in smaller ones; the culprit fails alone."""
    run.intake(poisoned(request_type=action), action=action)
    await run.submit()
    run.sandbox.inject("body", vendor="besitos", route="status", body='{"data": [{"a": ', times=None)
    await run.poll()
    assert set(states(run.db).values()) == {"submitted"}
    run.advance(days=1)
    await run.poll()
    assert set(states(run.db).values()) == {"planned"}
    assert {event["reason"] for event in events(run.db)} == {UNREADABLE}
    run.sandbox.clear_faults()
    await run.submit()
    assert [len(entry.subjects) for entry in run.sandbox.book()] == [5, 1, 1, 1, 1, 1]
    await run.poll()
    await run.collect()
    run.package()
    assert run.good_are_delivered()


@pytest.mark.asyncio
async def test_an_id_that_the_vendor_refuses(run: Run) -> None:
    """One bad id refuses its whole batch: all are sent again in smaller ones, and it is rejected alone."""
    run.intake(poisoned(user_id="refused-1"))
    await run.submit()
    run.advance(seconds=10)
    await finish(run)
    assert run.good_are_delivered()
    assert run.poison["status"] == "failed" and "rejected" in run.poison["status_reason"]


@pytest.mark.asyncio
async def test_an_id_that_fails_its_job(run: Run) -> None:
    """One id that fails the job of its batch: the others are sent again without it, and it fails alone."""
    run.intake(poisoned(user_id="jobfails-1"))
    await run.submit()
    await run.poll()
    await finish(run)
    assert run.good_are_delivered()
    assert run.poison["status"] == "failed"


class Stumbling(Besitos):
    """A vendor whose `create` cannot be made of one person."""

    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        if any(POISON in subject.identifiers[IdentityKind.USER_ID] for subject in subjects):
            raise KeyError("nothing that we thought of")
        return super().create(settings, action, subjects)


@pytest.mark.asyncio
async def test_a_call_that_cannot_be_made(run: Run) -> None:
    """Where `create` raises, the batch is split; alone, the culprit is rejected with that reason."""
    run.intake(poisoned())
    for _ in range(2):
        await run.submit(vendor=Stumbling())
    await run.poll()
    await run.collect()
    run.package()
    assert run.good_are_delivered()
    assert run.poison["status"] == "failed"
    (entry,) = [row for row in rows(run.db) if row["request_id"] == POISON]
    assert entry["reason"] == "no call can be made of it (KeyError)"


@pytest.mark.asyncio
async def test_a_batch_that_loses_every_reply(run: Run) -> None:
    """Where a batch gets no answer again and again, it is sent in ever smaller ones, each time on record."""
    run.intake(poisoned())
    run.sandbox.inject("status", status=500, vendor="besitos", route="create", times=2)
    for _ in range(3):
        await run.submit()
        run.advance(minutes=2)
    assert [len(entry.subjects) for entry in run.sandbox.book()] == [5]
    assert {row["batch_limit"] for row in rows(run.db)} == {10}
    assert len(events(run.db)) == 5 * 5  # in doubt and planned again, twice, and then submitted


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("stage", "status"),
    [
        ("submit", 404),
        *((stage, status) for stage in ("submit", "poll", "collect") for status in (401, 403)),
    ],
)
async def test_one_refusal_for_our_credentials(run: Run, stage: str, status: int) -> None:
    """A firewall that answers 403 to one request's call stops that call, and shows; not the account."""
    run.intake(Row(POISON, "access", user_id=f"user-{POISON}", accounts=["batch"]), account="batch")
    route = "create" if stage == "submit" else "status"
    for name in ("submit", "poll", "collect"):
        if name == stage:
            run.sandbox.inject("status", status=status, vendor="batch", route=route)
        expected = RequestsRefused if stage == "submit" else ConfigurationError
        with pytest.raises(expected) if name == stage else nullcontext():
            await getattr(run, name)("batch")
    run.package()
    ended = [row["status"] == "completed" for row in run.told.values()]
    assert sorted(ended) == [False, *[True] * len(GOOD)]
    await finish(run, "batch")
    assert run.good_are_delivered() and run.poison["status"] == "completed"


def a_zip(content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("profile.json", content)
    return made.getvalue()


BROKEN_INSIDE = a_zip(b"x" * 100).replace(b"profile.json", b"profile.jso\xff", 1)
BOMB = a_zip(b"\0" * 300_000_000)


@pytest.mark.asyncio
@pytest.mark.parametrize("content", [BROKEN_INSIDE, BOMB], ids=["broken", "bomb"])
async def test_a_zip(run: Run, content: bytes) -> None:
    """A zip that cannot be read, or is a bomb, is given to its person as it came; the others get theirs."""
    run.intake(Row(POISON, "access", user_id=f"user-{POISON}", accounts=["batch"]), account="batch")
    await run.submit("batch")
    await run.poll("batch")
    with listening() as elsewhere:
        elsewhere.answer = content
        body = {"status": "done", "request_type": "review", "data_url": f"{elsewhere.url}/data.zip"}
        run.sandbox.inject("body", vendor="batch", route="status", body=json.dumps(body))
        await run.collect("batch")
    run.package()
    assert {row["status"] for row in run.told.values()} == {"completed"}
    inside = []
    for name in (*GOOD, POISON):
        with zipfile.ZipFile(run.storage.open(f"requests/{name}/package.zip")) as package:
            data = [entry for entry in package.namelist() if entry.startswith("data/")]
            inside.append(package.read(data[0]))
            assert package.testzip() is None
            assert sum(entry.file_size for entry in package.infolist()) < 10_000_000
    assert inside.count(content) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("trouble", ["vanished", "altered", "in the way"])
async def test_what_cannot_be_delivered(run: Run, trouble: str) -> None:
    """A collected file that is gone or changed, a package that cannot be written: it stays open and shows."""
    run.intake(poisoned())
    await run.submit()
    await run.poll()
    await run.collect()
    (path,) = [row["file_path"] for row in rows(run.db) if row["request_id"] == POISON]
    with run.storage.open(path) as file:
        content = file.read()
    if trouble == "vanished":
        run.storage.remove(path)
    elif trouble == "altered":
        run.storage.write(path, content.replace(b"user", b"User", 1))
    else:
        run.storage.write(f"requests/{POISON}/package.zip/in the way", b"")
    for _ in range(2):
        with pytest.raises(NotDelivered):
            run.package()
        assert run.good_are_delivered()
        assert run.poison["status"] == "in_progress"
    run.storage.remove_tree(f"requests/{POISON}")
    run.storage.write(path, content)
    run.package()
    assert run.poison["status"] == "completed"


@pytest.mark.asyncio
async def test_a_source_row_that_cannot_be_updated(run: Run) -> None:
    """A row that its database will not change is told again by every run; the others are told."""
    run.intake(poisoned())
    with psycopg.connect(run.dsn) as db:
        db.execute(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no'; END$$;"
            "CREATE TRIGGER no BEFORE UPDATE ON public.dsar_requests FOR EACH ROW"
            f" WHEN (OLD.request_id = '{POISON}') EXECUTE FUNCTION no()"
        )
    await run.submit()
    await run.poll()
    await run.collect()
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            run.package()
    assert run.good_are_delivered()
    assert run.poison["status"] == "in_progress"
    with psycopg.connect(run.dsn) as db:
        db.execute("DROP TRIGGER no ON public.dsar_requests")
    run.package()
    assert run.poison["status"] == "completed"
