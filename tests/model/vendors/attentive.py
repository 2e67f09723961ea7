"""Attentive: a job that fails never ends."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from tests.model.faults import Answer
from tests.model.jobs import Job
from tests.model.vendors.api import Api


class Attentive(Api):
    unknown_job: ClassVar = {"message": "not found"}
    refusals = ((400, {"message": "invalid"}),)

    def keys(self, body: Any) -> list[str]:
        return ["|".join(body[name] for name in ("subjectEmail", "subjectPhone") if name in body)]

    def has_no_data_outcome(self, job: Job) -> bool:
        return False

    def create(self, account: str, path: list[str], body: Any, **job: bool) -> Answer:
        if refused := self.refuse(account, body):
            return refused
        taken = self.world.take(account, "erasure", self.keys(body), **job)
        if taken.failed:  # Attentive has no failed state: such a job never ends
            taken.ends_at = datetime.max.replace(tzinfo=taken.taken_at.tzinfo)
        return Answer.json(200, {"id": taken.id})

    def status(self, job: Job, lie: str | None) -> Answer:
        if lie == "other_job":
            return Answer.json(200, {"id": "another", "processed": True})
        if lie == "contradicts":
            untrue: list[dict[str, Any]] = [
                {"processed": True, "processingEndDateTime": None},
                {"processed": True, "type": "OTHER"},
                {"processed": "true"},
            ]
            return Answer.json(200, {"id": job.id, **untrue[self.variant(job, 3)]})
        processed = self.outcome(job, job.keys[0], lie) is not None
        return Answer.json(200, {"id": job.id, "processed": processed})
