"""The simulated Attentive behaves as documented."""

from __future__ import annotations

import json

from include.sandbox import Sandbox
from tests.integration.sandbox.calls import BEARER, DAY, Reply, call, fields
from tests.unit.vendors.test_attentive import PROCESSED


async def create(url: str, **body: str) -> Reply:
    return await call(url, "POST", "/v1/privacy/delete-request", body, headers=BEARER)


async def status(url: str, job_id: str) -> Reply:
    return await call(url, "GET", f"/v1/privacy/delete-request/{job_id}", headers=BEARER)


async def test_deletion(sandbox: Sandbox) -> None:
    """A create call returns the record or only its id. The status masks the data subject."""
    shapes = set()
    for number in range(30):
        email, phone = f"ada{number}@example.com", "+15550105555"
        created = await create(sandbox.url, subjectEmail=email, subjectPhone=phone, requestMsg="r-1")
        assert created.status == 200 and int(created.headers["x-ratelimit-remaining"]) < 150
        shapes.add(frozenset(created.json()))
    assert sorted(len(shape) for shape in shapes) == [1, 7]
    pending = (await status(sandbox.url, created.json()["id"])).json()
    assert pending["processed"] is False and "processingEndDateTime" not in pending
    sandbox.advance(10)
    done = (await status(sandbox.url, created.json()["id"])).json()
    assert fields(done) == fields(json.loads(PROCESSED))
    assert done["processed"] is True and done["requestMsg"] == "r-1" and done["type"] == "DELETE"
    assert (done["subjectEmail"], done["subjectPhone"]) == ("a**@example.com", "+*****5555")
    assert done["processingEndDateTime"].endswith("+0000")


async def test_a_failing_job_stays_unprocessed(sandbox: Sandbox) -> None:
    """The job stays unprocessed because Attentive has no failed state."""
    created = (await create(sandbox.url, subjectEmail="jobfails@example.com")).json()
    sandbox.advance(60 * DAY)
    assert (await status(sandbox.url, created["id"])).json()["processed"] is False


async def test_invalid_calls_create_no_job(sandbox: Sandbox) -> None:
    """A missing, empty or invalid subject, a missing token and an unknown job give a 4xx."""
    for body in ({}, {"subjectEmail": "", "subjectPhone": "+15550105555"}, {"subjectEmail": "refused@a.io"}):
        assert (await create(sandbox.url, **body)).status == 400
    assert (await call(sandbox.url, "GET", "/v1/me")).status == 401
    assert (await call(sandbox.url, "GET", "/v1/me", headers=BEARER)).status == 200
    assert (await status(sandbox.url, "123abc")).status == 404
    assert sandbox.jobs() == []
