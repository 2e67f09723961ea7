"""Stores the jobs that the vendors accepted. A clock determines their progress.

No background work runs: the age of a job determines its progress.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from include.sandbox.decision import Outcome
from include.sandbox.journal import Journal
from include.sandbox.settings import SandboxSettings

DAY = 24 * 60 * 60


@dataclass(frozen=True)
class Subject:
    """One identifier as the vendor received it. ``kind`` is the vendor's name for the field."""

    kind: str
    value: str
    outcome: Outcome


@dataclass(frozen=True)
class Job:
    """One accepted job. ``account`` is the partner id or API key in the path. Times are Unix seconds."""

    vendor: str
    account: str
    action: str
    job_id: str
    created_at: float
    subjects: tuple[Subject, ...]
    outcome: Outcome
    seconds: float | None
    trigger_type: str = "api"
    """``dashboard`` for a job that was already running when Batch returned 409."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Other fields of the call that the vendor's replies repeat."""

    @property
    def ends_at(self) -> float:
        return float("inf") if self.seconds is None else self.created_at + self.seconds

    @property
    def values(self) -> list[str]:
        return [subject.value for subject in self.subjects]

    def names(self, kind: str, value: str) -> bool:
        """Returns whether the job is about this identifier."""
        return any((subject.kind, subject.value) == (kind, value) for subject in self.subjects)


class Jobs:
    """Stores jobs and provides the clock. A state file restores both after a restart."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self._offset = 0.0
        self._jobs: list[Job] = []
        self._by_id: dict[tuple[str, str], Job] = {}
        self._journal = Journal(settings.state) if settings.state else None
        for line in self._journal.replay() if self._journal else ():
            if "advance" in line:
                self._offset += float(line["advance"])
            else:
                self._index(_job_from(line))

    def now(self) -> float:
        """Returns the sandbox's time in Unix seconds."""
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Moves the clock forward, so that tests need not wait."""
        self._write({"advance": seconds})
        self._offset += seconds

    def add(self, job: Job) -> None:
        """Stores a job. The job is in the state file when this method returns."""
        self._write(asdict(job))
        self._index(job)

    def find(self, vendor: str, job_id: str) -> Job | None:
        return self._by_id.get((vendor, job_id))

    def of_account(self, vendor: str, account: str) -> list[Job]:
        return [job for job in self._jobs if (job.vendor, job.account) == (vendor, account)]

    def all(self) -> list[Job]:
        """Returns a copy of all jobs, oldest first."""
        return list(self._jobs)

    def close(self) -> None:
        if self._journal:
            self._journal.close()

    def _index(self, job: Job) -> None:
        self._jobs.append(job)
        self._by_id[job.vendor, job.job_id] = job

    def _write(self, line: Mapping[str, object]) -> None:
        if self._journal:
            self._journal.write(line)


def utc_day(at: float) -> int:
    """Returns the number of the UTC day. Unix time has no leap seconds, so all days have the same length."""
    return int(at // DAY)


def _job_from(line: Mapping[str, Any]) -> Job:
    return Job(**{**line, "subjects": tuple(Subject(**subject) for subject in line["subjects"])})
