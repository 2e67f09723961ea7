"""The simulated Besitos behaves as documented."""

from __future__ import annotations

import json
import uuid

from include.sandbox import Sandbox
from tests.integration.sandbox.calls import BEARER, DAY, Reply, call, fields
from tests.unit.vendors.test_besitos import DELETE_CREATED, DELETE_STATUS, EXPORT_CREATED


async def create(url: str, verb: str, ids: list[str], partner: str = "CwI606dZ") -> Reply:
    path = f"/data/partner/{verb}/{partner}/users"
    return await call(url, "POST", path, {"user_ids": ids}, headers=BEARER)


async def status(url: str, request_id: str) -> Reply:
    return await call(url, "GET", f"/data/partner/gdpr/CwI606dZ/{request_id}", headers=BEARER)


async def test_export(sandbox: Sandbox) -> None:
    """A completed export has a record for each known user and null for each unknown user. Their order
    differs from the order in the call.
    """
    ids = ["ada", "bob", "unknown-1", "carla", "dora"]
    created = (await create(sandbox.url, "export", ids)).json()
    assert created == {**json.loads(EXPORT_CREATED), "request_id": created["request_id"]}
    pending = (await status(sandbox.url, created["request_id"])).json()
    assert pending["request"]["status"] == "pending" and pending["data"] is None
    assert pending["request"]["progress"]["pending"] == 5

    sandbox.advance(10)
    reply = await status(sandbox.url, created["request_id"])
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
    assert (await status(sandbox.url, created["request_id"])).json()["data"] is None


async def test_delete(sandbox: Sandbox) -> None:
    """The first reply to a delete lists ids that nobody submitted. The final reply lists unknown users."""
    created = (await create(sandbox.url, "delete", ["ada", "unknown-1"])).json()
    assert fields(created) == fields(json.loads(DELETE_CREATED))
    assert not {"ada", "unknown-1"} & set(created["processed_user_ids"])
    sandbox.advance(10)
    done = (await status(sandbox.url, created["request_id"])).json()
    assert fields(done) == fields(json.loads(DELETE_STATUS))
    assert done["request"]["action"] == "delete" and done["request"]["expires_at"] is None
    summary = done["data"]["data"]["summary"]
    assert summary["found_partner_user_ids"] == ["ada"]
    assert summary["not_found_partner_user_ids"] == ["unknown-1"]
    assert summary["message"].endswith("Note: 1 partner user IDs were not found.")
    assert done["data"]["data"]["verification"]["total_processed"] == 1


async def test_one_failing_user_fails_the_whole_job(sandbox: Sandbox) -> None:
    """A failed job names one user, has no data and fails for all its users."""
    created = (await create(sandbox.url, "delete", ["ada", "jobfails-1"])).json()
    sandbox.advance(10)
    failed = (await status(sandbox.url, created["request_id"])).json()
    assert failed["success"] is False and "jobfails-1" in failed["request"]["error_message"]
    assert failed["data"] is None
    assert [subject.outcome for subject in sandbox.jobs()[0].subjects] == ["failed", "failed"]


async def test_invalid_calls_create_no_job(sandbox: Sandbox) -> None:
    """Wrong credentials, invalid bodies, an invalid id and unknown jobs give a 4xx."""
    path = "/data/partner/export/p/users"
    assert (await call(sandbox.url, "POST", path, {"user_ids": ["ada"]})).status == 401
    assert (await create(sandbox.url, "export", ["ada"], partner="wrong")).status == 403
    assert (await call(sandbox.url, "POST", path, b"{", headers=BEARER)).status == 400
    for ids in ([], ["ada", ""], ["ada", "refused-1"]):
        assert (await create(sandbox.url, "export", ids)).status == 422
    assert (await status(sandbox.url, str(uuid.uuid4()))).status == 404
    assert sandbox.jobs() == []
