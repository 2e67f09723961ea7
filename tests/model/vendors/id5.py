"""ID5: one call a day for each identifier."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.model.faults import Answer
from tests.model.jobs import Job
from tests.model.vendors.api import Api

LIMIT = 5  # calls per day, more than the account's own setting


class Id5(Api):
    unknown_job: ClassVar = {"error": {"code": "user_objects_invalid"}}
    refusals = (
        (400, {"error": {"code": "user_object_invalid"}}),
        (400, {"error": {"code": "request_format_invalid"}}),
    )

    def keys(self, body: Any) -> list[str]:
        return [body["email"]]

    def create(self, account: str, path: list[str], body: Any, **job: bool) -> Answer:
        (key,), now = self.keys(body), self.world.clock()
        jobs = [other for other in self.world.jobs.values() if other.account == account]
        today = [other for other in jobs if other.taken_at.date() == now.date()]
        error = {"code": "api_rate_limit_error"}
        if any(key in other.keys for other in today):
            error["message"] = "Limit of 1 request daily allowed per email has been reached"
            return Answer.json(403, {"error": error})
        if len(today) >= LIMIT:
            error["message"] = "Limit of 3000 request daily allowed per partner has been reached"
            return Answer.json(403, {"error": error})
        if refused := self.refuse(account, body):
            return refused
        return Answer.json(200, {"id": self.world.take(account, "erasure", [key], **job).id})

    def status(self, job: Job, lie: str | None) -> Answer:
        if lie == "other_job":
            return Answer.json(200, {"id": "a", "jobStatus": "DONE", "processingResult": "DELETE_DELETED"})
        if lie == "contradicts":
            shown = [("DONE", "NONE"), ("FAILED", "DELETE_DELETED"), ("CANCELLED", "DELETE_NO_DATA")]
        else:
            shown = [
                {
                    None: ("STARTED", "NONE"),
                    "failed": ("FAILED", "NONE"),
                    "no_data": ("SENT", "DELETE_NO_DATA"),
                    "completed": ("SEND_FAILED", "DELETE_DELETED"),
                }[self.outcome(job, job.keys[0], lie)]
            ]
        status, result = shown[self.variant(job, len(shown))]
        return Answer.json(200, {"id": job.id, "jobStatus": status, "processingResult": result})
