"""Batch: one job per user, a list of jobs, and results to download."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.model.faults import Answer
from tests.model.jobs import Job
from tests.model.vendors.api import RESULTS, Api


class Batch(Api):
    unknown_job: ClassVar = {"code": 21}
    refusals = ((400, {"code": 31}), (400, {"code": 32}), (400, {"code": 30}))

    def keys(self, body: Any) -> list[str]:
        return [body["id"]["value"]]

    def create(self, account: str, path: list[str], body: Any, **job: bool) -> Answer:
        (key,) = self.keys(body)
        action = {"review": "access", "remove": "erasure"}[body["request_type"]]
        if refused := self.refuse(account, body):
            return refused
        any_action = account == "batch_android"  # the documentation does not say whether the action matters
        if any(
            other.keys == (key,)
            and (any_action or other.action == action)
            and other.ends_at > self.world.clock()
            for other in self.world.jobs_of(account, is_foreign=job["is_foreign"])
        ):
            return Answer.json(409, {})
        return Answer.json(202, {"token": self.world.take(account, action, [key], **job).id})

    def list(self, jobs: list[Job], lie: str | None) -> Answer:
        entries = [self._entry(job, None) for job in jobs]
        if lie != "other_list":
            return Answer.json(200, entries)
        match len(self.world.jobs) % 4:
            case 0:
                return Answer.json(200, {"requests": entries})
            case 1:
                return Answer(200, b"[]", {"Link": '</requests?page=2>; rel="next"'})
            case 2:
                return Answer.json(200, [{"requestId": entry["request_id"]} for entry in entries] or [{}])
        return Answer.json(200, None)

    def status(self, job: Job, lie: str | None) -> Answer:
        entry = self._entry(job, lie)
        if lie == "other_job":
            done = {"data_url": f"{RESULTS}/{job.keys[0]}"} if job.action == "access" else {}
            entry |= {"status": "done", "request_id": "another", **done}
        if lie == "contradicts":
            entry |= {"status": "done", **self._denial(job)}
        return Answer.json(200, entry)

    def _denial(self, job: Job) -> dict[str, Any]:
        url = {"data_url": f"{RESULTS}/{job.keys[0]}"}
        match self.variant(job, 4):
            case 0:
                return {"error": "user not found", **url}
            case 1:
                return {"id": {"type": "custom_id", "value": "another"}, **url}
            case 2:
                return {"request_type": {"access": "remove", "erasure": "review"}[job.action]}
        return {"data_url": ""} if job.action == "access" else url

    def _entry(self, job: Job, lie: str | None) -> dict[str, Any]:
        return {
            "request_id": job.id,
            "request_date": job.taken_at.replace(tzinfo=None).isoformat(),
            "request_type": {"access": "review", "erasure": "remove"}[job.action],
            "id": {"type": "custom_id", "value": job.keys[0]},
            **self._end(job, lie),
        }

    def _end(self, job: Job, lie: str | None) -> dict[str, Any]:
        match self.outcome(job, job.keys[0], lie):
            case None:
                return {"status": "pending"}
            case "failed":
                return {"status": "done", "error": "internal"}
            case "no_data":
                return {"status": "done", "error": "user not found"}
        url = {"data_url": f"{RESULTS}/{job.keys[0]}"} if job.action == "access" else {}
        return {"status": "done", **url}
