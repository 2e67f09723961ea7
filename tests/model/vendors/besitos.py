"""Besitos: many users in one job, and exports that may be empty."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tests.model.faults import Answer
from tests.model.jobs import Job
from tests.model.vendors.api import Api


class Besitos(Api):
    unknown_job: ClassVar = {"success": False}
    refusals = ((400, {"success": False}), (200, {"success": False}))

    def keys(self, body: Any) -> list[str]:
        return list(body["user_ids"])

    def create(self, account: str, path: list[str], body: Any, **job: bool) -> Answer:
        keys = self.keys(body)
        assert 0 < len(keys) == len(set(keys)) <= 3
        if refused := self.refuse(account, body):
            return refused
        taken = self.world.take(account, {"export": "access", "delete": "erasure"}[path[3]], keys, **job)
        return Answer.json(200, {"success": True, "request_id": taken.id, "status": "pending"})

    def status(self, job: Job, lie: str | None) -> Answer:
        if lie in ("contradicts", "other_job"):
            return self._untrue(job, lie)
        outcomes = {key: self.outcome(job, key, lie) for key in job.keys}
        request: dict[str, Any] = {"id": job.id, "status": "pending", "error_message": None}
        request["partner_user_ids"] = job.keys
        if None in outcomes.values():
            return Answer.json(200, {"success": True, "request": request, "data": None})
        if "failed" in outcomes.values():
            request |= {"status": "failed", "error_message": "one of them could not be processed"}
            return Answer.json(200, {"success": True, "request": request, "data": None})
        request["status"] = "completed"
        found = [key for key in job.keys if outcomes[key] == "completed"]
        missing = [key for key in job.keys if outcomes[key] == "no_data"]
        request["progress"] = {"completed": len(found), "failed": len(missing), "pending": 0}
        return self._completed(job, request, found, missing, {})

    def _completed(
        self, job: Job, request: Any, found: list[str], missing: list[str], summary: dict[str, Any]
    ) -> Answer:
        head = json.dumps({"success": True, "request": request})[:-1]
        if job.action == "access":  # in another order, and null for unknown users
            data = [self.world.data("besitos", key) for key in reversed(found)] + [b"null"] * len(missing)
            return Answer(200, head.encode() + b', "data": {"data": [' + b", ".join(data) + b"]}}")
        summary = {"found_partner_user_ids": found, "not_found_partner_user_ids": missing} | summary
        return Answer(200, f'{head}, "data": {json.dumps({"data": {"summary": summary}})}}}'.encode())

    def _untrue(self, job: Job, lie: str) -> Answer:
        keys, variant = list(job.keys), self.variant(job, 14)
        claimed = (keys, []) if variant % 2 else ([], keys)
        request = {"id": job.id, "status": "completed", "error_message": None, "partner_user_ids": keys}
        request["progress"] = {"completed": len(claimed[0]), "failed": len(claimed[1]), "pending": 0}
        if lie == "other_job":
            return self._completed(job, request | {"id": "another"}, *claimed, {})
        nothing_failed = {"completed": len(keys), "failed": 0, "pending": 0}
        match variant // 2:
            case 0 if job.action == "erasure":
                return self._completed(job, request, *claimed, {"success": False})
            case 1 if job.action == "erasure":
                return self._completed(
                    job, request | {"progress": nothing_failed}, keys, [], {"processed_count": 0}
                )
            case 2 if job.action == "erasure":
                return self._completed(job, request, keys, keys, {})
            case 0:  # an empty export
                return self._completed(job, request | {"progress": nothing_failed}, [], [], {})
            case 1:  # nobody failed, and nobody has a record
                return self._completed(job, request | {"progress": nothing_failed}, [], keys, {})
            case 2:
                return Answer.json(200, {"success": True, "request": request, "data": None})
            case 3:
                progress = {**request["progress"], "pending": 1}  # type: ignore[dict-item]
                return self._completed(job, request | {"progress": progress}, *claimed, {})
            case 4:
                return self._completed(job, request | {"completed_at": None}, *claimed, {})
            case 5:
                action = {"access": "delete", "erasure": "export"}[job.action]
                return self._completed(job, request | {"action": action}, *claimed, {})
        empty = request | {"progress": None, "partner_user_ids": ["another"]}
        return self._completed(job, empty, *claimed, {})
