"""The simulated Batch behaves as documented."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from typing import Any

import pytest

from include.sandbox import Sandbox, SandboxSettings, run_in_thread
from tests.integration.sandbox.calls import BATCH, DAY, batch_body, batch_create, batch_get, call, fields
from tests.unit.vendors.test_batch import LISTING


async def test_review(sandbox: Sandbox) -> None:
    """A review gives a zip of JSON and CSV, at a URL that rejects credentials."""
    created = await batch_create(sandbox.url, batch_body("ada"))
    assert created.status == 202
    token = created.json()["token"]
    pending = (await batch_get(sandbox.url, f"request/{token}")).json()
    assert (pending["status"], pending["id"]) == ("pending", {"type": "custom_id", "value": "ada"})
    sandbox.advance(10)
    done = (await batch_get(sandbox.url, f"request/{token}")).json()
    path = done["data_url"].removeprefix(sandbox.url)
    assert token not in path and "error" not in done
    assert (await call(sandbox.url, "GET", path, headers=BATCH)).status == 400
    zipped = await call(sandbox.url, "GET", path)
    assert zipped.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(zipped.body)) as archive:
        assert {"profile.json", "installs.json", "events.csv"} < set(archive.namelist())
        assert json.loads(archive.read("profile.json"))["custom_id"] == "ada"
        assert "=HYPERLINK" in archive.read("events.csv").decode()
        assert "<img" in archive.read("profile.json").decode()
    assert (await call(sandbox.url, "GET", f"/batch-data/{uuid.uuid4().hex}.zip")).status == 404


async def test_the_field_error_says_how_a_finished_request_failed(sandbox: Sandbox) -> None:
    """The status ``done`` can mean not found or failed. A removal has no data."""
    shown = []
    for body in (batch_body("unknown-1"), batch_body("jobfails-1", "remove"), batch_body("ada", "remove")):
        token = (await batch_create(sandbox.url, body)).json()["token"]
        sandbox.advance(10)
        shown.append((await batch_get(sandbox.url, f"request/{token}")).json())
    assert [job["status"] for job in shown] == ["done"] * 3
    assert shown[0]["error"] == "user not found"
    assert "jobfails-1" in shown[1]["error"]
    assert "error" not in shown[2] and not any("data_url" in job for job in shown)


async def test_a_running_request_of_the_same_type_gives_409(sandbox: Sandbox) -> None:
    """The 409 applies only to the same id in the same app. The list route shows the running request."""
    assert (await batch_create(sandbox.url, batch_body("ada"))).status == 202
    assert (await batch_create(sandbox.url, batch_body("ada"))).status == 409
    assert (await batch_create(sandbox.url, batch_body("ada", "remove"))).status == 202
    assert (await batch_create(sandbox.url, batch_body("ada"), key="android")).status == 202
    sandbox.advance(10)
    assert (await batch_create(sandbox.url, batch_body("ada"))).status == 202

    busy = await batch_create(sandbox.url, batch_body("busy-1"))
    assert busy.status == 409 and "token" not in busy.json()
    running = (await batch_get(sandbox.url, "requests")).json()[-1]
    assert fields(running) == fields(json.loads(LISTING)[1])
    assert (running["id"]["value"], running["status"]) == ("busy-1", "pending")
    assert running["trigger_type"] == "dashboard"
    assert (await batch_get(sandbox.url, f"request/{running['request_id']}")).status == 200


async def test_a_setting_extends_409_to_requests_of_any_type() -> None:
    """With ``batch_one_at_a_time``, a review blocks a removal."""
    with run_in_thread(SandboxSettings(batch_one_at_a_time=True)) as sandbox:
        assert (await batch_create(sandbox.url, batch_body("ada"))).status == 202
        assert (await batch_create(sandbox.url, batch_body("ada", "remove"))).status == 409
        assert (await batch_create(sandbox.url, batch_body("bob", "remove"))).status == 202
        sandbox.advance(10)
        assert (await batch_create(sandbox.url, batch_body("ada", "remove"))).status == 202


async def test_finished_requests_expire_after_20_days(sandbox: Sandbox) -> None:
    """Both routes forget expired requests. Requests of another app are never visible."""
    token = (await batch_create(sandbox.url, batch_body("ada"))).json()["token"]
    assert (await batch_get(sandbox.url, "requests", key="android")).json() == []
    assert (await batch_get(sandbox.url, f"request/{token}", key="android")).status == 404
    assert len((await batch_get(sandbox.url, "requests")).json()) == 1
    sandbox.advance(20 * DAY + 1)
    assert (await batch_get(sandbox.url, "requests")).json() == []
    gone = await batch_get(sandbox.url, f"request/{token}")
    assert (gone.status, gone.json()["code"]) == (404, 21)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", 32),
        ({"request_type": "review"}, 30),
        ({"request_type": "review", "id": {"type": "custom_id"}}, 30),
        (batch_body("ada", "export"), 31),
        (batch_body("ada", id_type="email"), 31),
        (batch_body(""), 31),
        (batch_body("refused-1"), 31),
        ({**batch_body("ada"), "callback_url": "http://insecure.example"}, 31),
    ],
)
async def test_invalid_bodies_give_400(sandbox: Sandbox, body: Any, code: int) -> None:
    """Each problem has its documented error code, and no job is created."""
    reply = await batch_create(sandbox.url, body)
    assert (reply.status, reply.json()["code"]) == (400, code)
    assert sandbox.jobs() == []


async def test_wrong_credentials_give_401(sandbox: Sandbox) -> None:
    """A missing key and an unknown app both give code 10."""
    absent = await call(sandbox.url, "GET", "/1.0/ios/gdpr/requests")
    unknown = await batch_create(sandbox.url, batch_body("ada"), key="wrong")
    assert [(r.status, r.json()["code"]) for r in (absent, unknown)] == [(401, 10), (401, 10)]
