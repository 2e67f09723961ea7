"""OpenDSR: the client chooses the id of a job, and replies are signed."""

from __future__ import annotations

import base64
import json
from typing import Any, ClassVar

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from include.sandbox.vendors.opendsr import DOMAIN, OTHER_KEY, PROCESSOR_KEY
from tests.model.faults import Answer
from tests.model.jobs import Job
from tests.model.vendors.api import RESULTS, Api


class OpenDsr(Api):
    unknown_job: ClassVar = {"error": {"code": 404, "message": "Subject request not found"}}
    refusals = ((400, {"error": {"code": 400, "message": "the identity is not valid"}}),)

    def keys(self, body: Any) -> list[str]:
        given = {one["identity_type"]: one["identity_value"] for one in body["subject_identities"]}
        return ["|".join(given[name] for name in ("email", "controller_customer_id") if name in given)]

    def has_no_data_outcome(self, job: Job) -> bool:
        return job.action == "access"  # the protocol has no such outcome for an erasure

    def create(self, account: str, path: list[str], body: Any, **job: bool) -> Answer:
        (key,), job_id, world = self.keys(body), body["subject_request_id"], self.world
        there = world.jobs_of(account, is_foreign=job["is_foreign"])
        if any(other.id == job_id and not other.forgotten for other in world.jobs.values()):
            return Answer.json(400, {"error": {"message": "Subject request already exists."}})
        if any(
            set(key.split("|")) & set(other.keys[0].split("|")) and other.ends_at > world.clock()
            for other in there
        ):
            return Answer.json(409, {"error": {"message": "in progress with the same identities"}})
        if refused := self.refuse(account, body):
            return refused
        taken = world.take(account, body["subject_request_type"], [key], job_id=job_id, **job)
        return _signed({"subject_request_id": taken.id}, 201)

    def status(self, job: Job, lie: str | None) -> Answer:
        shown: dict[str, Any] = {"subject_request_id": job.id, "request_status": "in_progress"}
        done = {"request_status": "completed", "results_url": f"{RESULTS}/{job.keys[0]}", "results_count": 1}
        if lie == "other_job":
            return _signed({**done, "subject_request_id": "another"}, 200)
        if lie == "contradicts":
            match self.variant(job, 3):
                case 0:
                    return _signed({**shown, **done}, 200, OTHER_KEY)
                case 1:
                    return Answer.json(200, {**shown, **done})
            shown |= {"request_status": "completed"} if job.action == "access" else {"request_status": "?"}
            return _signed(shown, 200)
        match self.outcome(job, job.keys[0], lie):
            case "failed":
                shown |= {"request_status": "cancelled"}
            case "no_data":
                shown |= {"request_status": "completed", "results_url": None, "results_count": 0}
            case "completed":
                shown |= done if job.action == "access" else {"request_status": "completed"}
        return _signed(shown, 200)


def _signed(document: dict[str, Any], status: int, key: ec.EllipticCurvePrivateKey = PROCESSOR_KEY) -> Answer:
    body = json.dumps(document).encode()
    signature = base64.b64encode(key.sign(body, ec.ECDSA(hashes.SHA256()))).decode()
    headers = {"X-OpenDSR-Processor-Domain": DOMAIN, "X-OpenDSR-Signature": signature}
    return Answer(status, body, headers)
