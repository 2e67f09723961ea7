"""How to simulate a vendor: the declaration, and the call that its route handlers receive.

To add a vendor, write one module in ``include/sandbox/vendors/`` that assigns ``VENDOR``. The registry
imports every module of that package, so no other file changes::

    VENDOR = SandboxVendor(
        name="acme",                                    # as in include/dsar/vendors
        actions=frozenset({"erasure"}),
        decisions={"jobfails": "failed", "unknown": "no_data"},
        extra={"partner_id": "demo"},
        routes=(
            Route("POST", "/acme/{account}/requests", "create", create),
            Route("GET", "/acme/{account}/requests/{job_id}", "status", status),
        ),
        error=error,
    )

A handler (``create``, ``status``) receives a ``Call``. It checks the secret, raises ``Refused`` with an error
reply, and uses ``call.decide``, ``call.add_job`` and ``call.find_job``. ``attentive.py`` is a short example.
The declaration defines the server's routes and ``decide("acme", …)``. It also defines the connections of
``make demo``, ``make up``, the Compose demo and the tests. Each path must be unique. Its variables must have
the names ``account`` and ``job_id``.

The sandbox simulates the outside world, so it must not import ``include.dsar``.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from include.sandbox.decision import Decision, Outcome, decide
from include.sandbox.jobs import Job, Jobs, Subject
from include.sandbox.settings import SandboxSettings

WRONG_ACCOUNT = "wrong"
"""The one partner id or API key that every vendor rejects."""
DEMO_PACE = {"requests_per_second": 50, "poll_min_seconds": 2, "poll_max_seconds": 5}
"""Fast enough for a demo that takes a few minutes."""


@dataclass(frozen=True)
class SandboxVendor:
    name: str
    actions: frozenset[str]
    routes: tuple[Route, ...]
    error: Callable[[int], web.Response]
    """Builds the vendor's documented error reply for an HTTP status."""
    reply: Callable[[object, int], web.Response] = lambda body, status: json_response(body, status)
    """Builds a reply with this JSON and HTTP status. It signs the reply if the vendor does."""
    decisions: Mapping[str, Outcome] = field(
        default_factory=lambda: {"jobfails": "failed", "unknown": "no_data"}
    )
    """How a job ends, by the keyword in an identifier. A keyword that is not listed has no effect."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """The fields of Extra that a connection to this vendor must have."""
    users_per_call: int = 1
    """How many data subjects one call names in the demo. If more than 1, each has its own outcome."""
    sends_rate_headers: bool = False
    """Whether replies have the headers ``x-ratelimit-limit`` and ``x-ratelimit-remaining``."""

    def connection(self, host: str, port: int) -> dict[str, object]:
        """Returns the Airflow connection to this vendor in a sandbox at ``host`` and ``port``."""
        batch = {"users_per_call": self.users_per_call} if self.users_per_call > 1 else {}
        return {
            "conn_type": self.name,
            "description": f"Sandbox for {self.name}",
            "schema": "http",
            "host": host,
            "port": port,
            "password": SandboxSettings().secret,
            "extra": {**self.extra, **batch, **DEMO_PACE},
        }

    def decide(self, action: str, values: Sequence[str], settings: SandboxSettings) -> Decision:
        """Decides a job: see ``include.sandbox.decision.decide``. Raises ValueError if the vendor lacks the
        action.
        """
        if action not in self.actions:
            raise ValueError(f"{self.name} has no {action}")
        return decide(f"{self.name}|{action}", self.decisions, values, settings)


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    name: str
    """The name used by faults and call counts: ``create``, ``status``, ``list``, ``data`` or ``me``."""
    handler: Callable[[Call], web.Response]


@dataclass(frozen=True)
class Call:
    """One HTTP call to a vendor, with its body read."""

    vendor: SandboxVendor
    request: web.Request
    body: bytes
    jobs: Jobs

    @property
    def settings(self) -> SandboxSettings:
        return self.jobs.settings

    @property
    def account(self) -> str:
        """Returns the partner id or API key in the path. ``default`` if the path has none."""
        return self.request.match_info.get("account", "default")

    @property
    def job_id(self) -> str:
        return self.request.match_info["job_id"]

    def now(self) -> float:
        """Returns the sandbox's time in Unix seconds."""
        return self.jobs.now()

    def json_object(self) -> dict[str, object] | None:
        """Returns the body if it is a JSON object. None otherwise."""
        try:
            body = json.loads(self.body)
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def is_secret(self, secret: str | None) -> bool:
        # aiohttp decodes header bytes that are not UTF-8 to surrogates, which a plain encode() rejects.
        given = (secret or "").encode(errors="surrogateescape")
        return hmac.compare_digest(given, self.settings.secret.encode())

    def has_bearer_secret(self) -> bool:
        scheme, _, secret = self.request.headers.get("Authorization", "").partition(" ")
        return scheme.casefold() == "bearer" and self.is_secret(secret)

    def decide(self, action: str, values: Sequence[str]) -> Decision:
        """Decides how a job for these identifiers ends."""
        return self.vendor.decide(action, values, self.settings)

    def find_job(self, job_id: str) -> Job | None:
        """Returns the account's job with this id. None if there is none."""
        job = self.jobs.find(self.vendor.name, job_id)
        return job if job and job.account == self.account else None

    def account_jobs(self) -> list[Job]:
        """Returns the account's jobs, oldest first."""
        return self.jobs.of_account(self.vendor.name, self.account)

    def jobs_of(self, kind: str, value: str) -> list[Job]:
        """Returns the account's jobs for one identifier, oldest first."""
        return [job for job in self.account_jobs() if job.names(kind, value)]

    def add_job(
        self,
        action: str,
        identifiers: Sequence[tuple[str, str]],
        job_id: str,
        *,
        trigger_type: str = "api",
        details: Mapping[str, str] | None = None,
    ) -> Job:
        """Records a job for ``identifiers`` (kind, value). The job survives a kill once this method
        returns.
        """
        decision = self.decide(action, [value for _, value in identifiers])
        # A failed job fails for all its subjects. Otherwise each subject is found or not found on its own.
        shared = decision.outcome if decision.outcome in ("failed", "never") else None
        job = Job(
            vendor=self.vendor.name,
            account=self.account,
            action=action,
            job_id=job_id,
            created_at=self.now(),
            subjects=tuple(
                Subject(kind, value, shared or self.decide(action, [value]).outcome)
                for kind, value in identifiers
            ),
            outcome=decision.outcome,
            seconds=decision.seconds,
            trigger_type=trigger_type,
            details=details or {},
        )
        self.jobs.add(job)
        return job


class Refused(Exception):
    """The vendor rejects the call with ``response``."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


def json_response(body: object, status: int = 200) -> web.Response:
    text = json.dumps(body, ensure_ascii=False)
    return web.Response(text=text, status=status, content_type="application/json")
