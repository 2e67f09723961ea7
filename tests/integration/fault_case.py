"""One submission at one vendor that is about to misbehave, and the runs of its stages."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from include.dsar.delivery.storage import Storage
from include.dsar.errors import DsarError
from include.dsar.execution.account_work import AccountWork
from include.dsar.ledger.database import Database
from include.dsar.model import Action, IdentityKind
from include.dsar.stages.collect import collect
from include.dsar.stages.poll import PollResult, poll_open_jobs
from include.dsar.stages.submit import submit
from include.dsar.vendors.id5 import hashed_email
from include.sandbox import Sandbox
from tests.integration import fault_table as told
from tests.integration.conftest import OpenWork
from tests.integration.elsewhere import Elsewhere
from tests.integration.requests_given import Clock, plan, request, row, submission

KINDS = {"besitos": IdentityKind.USER_ID, "batch": IdentityKind.USER_ID}
SERIAL = itertools.count(1)
A_LOOK = timedelta(seconds=0.03)  # a watch that looks at a job once
LONG_ENOUGH = timedelta(seconds=2)  # for any job of the sandbox


@dataclass
class Case:
    """The submission is in the ledger; its stages are limited to it."""

    db: Database
    sandbox: Sandbox
    clock: Clock
    storage: Storage
    open_work: OpenWork
    elsewhere: Elsewhere
    vendor: str
    action: Action
    value: str = field(default_factory=lambda: f"u{next(SERIAL)}@example.com")

    def __post_init__(self) -> None:
        kind = KINDS.get(self.vendor, IdentityKind.EMAIL)
        plan(
            self.db, request(self.value[:-12], submission(self.value, self.vendor, kind), action=self.action)
        )
        found = self.db.execute("SELECT id, request FROM dsar.submission ORDER BY id DESC LIMIT 1").fetchone()
        assert found is not None
        self.id, self.request = found["id"], found["request"]
        self.sandbox.clear_faults()

    @property
    def state(self) -> str:
        return str(row(self.db, self.id)["state"])

    @property
    def taken(self) -> int:
        """How many jobs the vendor has for this person."""
        names = {self.value, hashed_email(self.value)}
        return sum(
            entry.vendor == self.vendor and bool(names & {*entry.values}) for entry in self.sandbox.book()
        )

    def calls(self, route: str) -> int:
        return self.sandbox.calls().get(self.vendor, {}).get(route, 0)

    def repeats(self) -> int:
        """How often the event log says why this submission was sent once more."""
        found = self.db.execute(
            "SELECT reason FROM dsar.event WHERE submission = %s AND enters = 'planned'", [self.id]
        ).fetchall()
        assert all(event["reason"] for event in found)
        return len(found)

    def advance(self, time: timedelta) -> None:
        self.clock.advance(seconds=time.total_seconds())
        self.sandbox.advance(time.total_seconds())

    def inject(self, route: str, variant: dict[str, Any]) -> str | None:
        """Spoils a route until `recover`; returns the vendor's address where nobody listens there."""
        given = {"times": None, **variant}
        if given["kind"] == told.REFUSED:
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                return f"http://127.0.0.1:{unused.getsockname()[1]}"
        if isinstance(given.get("body"), dict):
            given["body"] = given["body"][self.vendor]
        if given.get("location") == told.ELSEWHERE:
            given["location"] = self.elsewhere.url
        self.sandbox.inject(vendor=self.vendor, route=route, **given)
        return None

    def recover(self) -> None:
        self.sandbox.clear_faults()

    async def submit(self, base_url: str | None = None) -> DsarError | None:
        return (await self._run(submit, base_url))[1]

    async def poll(self, base_url: str | None = None, window: timedelta = A_LOOK) -> PollResult | DsarError:
        async def looked(work: AccountWork) -> PollResult:
            since = work.clock()
            return await poll_open_jobs(work, since=since, until=since + window)

        result, error = await self._run(looked, base_url)
        return error or result

    async def collect(self, base_url: str | None = None) -> DsarError | None:
        return (await self._run(lambda work: collect(work, self.storage), base_url))[1]

    async def finish(self) -> None:
        """Runs without a fault, until the submission has ended as the vendor ended it."""
        self.recover()
        if self.state in ("planned", "uncertain"):
            assert await self.submit() is None
        if self.state == "submitted":
            self.advance(LONG_ENOUGH)
            assert isinstance(await self.poll(), PollResult)
        if self.state == "ready":
            assert await self.collect() is None
        assert self.state == "completed"
        assert 1 <= self.taken <= 1 + self.repeats()
        if self.action is Action.ACCESS:
            assert row(self.db, self.id)["file_bytes"] > 0

    async def _run(
        self, stage: Callable[[AccountWork], Awaitable[Any]], base_url: str | None
    ) -> tuple[Any, DsarError | None]:
        other = {"base_url": base_url} if base_url else {}
        opened: AbstractAsyncContextManager[AccountWork] = self.open_work(
            self.vendor, poll_min_seconds=0.02, poll_max_seconds=0.02, **other
        )
        async with opened as work:
            try:
                return await stage(replace(work, request_pks=[self.request], clock=self.clock)), None
            except DsarError as error:
                return None, error
        raise AssertionError
