"""The part that all simulated vendors share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from tests.model.data_subjects import fate
from tests.model.faults import Answer
from tests.model.jobs import Job

if TYPE_CHECKING:
    from tests.model.vendor_world import World

RESULTS = "https://results.example.com"


class Api(ABC):
    """A vendor's API. `lie` is the lie that a call gets, or None."""

    unknown_job: ClassVar[dict[str, Any]]  # the body of a 404
    refusals: ClassVar[tuple[tuple[int, dict[str, Any]], ...]]  # of the first: one data subject

    def __init__(self, world: World) -> None:
        self.world = world

    @abstractmethod
    def keys(self, body: Any) -> list[str]: ...

    @abstractmethod
    def create(self, account: str, path: list[str], body: Any, **job: bool) -> Answer: ...

    @abstractmethod
    def status(self, job: Job, lie: str | None) -> Answer: ...

    def has_no_data_outcome(self, job: Job) -> bool:
        return True

    def refuse(self, account: str, body: Any, lie: str | None = None) -> Answer | None:
        """Returns a refusal if the vendor refuses a data subject of this call, or if the vendor lies.
        Otherwise None.
        """
        keys, world = self.keys(body), self.world
        if not lie and not any(fate(key) == "refused" for key in keys):
            return None
        if len(keys) == 1:
            (world.lies.refused if lie else world.refused).add((account, keys[0]))
        refusals = self.refusals if lie else self.refusals[:1]
        return Answer.json(*refusals[len(world.jobs) % len(refusals)])

    def outcome(self, job: Job, key: str, lie: str | None) -> str | None:
        """Returns the outcome that the vendor reports, which may be a lie. None if the job is running."""
        world = self.world
        if world.outcome(job, key) is None or (lie is None and not job.is_foreign):
            return world.outcome(job, key)
        if not self.has_no_data_outcome(job):
            return None if job.is_foreign else world.outcome(job, key)
        if lie == "nobody" or job.is_foreign:
            world.lies.no_data.add(job.id)
            return "no_data"
        return world.outcome(job, key)

    def variant(self, job: Job, count: int) -> int:
        return list(self.world.jobs).index(job.id) % count
