"""Runs the stages of an account at the sandbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from include.dsar.execution.account_work import AccountWork
from include.dsar.ledger.database import Database
from include.dsar.model import Action, Subject
from include.dsar.stages.collect import Collected, collect
from include.dsar.stages.poll import PollResult, poll_open_jobs
from include.dsar.stages.submit import Submitted, submit
from include.sandbox import Sandbox
from tests.integration.requests_given import Clock, events, plan, request, submission

if TYPE_CHECKING:
    from include.dsar.delivery.storage import Storage
    from tests.integration.conftest import OpenWork

T = TypeVar("T")


def plan_each(db: Database, account: str, *values: str, action: Action = Action.ERASURE) -> None:
    """Adds a request for each value. The request id is the value. Requests are due in the order of the
    values.
    """
    first = datetime.now(UTC) + timedelta(days=9)
    plan(
        db,
        *(
            request(value, submission(value, account), action=action, due_at=first + timedelta(hours=n))
            for n, value in enumerate(values)
        ),
    )


async def poll(work: AccountWork, seconds: float = 5) -> PollResult:
    """Polls the open jobs for this many seconds."""
    now = work.clock()
    return await poll_open_jobs(work, since=now, until=now + timedelta(seconds=seconds))


class Stages:
    """The stages, with a clock that a test can advance. A stage does not wait for postponed submissions."""

    def __init__(self, open_work: OpenWork, storage: Storage, sandbox: Sandbox) -> None:
        self._open_work, self._storage, self._sandbox = open_work, storage, sandbox
        self.clock = Clock()

    async def submit(self, account: str, **extra: Any) -> Submitted:
        return await self.run(submit, account, **extra)

    async def poll(self, account: str, *, seconds: float = 3, **extra: Any) -> PollResult:
        return await self.run(lambda work: poll(work, seconds), account, **extra)

    async def collect(self, account: str, *, storage: Storage | None = None, **extra: Any) -> Collected:
        return await self.run(lambda work: collect(work, storage or self._storage), account, **extra)

    async def others_job(
        self, account: str, value: str, *, action: Action = Action.ERASURE, **extra: Any
    ) -> None:
        """Creates a job for a data subject, as another system does."""
        identifiers = submission(value, account).identifiers
        assert identifiers is not None
        other = Subject(99, identifiers, "GDPR", "r-other", self.clock())
        async with self._open_work(account, **extra) as work:
            await work.client.send(work.vendor.create(work.settings, action, [other]))

    async def run(
        self,
        stage: Callable[[AccountWork], Awaitable[T]],
        account: str,
        vendor: Any = None,
        request_pks: Sequence[int] | None = None,
        **extra: Any,
    ) -> T:
        async with self._open_work(account, **extra) as work:
            given = {"clock": self.clock, "vendor": vendor or work.vendor, "request_pks": request_pks}
            return await stage(replace(work, **given))

    def advance(self, sandbox: Sandbox | None = None, **units: float) -> None:
        """Advances the clocks of the stages and of the sandbox."""
        self.clock.advance(**units)
        (sandbox or self._sandbox).advance(timedelta(**units).total_seconds())

    def advance_to_noon(self, sandbox: Sandbox | None = None) -> None:
        """Advances the clocks to the next noon in UTC, so that no test reaches midnight by accident."""
        noon = self.clock().replace(hour=12, minute=0, second=0) + timedelta(days=1)
        self.advance(sandbox, seconds=(noon - self.clock()).total_seconds())


def reasons(db: Database) -> list[tuple[str, str, str]]:
    """Returns for each event the state before it, the state after it, and the reason."""
    return [(event["leaves"], event["enters"], event["reason"]) for event in events(db)]


def sent(sandbox: Sandbox) -> list[str]:
    """Returns the identifiers that the vendors accepted, in the order of acceptance."""
    return [value for job in sandbox.jobs() for value in job.values]
