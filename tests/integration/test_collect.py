"""Collect: each person's result, whole and alone, in storage."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any, Protocol

import aiohttp
import pytest
from fsspec.implementations.local import LocalFileSystem

from include.dsar.delivery.storage import Storage
from include.dsar.errors import CredentialsRefused, VendorUnavailable
from include.dsar.execution.job_failures import RESULT_EXPIRED
from include.dsar.http import client as client_module
from include.dsar.ledger.database import Database
from include.dsar.model import Action
from include.dsar.stages.collect import Collected, collect
from include.dsar.stages.poll import poll_open_jobs
from include.dsar.stages.submit import submit
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork
from tests.integration.requests_given import Clock, plan, request, rows, states, submission

pytestmark = pytest.mark.asyncio


class Run(Protocol):
    async def __call__(self, account: str, clock: Clock | None = None, **extra: Any) -> Collected: ...


@pytest.fixture
def run(open_work: OpenWork, storage: Storage) -> Run:
    async def run_one(
        account: str, clock: Clock | None = None, into: Storage = storage, **extra: Any
    ) -> Collected:
        async with open_work(account, **extra) as work:
            return await collect(replace(work, clock=clock or Clock()), into)

    return run_one


async def ready(db: Database, open_work: OpenWork, account: str, values: Sequence[str], **extra: Any) -> None:
    """An access request for each value, named after it, whose results wait at the vendor."""
    plan(db, *(request(v, submission(v, account), action=Action.ACCESS) for v in values))
    async with open_work(account, **extra) as work:
        await submit(work)
        now = work.clock()
        await poll_open_jobs(work, since=now, until=now + timedelta(seconds=5))


def content(storage: Storage, row: dict[str, Any]) -> bytes:
    with storage.open(row["file_path"]) as stream:
        return stream.read()


async def test_two_that_collect_the_same_do_not_spoil_each_others_file(
    db: Database, open_work: OpenWork, storage: Storage, sandbox: Sandbox, run: Run
) -> None:
    """A vendor may write its answer anew each time: the ledger speaks of the file that it was told of."""
    await ready(db, open_work, "besitos", ["u1"])
    body = '{"success": true, "request": {"status": "completed"}, "data": {"data": [%s]}}'
    for times in (1, 2):
        record = json.dumps({"partner_user_id": "u1", "asked": times})
        sandbox.inject("body", vendor="besitos", route="status", body=body % record)
    await asyncio.gather(run("besitos"), run("besitos"))
    (row,) = rows(db)
    assert sha256(content(storage, row)).hexdigest() == row["file_sha256"]


async def test_each_persons_record_is_cut_out_whole_and_unaltered(
    db: Database, open_work: OpenWork, storage: Storage, sandbox: Sandbox, run: Run
) -> None:
    """Byte for byte as it stands in the shared reply; who is unknown there has no data."""
    values = ["u1", "unknown-2", "ü-3", "4"]
    await ready(db, open_work, "besitos", values)
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer sandbox-secret"}) as session:
        path = f"/data/partner/gdpr/demo/{rows(db)[0]['job_id']}"
        async with session.get(sandbox.url + path) as reply:
            shared = await reply.read()
    done = await run("besitos")
    assert (done.collected, done.no_data, done.left) == (3, 1, 0)
    assert states(db) == {"u1": "completed", "unknown-2": "no_data", "ü-3": "completed", "4": "completed"}
    for row in rows(db):
        if row["state"] == "completed":
            own = content(storage, row)
            assert own in shared
            assert json.loads(own)["partner_user_id"] == row["request_id"]
            assert not [v for v in values if v != row["request_id"] and f'"{v}"'.encode() in own]
            assert (row["file_sha256"], row["file_bytes"]) == (sha256(own).hexdigest(), len(own))
            assert row["file_name"] == f"user_id_{row['id']}.json"
            assert row["file_path"].startswith(f"work/{row['request_id']}/besitos_")
            assert row["file_path"].endswith(row["file_name"])


async def test_batchs_zip_is_fetched_as_it_is(
    db: Database, open_work: OpenWork, storage: Storage, sandbox: Sandbox, run: Run
) -> None:
    """Without our credentials, which its store would refuse."""
    await ready(db, open_work, "batch", ["u1", "unknown-2"])
    assert states(db)["unknown-2"] == "no_data"
    assert (await run("batch")).collected == 1
    (row,) = (row for row in rows(db) if row["state"] == "completed")
    assert zipfile.ZipFile(io.BytesIO(content(storage, row))).testzip() is None
    assert row["file_name"].endswith(".zip")
    assert sandbox.calls()["batch"]["data"] == 1


async def test_a_result_beyond_the_limit_is_refused_and_leaves_no_file(
    db: Database, open_work: OpenWork, storage: Storage, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person's submission has failed, with that reason."""
    await ready(db, open_work, "batch", ["u1"])
    monkeypatch.setattr(client_module, "MAX_DOWNLOAD_BYTES", 100)
    done = await run("batch")
    assert (done.failed, rows(db)[0]["reason"]) == (1, "the result is larger than 100 bytes")
    assert files(storage) == []


def files(storage: Storage) -> list[str]:
    fs: LocalFileSystem = storage._fs
    return list(fs.find(storage._root))


@pytest.mark.parametrize("route", ["status", "data"])
@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("reset_before", {"times": 2}), ("status", {"status": 503}), ("truncated", {}),
        ("html", {"status": 502}), ("redirect", {"location": "http://127.0.0.1:1/"}),
    ],
)  # fmt: skip
async def test_what_does_not_come_through_stays_ready(
    db: Database, open_work: OpenWork, storage: Storage, sandbox: Sandbox, run: Run,
    route: str, kind: str, fields: dict[str, Any],
) -> None:  # fmt: skip
    """The others are collected, the task says so, no half a file is seen, and a retry fetches the rest."""
    await ready(db, open_work, "batch", ["u1", "u2", "u3"])
    sandbox.inject(kind, vendor="batch", route=route, **fields)
    with pytest.raises(VendorUnavailable, match="1 results could not be fetched"):
        await run("batch", max_concurrency=1)
    assert sorted(states(db).values()) == ["completed", "completed", "ready"]
    assert len(files(storage)) == 2
    assert (await run("batch")).collected == 1


async def test_a_job_that_the_vendor_has_forgotten_has_failed(
    db: Database, open_work: OpenWork, sandbox: Sandbox, run: Run
) -> None:
    """Batch forgets after 20 days: its result has expired."""
    await ready(db, open_work, "batch", ["u1"])
    sandbox.advance(21 * 86_400)
    assert (await run("batch")).failed == 1
    assert rows(db)[0]["reason"] == RESULT_EXPIRED


async def test_a_result_that_never_comes_fails_past_the_accounts_limit(
    db: Database, open_work: OpenWork, sandbox: Sandbox, run: Run
) -> None:
    """Besitos' results expire after 7 days, and its reply then holds none: no request stays open for ever."""
    await ready(db, open_work, "besitos", ["u1", "u2"])
    sandbox.advance(8 * 86_400)
    clock = Clock()
    with pytest.raises(VendorUnavailable):
        await run("besitos", clock)
    clock.advance(days=8)
    assert (await run("besitos", clock)).failed == 2
    assert {row["reason"] for row in rows(db)} == {"its result could not be fetched in 7 days"}


async def test_refused_credentials_name_the_connection(db: Database, open_work: OpenWork, run: Run) -> None:
    """All stays ready."""
    await ready(db, open_work, "besitos", ["u1"])
    with pytest.raises(CredentialsRefused, match="connection besitos_default"):
        await run("besitos", secret="no")
    assert states(db) == {"u1": "ready"}


class FullFor(LocalFileSystem):  # type: ignore[misc]
    """A storage that refuses what belongs to one request, with an error of its own kind."""

    class QuotaExceeded(Exception):
        pass

    protocol = "full"

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def _refuse(self, path: str) -> None:
        if f"/{self.name}/" in path:
            raise self.QuotaExceeded("a value that must not be shown")

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        self._refuse(path)
        self.makedirs(path.rpartition("/")[0], exist_ok=True)
        super().pipe_file(path, value, **options)


def full_for(storage: Storage, name: str) -> Storage:
    """The same folder, as a file system that is not the local one."""
    broken = Storage(FullFor(name), storage._root)
    broken._local = False
    return broken


async def test_a_storage_that_refuses_one_request_stops_no_other(
    db: Database, open_work: OpenWork, storage: Storage, run: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Those of its batch are stored; it stays ready, and is stored once the storage is mended."""
    await ready(db, open_work, "besitos", ["u1", "u2", "u3"])
    with pytest.raises(VendorUnavailable, match="1 results could not be fetched, the last: QuotaExceeded"):
        await run("besitos", into=full_for(storage, "u2"))
    assert states(db) == {"u1": "completed", "u2": "ready", "u3": "completed"}
    assert "shown" not in caplog.text
    await run("besitos")
    assert set(states(db).values()) == {"completed"}


async def test_two_requests_that_share_a_job_get_their_own_copy(
    db: Database, open_work: OpenWork, storage: Storage, run: Run
) -> None:
    """The same person asked twice: each request has its file."""
    same = submission("u1", "batch")
    plan(db, request("r-1", same, action=Action.ACCESS), request("r-2", same, action=Action.ACCESS))
    async with open_work("batch") as work:
        for _ in range(2):
            await submit(work)
        now = work.clock()
        await poll_open_jobs(work, since=now, until=now + timedelta(seconds=5))
    with suppress(VendorUnavailable):
        await run("batch")
    one, two = rows(db)
    assert (one["state"], two["state"]) == ("completed", "completed")
    assert content(storage, one) == content(storage, two)
    assert one["file_path"] != two["file_path"]
