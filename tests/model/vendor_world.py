"""The five vendors, simulated in this process: the accounts, their jobs, their faults and their lies.

The identifiers of a data subject determine the outcome, so a vendor always makes the same decision about a
data subject.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.model.data_subjects import fate
from tests.model.faults import TAKEN, Answer, faulty_answer
from tests.model.jobs import Job
from tests.model.lies import Lies
from tests.model.vendors import APIS, Batch
from tests.model.virtual_time import Clock


class World:
    """All simulated vendors. Each call to an account uses up one of its `faults`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.jobs: dict[str, Job] = {}
        self.refused: set[tuple[str, str]] = set()  # (account, key) of calls with one key, and not a lie
        self.faults: dict[str, deque[str]] = defaultdict(deque)
        self.bad_hours: dict[str, tuple[str, datetime]] = {}
        self.lies = Lies(clock)
        self.worked_at: dict[str, datetime] = {}  # when each account last answered a GET as ours
        self.minutes: dict[str, float] = {
            "besitos": 5, "batch": 10, "batch_android": 10, "id5": 60, "attentive": 24 * 60, "opendsr": 30,
        }  # fmt: skip
        self._apis = {vendor: api(self) for vendor, api in APIS.items()}
        self._late: list[tuple[datetime, Callable[[], Any]]] = []

    def fault(self, account: str) -> str | None:
        """Returns the fault of the next call, or None."""
        self._let_late_calls_in()
        if self.faults[account]:
            return self.faults[account].popleft()
        kind, until = self.bad_hours.get(account, ("", self.clock()))
        return kind if self.clock() < until else None

    def call(self, account: str, method: str, url: str, body: Any, fault: str | None) -> Answer:
        """Returns the reply to a call, which may have a fault or be a lie. Raises Lost."""

        def arrive(*, echo: bool = False) -> Answer:
            return self._answer(account, method, url, body, self.lies.next(account), echo=echo)

        if fault in (None, "slow"):
            return arrive()
        if fault == "twice":
            arrive()
            return arrive(echo=True)
        if fault == "late":
            self._late.append((self.clock() + timedelta(seconds=90), arrive))
        if fault in TAKEN:
            arrive()
        return faulty_answer(str(fault))

    def bad(self, account: str, kind: str, *, hours: float) -> None:
        """Give every call to the account this fault for the given number of hours."""
        self.bad_hours[account] = (kind, self.clock() + timedelta(hours=hours))

    def get_well(self) -> None:
        self.faults.clear()
        self.bad_hours.clear()
        self.lies.end()

    def open_jobs(self) -> list[Job]:
        """Returns the jobs that our accounts show."""
        return [job for job in self.jobs.values() if not job.forgotten and not job.is_foreign]

    def jobs_of(self, account: str, *, is_foreign: bool) -> list[Job]:
        """Returns the jobs that this key of the account shows."""
        return [
            job
            for job in self.jobs.values()
            if (job.account, job.is_foreign, job.forgotten) == (account, is_foreign, False)
        ]

    def outcome(self, job: Job, key: str) -> str | None:
        """Returns the true outcome for one data subject of the job, or None if the job is running."""
        if job.ends_at > self.clock():
            return None
        if job.failed:
            return "failed"
        has_outcome = self._apis[_vendor(job.account)].has_no_data_outcome(job)
        return "no_data" if fate(key) == "unknown" and has_outcome else "completed"

    def data(self, account: str, key: str) -> bytes:
        """Returns the account's data about a data subject."""
        if account == "besitos":
            return f'{{"partner_user_id": {json.dumps(key)}, "balance": 0.10, "a": 1, "a": 2}}'.encode()
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr(zipfile.ZipInfo("profile.json"), json.dumps([{"id": key}]))
        return target.getvalue()

    def accepted(self, account: str, action: str, key: str) -> list[Job]:
        """Returns the jobs of our calls, without jobs from calls that a proxy repeated."""
        return [
            job
            for job in self.jobs.values()
            if (job.account, job.action) == (account, action)
            and key in job.keys
            and job.is_ours
            and not job.echo
        ]

    def take(
        self,
        account: str,
        action: str,
        keys: list[str],
        *,
        job_id: str = "",
        age: timedelta = timedelta(),
        **job: bool,
    ) -> Job:
        """Begins a job."""
        taken_at = self.clock()
        earlier = {key for job in self.jobs.values() if job.failed for key in job.keys}
        failed = any(fate(k) == "fails" or (fate(k) == "fails_once" and k not in earlier) for k in keys)
        taken = Job(
            job_id or f"{account}-{len(self.jobs)}",
            account,
            action,
            tuple(keys),
            taken_at - age,
            taken_at + timedelta(minutes=self.minutes[account]),
            failed,
            **job,
        )
        self.jobs[taken.id] = taken
        return taken

    def _let_late_calls_in(self) -> None:
        due = [arrive for at, arrive in self._late if at <= self.clock()]
        self._late = [(at, arrive) for at, arrive in self._late if at > self.clock()]
        for arrive in due:
            arrive()

    def _answer(
        self, account: str, method: str, url: str, body: Any, lie: str | None, *, echo: bool
    ) -> Answer:
        path = [unquote(part) for part in urlsplit(url).path.split("/")]
        api, is_foreign = self._apis[_vendor(account)], lie == "other_account"
        if lie == "404_html":
            return Answer(404, b"<html>There is nothing here</html>")
        if lie == "404":
            return Answer.json(404, api.unknown_job)
        if method == "POST":
            refusal = api.refuse(account, body, lie) if lie == "refuses" else None
            return refusal or api.create(account, path, body, echo=echo, is_foreign=is_foreign)
        if not is_foreign:
            self.worked_at[account] = self.clock()
        if isinstance(api, Batch) and path[-1] == "requests":
            return api.list(self.jobs_of(account, is_foreign=is_foreign), lie)
        if path[-1] == "me":
            return Answer.json(200, {})
        job = self.jobs.get(path[-1])
        if job is None or job not in self.jobs_of(account, is_foreign=is_foreign):
            if job is not None:
                self._deny(job, is_foreign=is_foreign)
            return Answer.json(404, api.unknown_job)
        return api.status(job, lie)

    def _deny(self, job: Job, *, is_foreign: bool) -> None:
        job.denied_at = job.denied_at or self.clock()
        if is_foreign and not job.forgotten:
            self.lies.no_job.add(job.id)


def _vendor(account: str) -> str:
    return account.partition("_")[0]
