"""The four vendors, simulated in this process: the calls that they accept, their jobs, replies and faults.

The identifiers of a data subject determine the outcome, so every vendor always decides the same. The
simulation reads requests as they are sent and shares no code with the modules under test.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.model.virtual_time import Clock

FATES = ("ok", "unknown", "fails", "fails_once", "refused", "ok")
SUBJECTS = [f"{fate}-{number}" for number, fate in enumerate(FATES)]
ID5_LIMIT = 5  # calls per day, more than the account's own setting

FAULTS = (
    "no_connection",  # the vendor certainly did not accept the call
    "reset_before",  # not accepted, and the client cannot know
    "reset_after",  # accepted
    "late",  # the client gives up, and then the call arrives
    "twice",  # a proxy repeats the call and returns the second reply
    "slow",  # replies overtake each other
    "timeout",  # accepted, and then the client gives up
    "empty",  # accepted, 200 without a body
    "html",  # 200 from a proxy that did not forward the call
    "other_shape",  # accepted, with undocumented JSON
    "429",
    "429_long",
    "503",
    "500_before",
    "500_after",
    "401",
)
TAKEN = {"reset_after", "timeout", "empty", "other_shape", "500_after", "slow"}
STATUSES = {"429": 429, "429_long": 429, "503": 503, "500_before": 500, "500_after": 500, "401": 401}
UNKNOWN_JOB: dict[str, Any] = {
    "besitos": {"success": False},
    "batch": {"code": 21},
    "id5": {"error": {"code": "user_objects_invalid"}},
    "attentive": {"message": "not found"},
}


class Lost(Exception):
    """The connection or the reply is lost. The client cannot know whether the vendor accepted the call."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    """A job at a vendor, with the vendor's keys of its data subjects."""

    id: str
    account: str
    action: str
    keys: tuple[str, ...]
    taken_at: datetime
    ends_at: datetime
    failed: bool
    echo: bool = False  # created by a call that a proxy repeated
    forgotten: bool = False


def wire_key(account: str, identifiers: dict[str, str]) -> str:
    """Returns the key that the vendor uses for a submission with these identifiers."""
    if account == "id5":
        ((kind, value),) = identifiers.items()
        assert kind == "email"
        return hashlib.sha256(value.encode()).hexdigest()
    return "|".join(value for _, value in sorted(identifiers.items()))


def email(subject: str) -> str:
    return f"{subject}@example.com"


def phone(subject: str) -> str:
    return f"+1202555010{subject[-1]}"


def fate(key: str) -> str:
    for subject in SUBJECTS:
        forms = (subject, email(subject), phone(subject), hashlib.sha256(email(subject).encode()).hexdigest())
        if any(part in forms for part in key.split("|")):
            return subject.rpartition("-")[0]
    raise AssertionError("a vendor was sent what no request holds")


class World:
    """All simulated vendors. Each call to an account uses up one of its `faults`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.jobs: dict[str, Job] = {}
        self.refused: set[tuple[str, str]] = set()  # (account, key) of calls with one key
        self.faults: dict[str, deque[str]] = defaultdict(deque)
        self.bad_hours: dict[str, tuple[str, datetime]] = {}
        self.minutes: dict[str, float] = {
            "besitos": 5, "batch": 10, "batch_android": 10, "id5": 60, "attentive": 24 * 60,
        }  # fmt: skip
        self._late: list[tuple[datetime, Callable[[], Any]]] = []

    def fault(self, account: str) -> str | None:
        """Returns the fault of the next call, or None."""
        self._let_late_calls_in()
        if self.faults[account]:
            return self.faults[account].popleft()
        kind, until = self.bad_hours.get(account, ("", self.clock()))
        return kind if self.clock() < until else None

    def call(self, account: str, method: str, url: str, body: Any, fault: str | None) -> Answer:
        """Returns the reply to a call, which may have a fault. Raises Lost."""

        def arrive(*, echo: bool = False) -> Answer:
            return self._answer(account, method, url, body, echo=echo)

        if fault in (None, "slow"):
            return arrive()
        if fault == "twice":
            arrive()
            return arrive(echo=True)
        if fault == "late":
            self._late.append((self.clock() + timedelta(seconds=90), arrive))
        if fault in TAKEN:
            arrive()
        if fault in STATUSES:
            wait = {"429": {"Retry-After": "7"}, "429_long": {"Retry-After": "7200"}}.get(fault, {})
            return Answer(STATUSES[fault], b"{}", wait)
        bodies = {"empty": b"", "html": b"<html>One moment</html>", "other_shape": b'{"state": ["done"]}'}
        if fault in bodies:
            return Answer(200, bodies[fault])
        raise Lost(str(fault))

    def bad(self, account: str, kind: str, *, hours: float) -> None:
        """Give every call to the account this fault for the given number of hours."""
        self.bad_hours[account] = (kind, self.clock() + timedelta(hours=hours))

    def get_well(self) -> None:
        self.faults.clear()
        self.bad_hours.clear()

    def open_jobs(self) -> list[Job]:
        return [job for job in self.jobs.values() if not job.forgotten]

    def outcome(self, job: Job, key: str) -> str | None:
        """Returns the vendor's outcome for one data subject of the job, or None if the job is running."""
        if job.ends_at > self.clock():
            return None
        if job.failed:
            return "failed"
        knows_nobody = fate(key) == "unknown" and job.account != "attentive"  # Attentive has no such outcome
        return "no_data" if knows_nobody else "completed"

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
            if (job.account, job.action) == (account, action) and key in job.keys and not job.echo
        ]

    def _let_late_calls_in(self) -> None:
        due = [arrive for at, arrive in self._late if at <= self.clock()]
        self._late = [(at, arrive) for at, arrive in self._late if at > self.clock()]
        for arrive in due:
            arrive()

    def _answer(self, account: str, method: str, url: str, body: Any, *, echo: bool) -> Answer:
        path = [unquote(part) for part in urlsplit(url).path.split("/")]
        vendor = account.partition("_")[0]
        if method == "POST":
            return getattr(self, f"_{vendor}_create")(account, path, body, echo)
        if vendor == "batch" and path[-1] == "requests":
            return _json(200, [self._batch_entry(job) for job in self._jobs_of(account)])
        if path[-1] == "me":
            return _json(200, {})
        job = self.jobs.get(path[-1])
        if job is None or job.account != account or job.forgotten:
            return _json(404, UNKNOWN_JOB[vendor])
        return getattr(self, f"_{vendor}_status")(job)

    def _take(self, account: str, action: str, keys: list[str], echo: bool) -> Job:
        taken_at = self.clock()
        earlier = {key for job in self.jobs.values() if job.failed for key in job.keys}
        failed = any(fate(k) == "fails" or (fate(k) == "fails_once" and k not in earlier) for k in keys)
        job = Job(
            f"{account}-{len(self.jobs)}",
            account,
            action,
            tuple(keys),
            taken_at,
            taken_at + timedelta(minutes=self.minutes[account]),
            failed,
            echo,
        )
        self.jobs[job.id] = job
        return job

    def _jobs_of(self, account: str) -> list[Job]:
        return [job for job in self.open_jobs() if job.account == account]

    def _refuses(self, account: str, keys: list[str]) -> bool:
        refused = any(fate(key) == "refused" for key in keys)
        if refused and len(keys) == 1:
            self.refused.add((account, keys[0]))
        return refused

    def _besitos_create(self, account: str, path: list[str], body: Any, echo: bool) -> Answer:
        keys = body["user_ids"]
        assert 0 < len(keys) == len(set(keys)) <= 3
        if self._refuses(account, keys):
            return _json(400, {"success": False})
        action = {"export": "access", "delete": "erasure"}[path[3]]
        job = self._take(account, action, keys, echo)
        return _json(200, {"success": True, "request_id": job.id, "status": "pending"})

    def _besitos_status(self, job: Job) -> Answer:
        request: dict[str, Any] = {"id": job.id, "status": "pending", "error_message": None}
        request["partner_user_ids"] = job.keys
        if job.ends_at > self.clock():
            return _json(200, {"success": True, "request": request, "data": None})
        request["status"] = "completed"
        if job.failed:
            request |= {"status": "failed", "error_message": "one of them could not be processed"}
            return _json(200, {"success": True, "request": request, "data": None})
        found = [key for key in job.keys if fate(key) != "unknown"]
        missing = [key for key in job.keys if fate(key) == "unknown"]
        request["progress"] = {"completed": len(found), "failed": len(missing), "pending": 0}
        head = json.dumps({"success": True, "request": request})[:-1]
        if job.action == "access":  # in another order, and null for unknown users
            records = [self.data("besitos", key) for key in reversed(found)] + [b"null"] * len(missing)
            return Answer(200, head.encode() + b', "data": {"data": [' + b", ".join(records) + b"]}}")
        summary = {"found_partner_user_ids": found, "not_found_partner_user_ids": missing}
        return Answer(200, f'{head}, "data": {json.dumps({"data": {"summary": summary}})}}}'.encode())

    def _batch_create(self, account: str, path: list[str], body: Any, echo: bool) -> Answer:
        key = body["id"]["value"]
        action = {"review": "access", "remove": "erasure"}[body["request_type"]]
        if self._refuses(account, [key]):
            return _json(400, {"code": 31})
        any_action = account == "batch_android"  # the documentation does not say whether the action matters
        if any(
            job.keys == (key,) and (any_action or job.action == action) and job.ends_at > self.clock()
            for job in self._jobs_of(account)
        ):
            return _json(409, {})
        return _json(202, {"token": self._take(account, action, [key], echo).id})

    def _batch_status(self, job: Job) -> Answer:
        return _json(200, self._batch_entry(job))

    def _batch_entry(self, job: Job) -> dict[str, Any]:
        return {
            "request_id": job.id,
            "request_date": job.taken_at.replace(tzinfo=None).isoformat(),
            "request_type": {"access": "review", "erasure": "remove"}[job.action],
            "id": {"type": "custom_id", "value": job.keys[0]},
            **self._batch_end(job),
        }

    def _batch_end(self, job: Job) -> dict[str, Any]:
        match self.outcome(job, job.keys[0]):
            case None:
                return {"status": "pending"}
            case "failed":
                return {"status": "done", "error": "internal"}
            case "no_data":
                return {"status": "done", "error": "user not found"}
        url = {"data_url": f"https://results.example.com/{job.keys[0]}"} if job.action == "access" else {}
        return {"status": "done", **url}

    def _id5_create(self, account: str, path: list[str], body: Any, echo: bool) -> Answer:
        key = body["email"]
        today = [job for job in self.jobs.values() if job.account == account]
        today = [job for job in today if job.taken_at.date() == self.clock().date()]
        error = {"code": "api_rate_limit_error"}
        if any(key in job.keys for job in today):
            error["message"] = "Limit of 1 request daily allowed per email has been reached"
            return _json(403, {"error": error})
        if len(today) >= ID5_LIMIT:
            error["message"] = "Limit of 3000 request daily allowed per partner has been reached"
            return _json(403, {"error": error})
        if self._refuses(account, [key]):
            return _json(400, {"error": {"code": "user_object_invalid"}})
        return _json(200, {"id": self._take(account, "erasure", [key], echo).id})

    def _id5_status(self, job: Job) -> Answer:
        match self.outcome(job, job.keys[0]):
            case None:
                return _json(200, {"jobStatus": "STARTED", "processingResult": "NONE"})
            case "failed":
                return _json(200, {"jobStatus": "FAILED", "processingResult": "NONE"})
            case "no_data":
                return _json(200, {"jobStatus": "SENT", "processingResult": "DELETE_NO_DATA"})
        return _json(200, {"jobStatus": "SEND_FAILED", "processingResult": "DELETE_DELETED"})

    def _attentive_create(self, account: str, path: list[str], body: Any, echo: bool) -> Answer:
        key = "|".join(body[name] for name in ("subjectEmail", "subjectPhone") if name in body)
        if self._refuses(account, [key]):
            return _json(400, {})
        job = self._take(account, "erasure", [key], echo)
        if job.failed:  # Attentive has no failed state: such a job never ends
            job.ends_at = datetime.max.replace(tzinfo=job.taken_at.tzinfo)
        return _json(200, {"id": job.id})

    def _attentive_status(self, job: Job) -> Answer:
        return _json(200, {"id": job.id, "processed": job.ends_at <= self.clock()})


def _json(status: int, document: Any) -> Answer:
    return Answer(status, json.dumps(document).encode())
