"""The sandbox answers as the vendors' pages say, and goes wrong when told to."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from include.sandbox import Decision, Sandbox, SandboxSettings, decide, run_in_thread

ROOT = Path(__file__).parents[2]
DAY = 86_400
SECRET = "sandbox-secret"
BEARER = {"Authorization": f"Bearer {SECRET}"}
BATCH = {"X-Authorization": SECRET}
JSON_UTF8 = {"Content-Type": "application/json; charset=UTF-8"}


@dataclass
class Reply:
    status: int
    body: bytes
    headers: Any

    def json(self) -> Any:
        return json.loads(self.body)


async def call(url: str, method: str, path: str, body: Any = None, **options: Any) -> Reply:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    timeout = aiohttp.ClientTimeout(total=5)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method, url + path, data=data, allow_redirects=False, **options) as response,
    ):
        return Reply(response.status, await response.read(), response.headers)


async def besitos_create(url: str, verb: str, ids: list[str], partner: str = "CwI606dZ") -> Reply:
    path = f"/data/partner/{verb}/{partner}/users"
    return await call(url, "POST", path, {"user_ids": ids}, headers=BEARER)


async def besitos_status(url: str, request_id: str) -> Reply:
    return await call(url, "GET", f"/data/partner/gdpr/CwI606dZ/{request_id}", headers=BEARER)


def batch_body(value: str, request_type: str = "review", id_type: str = "custom_id") -> dict[str, Any]:
    return {"request_type": request_type, "id": {"type": id_type, "value": value}}


async def batch_create(url: str, body: Any, key: str = "ios") -> Reply:
    return await call(url, "POST", f"/1.0/{key}/gdpr/request", body, headers=BATCH)


async def batch_get(url: str, path: str, key: str = "ios") -> Reply:
    return await call(url, "GET", f"/1.0/{key}/gdpr/{path}", headers=BATCH)


async def id5_create(url: str, token: str = SECRET, partner: str = "173", **body: str) -> Reply:
    path = f"/partners/v1/{partner}/privacy/requests/deletion?token={token}"
    return await call(url, "POST", path, {"jurisdiction": "GDPR", **body}, headers=JSON_UTF8)


async def id5_status(url: str, job_id: str, method: str = "GET") -> Reply:
    return await call(url, method, f"/partners/v1/173/privacy/requests/{job_id}?token={SECRET}")


async def attentive_create(url: str, **body: str) -> Reply:
    return await call(url, "POST", "/v1/privacy/delete-request", body, headers=BEARER)


async def attentive_status(url: str, job_id: str) -> Reply:
    return await call(url, "GET", f"/v1/privacy/delete-request/{job_id}", headers=BEARER)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_in_thread() as running:
        yield running


# What is decided


def test_decisions_can_be_predicted() -> None:
    """A marker decides how a job ends, and the value alone how long it takes."""
    settings = SandboxSettings()
    assert decide("batch", "access", ["ada"]) == decide("batch", "access", ["ada"])
    assert settings.min_seconds <= (decide("batch", "access", ["ada"]).seconds or 0) <= settings.max_seconds
    assert decide("batch", "access", ["ada"]).seconds != decide("batch", "access", ["bob"]).seconds
    assert decide("id5", "erasure", ["UNKNOWN@example.com"]).outcome == "no_data"
    assert decide("attentive", "erasure", ["unknown@example.com"]).outcome == "completed"
    assert decide("attentive", "erasure", ["jobfails@example.com"]) == Decision("never", None)
    assert decide("besitos", "erasure", ["ada", "unknown"]).outcome == "completed"
    assert decide("besitos", "erasure", ["ada", "jobfails-2"]).outcome == "failed"
    assert decide("besitos", "access", ["ada", "refused"]) == Decision("refused", None)
    assert decide("batch", "access", ["slow-ada"]).seconds == settings.slow_seconds
    assert decide("batch", "access", ["ada"], SandboxSettings(slow_share=1)).seconds == settings.slow_seconds
    with pytest.raises(ValueError, match="id5 has no access"):
        decide("id5", "access", ["ada"])


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [("dead", "no_data"), ("fa11", "failed"), ("BAD0", "refused"), ("0000", "completed")],
)
def test_last_digits_decide_for_uuids_and_hashes(ending: str, outcome: str) -> None:
    """A value of hex digits only is marked by its last four."""
    for value in (f"580d2b4c-29a5-7a7b-85dc-44132c02{ending}", "a" * 60 + ending):
        assert decide("id5", "erasure", [value]).outcome == outcome
    assert decide("id5", "erasure", ["someone-dead"]).outcome == "completed"


# Besitos


@pytest.mark.asyncio
async def test_besitos_export(sandbox: Sandbox) -> None:
    """An export is pending, then holds a record per known user, holes for the others, in its own order."""
    ids = ["ada", "bob", "unknown-1", "carla", "dora"]
    created = (await besitos_create(sandbox.url, "export", ids)).json()
    assert created == {
        "success": True,
        "message": "Export request queued for processing",
        "request_id": created["request_id"],
        "status": "pending",
        "format": "json",
        "data": None,
    }
    pending = (await besitos_status(sandbox.url, created["request_id"])).json()
    assert pending["request"]["status"] == "pending" and pending["data"] is None
    assert pending["request"]["progress"]["pending"] == 5

    sandbox.advance(10)
    reply = await besitos_status(sandbox.url, created["request_id"])
    request, records = reply.json()["request"], reply.json()["data"]["data"]
    assert (request["status"], request["action"], request["partner_user_ids"]) == ("completed", "export", ids)
    assert request["progress"] == {"total": 5, "completed": 4, "failed": 1, "pending": 0, "percentage": 100}
    assert request["completed_at"].endswith(".000000Z") and request["expires_at"] > request["completed_at"]
    found = [record["partner_user_id"] for record in records if record]
    assert len(records) == 5 and sorted(found) == ["ada", "bob", "carla", "dora"]
    assert found != ["ada", "bob", "carla", "dora"]
    assert b'"amount": 1.10,' in reply.body and b'"balance": "0.00"' in reply.body
    assert not reply.body.isascii()

    sandbox.advance(7 * DAY)
    assert (await besitos_status(sandbox.url, created["request_id"])).json()["data"] is None


@pytest.mark.asyncio
async def test_besitos_delete(sandbox: Sandbox) -> None:
    """A delete names ids nobody submitted, and then says who was not found."""
    created = (await besitos_create(sandbox.url, "delete", ["ada", "unknown-1"])).json()
    assert not {"ada", "unknown-1"} & set(created["processed_user_ids"])
    sandbox.advance(10)
    done = (await besitos_status(sandbox.url, created["request_id"])).json()
    assert done["request"]["action"] == "delete" and done["request"]["expires_at"] is None
    summary = done["data"]["data"]["summary"]
    assert summary["found_partner_user_ids"] == ["ada"]
    assert summary["not_found_partner_user_ids"] == ["unknown-1"]
    assert summary["message"].endswith("Note: 1 partner user IDs were not found.")
    assert done["data"]["data"]["verification"]["total_processed"] == 1


@pytest.mark.asyncio
async def test_besitos_job_fails_as_a_whole(sandbox: Sandbox) -> None:
    """One user who cannot be processed fails everybody's job."""
    created = (await besitos_create(sandbox.url, "delete", ["ada", "jobfails-1"])).json()
    sandbox.advance(10)
    failed = (await besitos_status(sandbox.url, created["request_id"])).json()
    assert failed["success"] is False and "jobfails-1" in failed["request"]["error_message"]
    assert failed["data"] is None
    assert [subject.outcome for subject in sandbox.book()[0].subjects] == ["failed", "failed"]


@pytest.mark.asyncio
async def test_besitos_refuses(sandbox: Sandbox) -> None:
    """Bad credentials, bad bodies, one bad id and unknown jobs are refused, and nothing is taken."""
    path = "/data/partner/export/p/users"
    assert (await call(sandbox.url, "POST", path, {"user_ids": ["ada"]})).status == 401
    assert (await besitos_create(sandbox.url, "export", ["ada"], partner="wrong")).status == 403
    assert (await call(sandbox.url, "POST", path, b"{", headers=BEARER)).status == 400
    for ids in ([], ["ada", ""], ["ada", "refused-1"]):
        assert (await besitos_create(sandbox.url, "export", ids)).status == 422
    assert (await besitos_status(sandbox.url, str(uuid.uuid4()))).status == 404
    assert sandbox.book() == []


# Batch


@pytest.mark.asyncio
async def test_batch_review(sandbox: Sandbox) -> None:
    """A review ends in a zip of JSON and CSV, at an address that takes no credentials."""
    created = await batch_create(sandbox.url, batch_body("ada"))
    assert created.status == 202
    token = created.json()["token"]
    pending = (await batch_get(sandbox.url, f"request/{token}")).json()
    assert pending.pop("request_date").count("+") == 0
    assert pending == {
        "status": "pending",
        "request_type": "review",
        "trigger_type": "api",
        "id": {"type": "custom_id", "value": "ada"},
    }
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


@pytest.mark.asyncio
async def test_batch_says_in_error_what_became_of_a_user(sandbox: Sandbox) -> None:
    """``done`` may mean that nobody was found, or that it failed; a removal has no data."""
    shown = []
    for body in (batch_body("unknown-1"), batch_body("jobfails-1", "remove"), batch_body("ada", "remove")):
        token = (await batch_create(sandbox.url, body)).json()["token"]
        sandbox.advance(10)
        shown.append((await batch_get(sandbox.url, f"request/{token}")).json())
    assert [job["status"] for job in shown] == ["done"] * 3
    assert shown[0]["error"] == "user not found"
    assert "jobfails-1" in shown[1]["error"]
    assert "error" not in shown[2] and not any("data_url" in job for job in shown)


@pytest.mark.asyncio
async def test_batch_is_busy_with_a_user_it_is_processing(sandbox: Sandbox) -> None:
    """409 while the same id and type run in the same app, and the list route shows the running request."""
    assert (await batch_create(sandbox.url, batch_body("ada"))).status == 202
    assert (await batch_create(sandbox.url, batch_body("ada"))).status == 409
    assert (await batch_create(sandbox.url, batch_body("ada", "remove"))).status == 202
    assert (await batch_create(sandbox.url, batch_body("ada"), key="android")).status == 202
    sandbox.advance(10)
    assert (await batch_create(sandbox.url, batch_body("ada"))).status == 202

    busy = await batch_create(sandbox.url, batch_body("busy-1"))
    assert busy.status == 409 and "token" not in busy.json()
    running = (await batch_get(sandbox.url, "requests")).json()[-1]
    assert (running["id"]["value"], running["status"]) == ("busy-1", "pending")
    assert running["trigger_type"] == "dashboard"
    assert (await batch_get(sandbox.url, f"request/{running['request_id']}")).status == 200


@pytest.mark.asyncio
async def test_batch_that_takes_one_request_of_a_user_at_a_time() -> None:
    """Where it is set so, 409 speaks of a running request of either type."""
    with run_in_thread(SandboxSettings(batch_one_at_a_time=True)) as sandbox:
        assert (await batch_create(sandbox.url, batch_body("ada"))).status == 202
        assert (await batch_create(sandbox.url, batch_body("ada", "remove"))).status == 409
        assert (await batch_create(sandbox.url, batch_body("bob", "remove"))).status == 202
        sandbox.advance(10)
        assert (await batch_create(sandbox.url, batch_body("ada", "remove"))).status == 202


@pytest.mark.asyncio
async def test_batch_forgets_after_20_days(sandbox: Sandbox) -> None:
    """Requests that have ended disappear from both routes, those of another app were never there."""
    token = (await batch_create(sandbox.url, batch_body("ada"))).json()["token"]
    assert (await batch_get(sandbox.url, "requests", key="android")).json() == []
    assert (await batch_get(sandbox.url, f"request/{token}", key="android")).status == 404
    assert len((await batch_get(sandbox.url, "requests")).json()) == 1
    sandbox.advance(20 * DAY + 1)
    assert (await batch_get(sandbox.url, "requests")).json() == []
    gone = await batch_get(sandbox.url, f"request/{token}")
    assert (gone.status, gone.json()["code"]) == (404, 20)


@pytest.mark.asyncio
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
async def test_batch_refuses_bodies(sandbox: Sandbox, body: Any, code: int) -> None:
    """Each fault of a body has its documented error code."""
    reply = await batch_create(sandbox.url, body)
    assert (reply.status, reply.json()["code"]) == (400, code)
    assert sandbox.book() == []


@pytest.mark.asyncio
async def test_batch_refuses_credentials(sandbox: Sandbox) -> None:
    """Without the company's key, or at an unknown app, the answer is 401 with code 10."""
    absent = await call(sandbox.url, "GET", "/1.0/ios/gdpr/requests")
    unknown = await batch_create(sandbox.url, batch_body("ada"), key="wrong")
    assert [(r.status, r.json()["code"]) for r in (absent, unknown)] == [(401, 10), (401, 10)]


# ID5


@pytest.mark.asyncio
async def test_id5_deletion(sandbox: Sandbox) -> None:
    """A job goes from CREATED over STARTED to DONE, and its result is told apart from its status."""
    created = (await id5_create(sandbox.url, email="ada@example.com")).json()
    assert list(created) == ["id"]
    seconds = sandbox.book()[0].seconds or 0
    first = (await id5_status(sandbox.url, created["id"])).json()
    assert first == {
        "id": created["id"],
        "jobStatus": "CREATED",
        "processingResult": "NONE",
        "emailSentUnixTimestamp": None,
    }
    sandbox.advance(seconds * 0.6)
    assert (await id5_status(sandbox.url, created["id"], "POST")).json()["jobStatus"] == "STARTED"
    sandbox.advance(seconds)
    done = (await id5_status(sandbox.url, str(uuid.UUID(created["id"])))).json()
    assert (done["jobStatus"], done["processingResult"]) == ("DONE", "DELETE_DELETED")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "job_status", "result"),
    [
        ({"email": "unknown@example.com"}, "DONE", "DELETE_NO_DATA"),
        ({"email": "jobfails@example.com"}, "FAILED", "NONE"),
        ({"maid": "580d2b4c-29a5-7a7b-85dc-44132c02dead"}, "DONE", "DELETE_NO_DATA"),
        ({"id5id": "ID5*abc", "replyToEmail": "dpo@example.com"}, "SENT", "DELETE_DELETED"),
        ({"partnerUid": "ada", "replyToEmail": "bounces@example.com"}, "SEND_FAILED", "DELETE_DELETED"),
        ({"email": hashlib.sha256(b"ada@example.com").hexdigest()}, "DONE", "DELETE_DELETED"),
    ],
)
async def test_id5_results(sandbox: Sandbox, body: dict[str, str], job_status: str, result: str) -> None:
    """SENT and SEND_FAILED speak of the e-mail only, and just SENT has a time, in milliseconds."""
    created = (await id5_create(sandbox.url, **body)).json()
    sandbox.advance(10)
    done = (await id5_status(sandbox.url, created["id"])).json()
    assert (done["jobStatus"], done["processingResult"]) == (job_status, result)
    sent = done["emailSentUnixTimestamp"]
    assert sent is None if job_status != "SENT" else abs(sent / 1000 - time.time()) < 60


@pytest.mark.asyncio
async def test_id5_daily_limits() -> None:
    """One request a day per identifier and so many per partner, told as 403, until the next UTC day."""
    with run_in_thread(SandboxSettings(id5_daily_limit=2)) as sandbox:
        sandbox.advance(DAY - time.time() % DAY)  # So that midnight is not met on the way.
        assert (await id5_create(sandbox.url, email="ada@example.com")).status == 200
        again = await id5_create(sandbox.url, email="ada@example.com")
        assert again.status == 403
        assert again.json()["error"] == {
            "code": "api_rate_limit_error",
            "type": "rate_limit_error",
            "message": "Limit of 1 request daily allowed per email has been reached",
        }
        assert (await id5_create(sandbox.url, partnerUid="ada")).status == 200
        full = await id5_create(sandbox.url, id5id="ID5*ada")
        assert "Limit of 2 requests daily allowed per partner" in full.json()["error"]["message"]
        assert (await id5_create(sandbox.url, partner="174", email="ada@example.com")).status == 200
        sandbox.advance(DAY)
        assert (await id5_create(sandbox.url, email="ada@example.com")).status == 200


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"jurisdiction": ""}, "Missing required parameter 'jurisdiction'"),
        ({}, "Missing one of parameters: ['id5id', 'email', 'maid']"),
        ({"id5id": "abc"}, "Provided ID5ID [abc] is not a valid one"),
        ({"id5id": "ID5*refused"}, "Provided ID5ID [ID5*refused] cannot be decrypted"),
        ({"maid": "abc"}, "Provided maid [abc] is not a valid one"),
        ({"email": ""}, "Provided email [] is not a valid one"),
    ],
)
async def test_id5_refuses_bodies(sandbox: Sandbox, body: dict[str, str], message: str) -> None:
    """Each fault of a body has its documented message, which quotes the identifier."""
    reply = await id5_create(sandbox.url, **body)
    assert reply.status == 400
    assert reply.json()["error"] == {
        "code": "user_objects_invalid",
        "type": "validation_error",
        "message": message,
    }


@pytest.mark.asyncio
async def test_id5_refuses_calls(sandbox: Sandbox) -> None:
    """Token, partner, content type and job id each have an error of their own."""
    base = "/partners/v1/173/privacy/requests"
    plain = {"Content-Type": "application/json"}
    replies = [
        await id5_create(sandbox.url, token="", email="ada@example.com"),
        await id5_create(sandbox.url, token="other", email="ada@example.com"),
        await id5_create(sandbox.url, partner="wrong", email="ada@example.com"),
        await call(sandbox.url, "POST", f"{base}/deletion?token={SECRET}", {}, headers=plain),
        await call(sandbox.url, "POST", f"{base}/deletion?token={SECRET}", b"", headers=JSON_UTF8),
        await id5_status(sandbox.url, "not-a-uuid"),
        await id5_status(sandbox.url, uuid.uuid4().hex),
    ]
    assert [(reply.status, reply.json()["error"]["code"]) for reply in replies] == [
        (401, "api_token_invalid"),
        (403, "api_token_not_authorized"),
        (400, "partiner_id_invalid"),
        (400, "request_format_invalid"),
        (400, "request_format_invalid"),
        (400, "user_object_invalid"),
        (404, "user_objects_invalid"),
    ]
    assert sandbox.book() == []


# Attentive


@pytest.mark.asyncio
async def test_attentive_deletion(sandbox: Sandbox) -> None:
    """A creation answers with the record or its id alone; the status masks the subject."""
    shapes = set()
    for number in range(30):
        email, phone = f"ada{number}@example.com", "+15550105555"
        created = await attentive_create(
            sandbox.url, subjectEmail=email, subjectPhone=phone, requestMsg="r-1"
        )
        assert created.status == 200 and int(created.headers["x-ratelimit-remaining"]) < 150
        shapes.add(frozenset(created.json()))
    assert sorted(len(shape) for shape in shapes) == [1, 7]
    pending = (await attentive_status(sandbox.url, created.json()["id"])).json()
    assert pending["processed"] is False and "processingEndDateTime" not in pending
    sandbox.advance(10)
    done = (await attentive_status(sandbox.url, created.json()["id"])).json()
    assert done["processed"] is True and done["requestMsg"] == "r-1" and done["type"] == "DELETE"
    assert (done["subjectEmail"], done["subjectPhone"]) == ("a**@example.com", "+*****5555")
    assert done["processingEndDateTime"].endswith("+0000")


@pytest.mark.asyncio
async def test_attentive_never_says_that_it_failed(sandbox: Sandbox) -> None:
    """A job that fails just stays unprocessed."""
    created = (await attentive_create(sandbox.url, subjectEmail="jobfails@example.com")).json()
    sandbox.advance(60 * DAY)
    assert (await attentive_status(sandbox.url, created["id"])).json()["processed"] is False


@pytest.mark.asyncio
async def test_attentive_refuses(sandbox: Sandbox) -> None:
    """No subject, an empty one, a bad one, no token and an unknown job are refused."""
    for body in ({}, {"subjectEmail": "", "subjectPhone": "+15550105555"}, {"subjectEmail": "refused@a.io"}):
        assert (await attentive_create(sandbox.url, **body)).status == 400
    assert (await call(sandbox.url, "GET", "/v1/me")).status == 401
    assert (await call(sandbox.url, "GET", "/v1/me", headers=BEARER)).status == 200
    assert (await attentive_status(sandbox.url, "123abc")).status == 404
    assert sandbox.book() == []


# The sandbox itself


@pytest.mark.asyncio
async def test_book_and_calls(sandbox: Sandbox) -> None:
    """The book holds what was taken and the counts all that was tried."""
    await besitos_create(sandbox.url, "export", ["ada", "unknown-1"])
    await batch_create(sandbox.url, b"{")
    entry = (await call(sandbox.url, "GET", "/_sandbox/jobs")).json()[0]
    assert (entry["vendor"], entry["account"], entry["action"]) == ("besitos", "CwI606dZ", "access")
    assert [(s["kind"], s["value"], s["outcome"]) for s in entry["subjects"]] == [
        ("user_id", "ada", "completed"),
        ("user_id", "unknown-1", "no_data"),
    ]
    assert entry["job_id"] == sandbox.book()[0].job_id and entry["seconds"] > 0
    counts = {"besitos": {"create": 1}, "batch": {"create": 1}}
    assert (await call(sandbox.url, "GET", "/_sandbox/calls")).json() == counts == sandbox.calls()


@pytest.mark.asyncio
async def test_rate_limit() -> None:
    """More calls in a second than the limit meet 429."""
    with run_in_thread(SandboxSettings(rate_limit=2)) as sandbox:
        statuses = [(await call(sandbox.url, "GET", "/v1/me", headers=BEARER)).status for _ in range(6)]
    assert statuses[:2] == [200, 200] and 429 in statuses


@pytest.mark.asyncio
async def test_state_survives_a_kill(tmp_path: Path) -> None:
    """A new process opens the book where a killed one left it, half a line included."""
    state = tmp_path / "state" / "book.jsonl"
    with process(state) as (first, url):
        token = (await batch_create(url, batch_body("slow-ada"))).json()["token"]
        await call(url, "POST", "/_sandbox/clock", {"advance": 3590})
        first.kill()
    with state.open("a") as journal:
        journal.write('{"vendor": "bat')

    with process(state) as (second, url):
        assert (await batch_get(url, f"request/{token}")).json()["status"] == "pending"
        assert (await batch_create(url, batch_body("slow-ada"))).status == 409
        await call(url, "POST", "/_sandbox/clock", {"advance": 60})
        assert (await batch_get(url, f"request/{token}")).json()["status"] == "done"
        assert (await batch_create(url, batch_body("bob"))).status == 202
        second.send_signal(signal.SIGTERM)
        output, _ = second.communicate(timeout=5)
        assert (second.returncode, output) == (0, "")
    assert len(state.read_text().splitlines()) == 4


@contextmanager
def process(state: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "include.sandbox", "--port", "0", "--state", str(state)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            assert line.startswith("sandbox ready on http://127.0.0.1:")
            yield running, line.split()[-1]
        finally:
            running.kill()


# Faults


@pytest.mark.asyncio
async def test_fault_status(sandbox: Sandbox) -> None:
    """A status comes with the vendor's own body or a given one, so many times, on the named route only."""
    sandbox.inject("status", vendor="batch", account="ios", route="create", status=503, times=2)
    assert (await batch_get(sandbox.url, "requests")).status == 200
    assert (await batch_create(sandbox.url, batch_body("ada"), key="android")).status == 202
    for _ in range(2):
        reply = await batch_create(sandbox.url, batch_body("ada"))
        assert (reply.status, reply.json()["code"]) == (503, 2)
    assert (await batch_create(sandbox.url, batch_body("ada"))).status == 202

    fault = {"kind": "status", "status": 429, "body": "slow down", "headers": {"Retry-After": "7"}}
    assert (await call(sandbox.url, "POST", "/_sandbox/faults", {**fault, "times": None})).status == 204
    limited = await batch_get(sandbox.url, "requests")
    assert (limited.status, limited.body, limited.headers["Retry-After"]) == (429, b"slow down", "7")
    assert (await call(sandbox.url, "DELETE", "/_sandbox/faults")).status == 204
    assert (await batch_get(sandbox.url, "requests")).status == 200
    assert (await call(sandbox.url, "POST", "/_sandbox/faults", {"kind": "nonsense"})).status == 400


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "fields", "taken"),
    [
        ("reset_before", {}, 0),
        ("reset_after", {}, 1),
        ("hang", {"seconds": 0.1}, 0),
        ("hang", {"seconds": 0.1, "taken": True}, 1),
        ("truncated", {}, 1),
    ],
)
async def test_faults_without_a_whole_reply(
    sandbox: Sandbox, kind: str, fields: dict[str, Any], taken: int
) -> None:
    """The connection ends before the reply does, whether or not the call was taken."""
    sandbox.inject(kind, **fields)
    with pytest.raises(aiohttp.ClientError):
        await batch_create(sandbox.url, batch_body("ada"))
    assert len(sandbox.book()) == taken
    assert (await batch_create(sandbox.url, batch_body("bob"))).status == 202


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kind", "fields", "status", "body", "taken"),
    [
        ("empty", {}, 200, b"", 1),
        ("body", {"body": '{"ok": tru'}, 200, b'{"ok": tru', 1),
        ("oversize", {"bytes": 200_000}, 200, b"x" * 200_000, 1),
        ("redirect", {"location": "https://elsewhere.example/"}, 302, b"", 0),
    ],
)
async def test_faults_with_another_reply(
    sandbox: Sandbox, kind: str, fields: dict[str, Any], status: int, body: bytes, taken: int
) -> None:
    """The vendor's reply is replaced by another."""
    sandbox.inject(kind, **fields)
    reply = await batch_create(sandbox.url, batch_body("ada"))
    assert (reply.status, reply.body, len(sandbox.book())) == (status, body, taken)
    assert reply.headers.get("Location") == fields.get("location")


@pytest.mark.asyncio
async def test_fault_html_and_slow_drip(sandbox: Sandbox) -> None:
    """A web page says 200, and a reply that drips is whole in the end."""
    sandbox.inject("html")
    page = await batch_create(sandbox.url, batch_body("ada"))
    assert page.headers["Content-Type"].startswith("text/html") and sandbox.book() == []
    sandbox.inject("slow_drip", seconds=0.4)
    began = time.monotonic()
    dripped = await batch_create(sandbox.url, batch_body("ada"))
    assert dripped.status == 202 and dripped.json()["token"] == sandbox.book()[0].job_id
    assert time.monotonic() - began > 0.3
