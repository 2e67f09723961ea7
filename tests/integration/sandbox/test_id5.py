"""The simulated ID5 behaves as documented."""

from __future__ import annotations

import hashlib
import time
import uuid

import pytest

from include.sandbox import Sandbox, SandboxSettings, run_in_thread
from tests.integration.sandbox.calls import DAY, SECRET, Reply, call

JSON_UTF8 = {"Content-Type": "application/json; charset=UTF-8"}


async def create(url: str, token: str = SECRET, partner: str = "173", **body: str) -> Reply:
    path = f"/partners/v1/{partner}/privacy/requests/deletion?token={token}"
    return await call(url, "POST", path, {"jurisdiction": "GDPR", **body}, headers=JSON_UTF8)


async def status(url: str, job_id: str, method: str = "GET") -> Reply:
    return await call(url, method, f"/partners/v1/173/privacy/requests/{job_id}?token={SECRET}")


async def test_deletion(sandbox: Sandbox) -> None:
    """A job goes from CREATED to STARTED to DONE. The result is a separate field."""
    created = (await create(sandbox.url, email="ada@example.com")).json()
    assert list(created) == ["id"]
    seconds = sandbox.jobs()[0].seconds or 0
    first = (await status(sandbox.url, created["id"])).json()
    assert (first["id"], first["jobStatus"], first["processingResult"]) == (created["id"], "CREATED", "NONE")
    sandbox.advance(seconds * 0.6)
    assert (await status(sandbox.url, created["id"], "POST")).json()["jobStatus"] == "STARTED"
    sandbox.advance(seconds)
    done = (await status(sandbox.url, str(uuid.UUID(created["id"])))).json()
    assert (done["jobStatus"], done["processingResult"]) == ("DONE", "DELETE_DELETED")


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
async def test_final_statuses(sandbox: Sandbox, body: dict[str, str], job_status: str, result: str) -> None:
    """SENT and SEND_FAILED are about the reply e-mail. Only SENT has a time, in milliseconds."""
    created = (await create(sandbox.url, **body)).json()
    sandbox.advance(10)
    done = (await status(sandbox.url, created["id"])).json()
    assert (done["jobStatus"], done["processingResult"]) == (job_status, result)
    sent = done["emailSentUnixTimestamp"]
    assert sent is None if job_status != "SENT" else abs(sent / 1000 - time.time()) < 60


async def test_daily_limits() -> None:
    """An identifier or a partner over its limit gets 403 until the next UTC day."""
    with run_in_thread(SandboxSettings(id5_daily_limit=2)) as sandbox:
        sandbox.advance(DAY - time.time() % DAY)  # start at midnight, so that the test stays within a day
        assert (await create(sandbox.url, email="ada@example.com")).status == 200
        again = await create(sandbox.url, email="ada@example.com")
        assert again.status == 403
        assert again.json()["error"] == {
            "code": "api_rate_limit_error",
            "type": "rate_limit_error",
            "message": "Limit of 1 request daily allowed per email has been reached",
        }
        assert (await create(sandbox.url, partnerUid="ada")).status == 200
        full = await create(sandbox.url, id5id="ID5*ada")
        assert "Limit of 2 requests daily allowed per partner" in full.json()["error"]["message"]
        assert (await create(sandbox.url, partner="174", email="ada@example.com")).status == 200
        sandbox.advance(DAY)
        assert (await create(sandbox.url, email="ada@example.com")).status == 200


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
async def test_invalid_bodies_give_400(sandbox: Sandbox, body: dict[str, str], message: str) -> None:
    """Each problem has its documented message, which quotes the identifier."""
    reply = await create(sandbox.url, **body)
    assert reply.status == 400
    assert reply.json()["error"] == {
        "code": "user_objects_invalid",
        "type": "validation_error",
        "message": message,
    }


async def test_invalid_calls_create_no_job(sandbox: Sandbox) -> None:
    """Token, partner, content type and job id each have their own error code."""
    base = "/partners/v1/173/privacy/requests"
    plain = {"Content-Type": "application/json"}
    replies = [
        await create(sandbox.url, token="", email="ada@example.com"),
        await create(sandbox.url, token="other", email="ada@example.com"),
        await create(sandbox.url, partner="wrong", email="ada@example.com"),
        await call(sandbox.url, "POST", f"{base}/deletion?token={SECRET}", {}, headers=plain),
        await call(sandbox.url, "POST", f"{base}/deletion?token={SECRET}", b"", headers=JSON_UTF8),
        await status(sandbox.url, "not-a-uuid"),
        await status(sandbox.url, uuid.uuid4().hex),
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
    assert sandbox.jobs() == []
