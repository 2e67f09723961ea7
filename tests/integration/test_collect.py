"""The collect stage stores each data subject's own result, complete and unchanged."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from hashlib import sha256
from typing import Any

import aiohttp
import pytest
from fsspec.implementations.local import LocalFileSystem

from include.dsar.delivery.storage import Storage
from include.dsar.errors import CredentialsRefused, VendorUnavailable
from include.dsar.http import client as client_module
from include.dsar.ledger.database import Database
from include.dsar.model import Action
from include.sandbox import Sandbox
from tests.integration.requests_given import plan, request, rows, states, submission
from tests.integration.stage_runs import Stages, plan_each


async def ready(db: Database, stages: Stages, account: str, *values: str) -> None:
    """Adds an access request for each value. The request id is the value. The vendor has the results."""
    plan_each(db, account, *values, action=Action.ACCESS)
    await stages.submit(account)
    await stages.poll(account)


def content(storage: Storage, row: dict[str, Any]) -> bytes:
    with storage.open(row["file_path"]) as stream:
        return stream.read()


async def test_two_runs_that_collect_the_same_result_do_not_spoil_each_others_file(
    db: Database, storage: Storage, sandbox: Sandbox, stages: Stages
) -> None:
    """The vendor may return different bytes for the same result. The hash in the ledger is the hash of the
    stored file.
    """
    await ready(db, stages, "besitos", "u1")
    body = '{"success": true, "request": {"status": "completed"}, "data": {"data": [%s]}}'
    for times in (1, 2):
        record = json.dumps({"partner_user_id": "u1", "asked": times})
        sandbox.inject("body", vendor="besitos", route="status", body=body % record)
    await asyncio.gather(stages.collect("besitos"), stages.collect("besitos"))
    (row,) = rows(db)
    assert sha256(content(storage, row)).hexdigest() == row["file_sha256"]


async def test_each_data_subject_gets_their_own_record_of_a_shared_reply(
    db: Database, storage: Storage, sandbox: Sandbox, stages: Stages
) -> None:
    """Each record is stored without changing a byte. A data subject without a record in the reply has no
    data.
    """
    values = ["u1", "unknown-2", "ü-3", "4"]
    await ready(db, stages, "besitos", *values)
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer sandbox-secret"}) as session:
        path = f"/data/partner/gdpr/demo/{rows(db)[0]['job_id']}"
        async with session.get(sandbox.url + path) as reply:
            shared = await reply.read()
    done = await stages.collect("besitos")
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


async def test_the_zip_of_batch_is_stored_unchanged(
    db: Database, storage: Storage, sandbox: Sandbox, stages: Stages
) -> None:
    """The zip is downloaded without our credentials."""
    await ready(db, stages, "batch", "u1", "unknown-2")
    assert states(db)["unknown-2"] == "no_data"
    assert (await stages.collect("batch")).collected == 1
    (row,) = (row for row in rows(db) if row["state"] == "completed")
    assert zipfile.ZipFile(io.BytesIO(content(storage, row))).testzip() is None
    assert row["file_name"].endswith(".zip")
    assert sandbox.calls()["batch"]["data"] == 1


async def test_a_result_over_the_size_limit_fails_after_a_day_and_leaves_no_file(
    db: Database, storage: Storage, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one reply over the limit, the result stays ready. A day later the submission fails, and the
    reason names the size.
    """
    await ready(db, stages, "batch", "u1")
    monkeypatch.setattr(client_module, "MAX_DOWNLOAD_BYTES", 100)
    with pytest.raises(VendorUnavailable, match="the result is larger than 100 bytes"):
        await stages.collect("batch")
    assert states(db) == {"u1": "ready"}
    stages.clock.advance(days=1, seconds=1)
    done = await stages.collect("batch")
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
async def test_a_result_that_cannot_be_fetched_stays_ready(
    db: Database, storage: Storage, sandbox: Sandbox, stages: Stages,
    route: str, kind: str, fields: dict[str, Any],
) -> None:  # fmt: skip
    """If a result cannot be fetched, the other results are still collected. No incomplete file is left. A
    retry fetches the missing result.
    """
    await ready(db, stages, "batch", "u1", "u2", "u3")
    sandbox.inject(kind, vendor="batch", route=route, **fields)
    with pytest.raises(VendorUnavailable, match="1 results could not be fetched"):
        await stages.collect("batch", max_concurrency=1)
    assert sorted(states(db).values()) == ["completed", "completed", "ready"]
    assert len(files(storage)) == 2
    assert (await stages.collect("batch")).collected == 1


async def test_a_result_that_never_arrives_fails_after_give_up_after_days(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """No request stays open forever."""
    await ready(db, stages, "besitos", "u1", "u2")
    sandbox.inject("body", vendor="besitos", route="status", body='{"data": 1}', times=3)
    for _ in range(2):
        with pytest.raises(VendorUnavailable):
            await stages.collect("besitos")
    stages.clock.advance(days=8)
    assert (await stages.collect("besitos")).failed == 2
    assert {row["reason"] for row in rows(db)} == {"the result could not be fetched in 7 days"}


async def test_refused_credentials_name_the_connection(db: Database, stages: Stages) -> None:
    """The error names the connection. The results stay ready."""
    await ready(db, stages, "besitos", "u1")
    with pytest.raises(CredentialsRefused, match="connection besitos_default"):
        await stages.collect("besitos", secret="no")
    assert states(db) == {"u1": "ready"}


class FullFor(LocalFileSystem):  # type: ignore[misc]
    """A storage that refuses the files of one request with its own type of error."""

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
    """Returns the same folder through another file system. This file system refuses the files of one
    request.
    """
    broken = Storage(FullFor(name), storage._root)
    broken._local = False
    return broken


async def test_a_storage_error_for_one_request_does_not_stop_the_others(
    db: Database, storage: Storage, stages: Stages,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The result of this request stays ready until the storage works again."""
    await ready(db, stages, "besitos", "u1", "u2", "u3")
    with pytest.raises(
        VendorUnavailable, match=r"1 results could not be fetched\. Last error: QuotaExceeded"
    ):
        await stages.collect("besitos", storage=full_for(storage, "u2"))
    assert states(db) == {"u1": "completed", "u2": "ready", "u3": "completed"}
    assert "shown" not in caplog.text
    await stages.collect("besitos")
    assert set(states(db).values()) == {"completed"}


async def test_two_requests_that_share_a_job_get_a_file_each(
    db: Database, storage: Storage, stages: Stages
) -> None:
    """The same data subject made two requests, which share a job. Each request gets its own file."""
    same = submission("u1", "batch")
    plan(db, request("r-1", same, action=Action.ACCESS), request("r-2", same, action=Action.ACCESS))
    for _ in range(2):
        await stages.submit("batch")
    await stages.poll("batch")
    await stages.collect("batch")
    one, two = rows(db)
    assert (one["state"], two["state"]) == ("completed", "completed")
    assert content(storage, one) == content(storage, two)
    assert one["file_path"] != two["file_path"]
