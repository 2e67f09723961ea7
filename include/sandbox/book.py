"""The book: every job that a vendor has taken, and the clock that its progress is read from.

Nothing runs in the background: how far a job is follows from its age alone.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from include.sandbox.decision import Outcome, decide
from include.sandbox.journal import Journal
from include.sandbox.settings import SandboxSettings

DAY = 24 * 60 * 60


@dataclass(frozen=True)
class Subject:
    """One identifier as the vendor received it: ``kind`` is the vendor's own name of the field."""

    kind: str
    value: str
    outcome: Outcome


@dataclass(frozen=True)
class Entry:
    """One job. ``account`` is the partner or API key in the path; times are Unix seconds."""

    vendor: str
    account: str
    action: str
    job_id: str
    created_at: float
    subjects: tuple[Subject, ...]
    outcome: Outcome
    seconds: float | None
    trigger_type: str = "api"
    """``dashboard``: a job that was running already when Batch answered 409."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What else the call said and the vendor's replies repeat."""

    @property
    def ends_at(self) -> float:
        return float("inf") if self.seconds is None else self.created_at + self.seconds

    @property
    def values(self) -> list[str]:
        return [subject.value for subject in self.subjects]


class Book:
    """Takes jobs, finds them again, and tells the time. With a journal it opens where it was closed."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self._offset = 0.0
        self._entries: list[Entry] = []
        self._by_job: dict[tuple[str, str], Entry] = {}
        self._by_subject: defaultdict[tuple[str, str, str, str], list[Entry]] = defaultdict(list)
        self._by_account: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
        self._per_day: Counter[tuple[str, str, int]] = Counter()
        self._journal = Journal(settings.state) if settings.state else None
        for line in self._journal.replay() if self._journal else ():
            if "advance" in line:
                self._offset += float(line["advance"])
            else:
                self._file(_entry_from(line))

    def now(self) -> float:
        """Unix seconds on the sandbox's clock."""
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward, so that a wait of weeks needs none."""
        self._write({"advance": seconds})
        self._offset += seconds

    def take(
        self,
        vendor: str,
        account: str,
        action: str,
        identifiers: Sequence[tuple[str, str]],
        job_id: str,
        *,
        trigger_type: str = "api",
        details: Mapping[str, str] | None = None,
    ) -> Entry:
        """Take a job for ``identifiers`` (kind, value). It is journalled before this returns."""
        decision = decide(vendor, action, [value for _, value in identifiers], self.settings)
        # People who share a job fail together; otherwise each is found, or not, by themselves.
        shared = decision.outcome if decision.outcome in ("failed", "never") else None
        entry = Entry(
            vendor=vendor,
            account=account,
            action=action,
            job_id=job_id,
            created_at=self.now(),
            subjects=tuple(
                Subject(kind, value, shared or decide(vendor, action, [value], self.settings).outcome)
                for kind, value in identifiers
            ),
            outcome=decision.outcome,
            seconds=decision.seconds,
            trigger_type=trigger_type,
            details=details or {},
        )
        self._write(asdict(entry))
        self._file(entry)
        return entry

    def find(self, vendor: str, account: str | None, job_id: str) -> Entry | None:
        """The vendor's job of that id, if it is the account's; None looks at every account."""
        entry = self._by_job.get((vendor, job_id))
        return entry if entry and account in (None, entry.account) else None

    def of_subject(self, vendor: str, account: str, kind: str, value: str) -> list[Entry]:
        """The jobs for one identifier, oldest first."""
        return self._by_subject[vendor, account, kind, value]

    def of_account(self, vendor: str, account: str) -> list[Entry]:
        return self._by_account[vendor, account]

    def taken_today(self, vendor: str, account: str) -> int:
        """How many jobs the account has created this UTC day."""
        return self._per_day[vendor, account, utc_day(self.now())]

    def entries(self) -> list[Entry]:
        """All jobs, oldest first: a copy."""
        return list(self._entries)

    def close(self) -> None:
        if self._journal:
            self._journal.close()

    def _file(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._by_job[entry.vendor, entry.job_id] = entry
        self._by_account[entry.vendor, entry.account].append(entry)
        self._per_day[entry.vendor, entry.account, utc_day(entry.created_at)] += 1
        for subject in entry.subjects:
            self._by_subject[entry.vendor, entry.account, subject.kind, subject.value].append(entry)

    def _write(self, line: Mapping[str, object]) -> None:
        if self._journal:
            self._journal.write(line)


def utc_day(at: float) -> int:
    """The number of a UTC day: Unix time has no leap seconds, so days are equally long."""
    return int(at // DAY)


def _entry_from(line: Mapping[str, Any]) -> Entry:
    return Entry(**{**line, "subjects": tuple(Subject(**subject) for subject in line["subjects"])})
