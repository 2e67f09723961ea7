"""Runs the stages for one submission at a vendor with a fault."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from include.dsar.errors import DsarError
from include.dsar.ledger.database import Database
from include.dsar.model import Action
from include.dsar.stages.poll import PollResult
from include.dsar.vendors.id5 import hashed_email
from include.sandbox import Sandbox
from tests.integration import fault_table
from tests.integration.elsewhere import Elsewhere
from tests.integration.requests_given import plan, request, row, submission
from tests.integration.stage_runs import Stages

SERIAL = itertools.count(1)
ONE_POLL = 0.15  # seconds, while the polls have a fault
ANSWERED_POLLS = 5.0  # seconds. The stage ends sooner if the job has ended
LONG_ENOUGH = timedelta(seconds=2)  # every job of the sandbox has then ended


@dataclass
class Case:
    """One submission in the ledger. Its stages process only this submission."""

    db: Database
    sandbox: Sandbox
    stages: Stages
    elsewhere: Elsewhere
    vendor: str
    action: Action
    value: str = field(default_factory=lambda: f"u{next(SERIAL)}@example.com")

    def __post_init__(self) -> None:
        plan(self.db, request(self.value[:-12], submission(self.value, self.vendor), action=self.action))
        found = self.db.execute("SELECT id, request FROM dsar.submission ORDER BY id DESC LIMIT 1").fetchone()
        assert found is not None
        self.id, self.request = found["id"], found["request"]
        self.sandbox.clear_faults()

    @property
    def state(self) -> str:
        return str(row(self.db, self.id)["state"])

    @property
    def taken(self) -> int:
        """Returns how many jobs for this data subject the vendor has created."""
        names = {self.value, hashed_email(self.value)}
        return sum(job.vendor == self.vendor and bool(names & {*job.values}) for job in self.sandbox.jobs())

    def calls(self, route: str) -> int:
        return self.sandbox.calls().get(self.vendor, {}).get(route, 0)

    def repeats(self) -> int:
        """Returns how often this submission was sent again. Each repeat has a reason in the event log."""
        found = self.db.execute(
            "SELECT reason FROM dsar.event WHERE submission = %s AND enters = 'planned'", [self.id]
        ).fetchall()
        assert all(event["reason"] for event in found)
        return len(found)

    def advance(self, time: timedelta) -> None:
        self.stages.advance(seconds=time.total_seconds())

    def inject(self, route: str, variant: dict[str, Any]) -> str | None:
        """Injects a fault until `recover`. Returns a replacement for the vendor's address, or None."""
        given = {"times": None, **variant}
        if given["kind"] == fault_table.REFUSED:
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                return f"http://127.0.0.1:{unused.getsockname()[1]}"
        if isinstance(given.get("body"), dict):
            given["body"] = given["body"][self.vendor]
        if given.get("location") == fault_table.ELSEWHERE:
            given["location"] = self.elsewhere.url
        self.sandbox.inject(vendor=self.vendor, route=route, **given)
        return None

    def recover(self) -> None:
        self.sandbox.clear_faults()

    async def submit(self, base_url: str | None = None) -> DsarError | None:
        result = await _error_of(self.stages.submit(self.vendor, **self._given(base_url)))
        return result if isinstance(result, DsarError) else None

    async def poll(self, base_url: str | None = None, *, seconds: float = ONE_POLL) -> PollResult | DsarError:
        result: PollResult | DsarError = await _error_of(
            self.stages.poll(self.vendor, seconds=seconds, **self._given(base_url))
        )
        return result

    async def collect(self, base_url: str | None = None) -> DsarError | None:
        result = await _error_of(self.stages.collect(self.vendor, **self._given(base_url)))
        return result if isinstance(result, DsarError) else None

    async def finish(self) -> None:
        """Runs the stages without a fault until the submission has ended."""
        self.recover()
        if self.state in ("planned", "uncertain"):
            assert await self.submit() is None
        if self.state == "submitted":
            self.advance(LONG_ENOUGH)
            assert isinstance(await self.poll(seconds=ANSWERED_POLLS), PollResult)
        if self.state == "ready":
            assert await self.collect() is None
        assert self.state == "completed"
        assert 1 <= self.taken <= 1 + self.repeats()
        if self.action is Action.ACCESS:
            assert row(self.db, self.id)["file_bytes"] > 0

    def _given(self, base_url: str | None) -> dict[str, Any]:
        given: dict[str, Any] = {"base_url": base_url} if base_url else {}
        return given | {"request_pks": [self.request], "poll_min_seconds": 0.02, "poll_max_seconds": 0.02}


async def _error_of(stage: Awaitable[Any]) -> Any:
    """Returns the error that the stage raises. If the stage raises no error, returns its result."""
    try:
        return await stage
    except DsarError as error:
        return error
