"""A deployment in one process, with the real ledger, source, storage and stages, and a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from fsspec.implementations.memory import MemoryFileSystem
from sqlalchemy import Engine

from include.accounts import ACCOUNTS
from include.dsar.accounts import Account, AccountSettings, OutcomeBreaker
from include.dsar.delivery.storage import Storage
from include.dsar.errors import (
    ConfigurationError,
    OperatorActionRequired,
    RequestsRefused,
    VendorUnavailable,
)
from include.dsar.execution.account_work import AccountWork
from include.dsar.intake.decisions import Decision, decide
from include.dsar.intake.rows import Rules
from include.dsar.ledger import planning
from include.dsar.ledger.database import Database
from include.dsar.stages.collect import collect
from include.dsar.stages.intake import Intake
from include.dsar.stages.package import Package
from include.dsar.stages.poll import poll_open_jobs
from include.dsar.stages.submit import submit
from include.dsar.vendors import settings, vendor
from include.regulations import REGULATIONS
from include.sandbox.vendors.opendsr import VENDOR as OPENDSR
from tests.model.line import Life, Line, LivedLedger, LivedSource, LivedStorage, WorkerDied
from tests.model.sessions import Sessions
from tests.model.vendor_world import World
from tests.model.virtual_time import Clock, VirtualLoop

# A company with two apps, and a processor that speaks OpenDSR.
ALL = (*ACCOUNTS, Account("batch_android", vendor="batch"), Account("opendsr", vendor="opendsr"))
RULES = Rules(ALL, None, b"key", REGULATIONS)
NAMES = tuple(account.name for account in ALL)
RETURNING = tuple(account.name for account in ALL if vendor(account.vendor).returns_data)
QUOTA = 3  # calls per day at ID5
PACE = {"requests_per_second": 20, "max_concurrency": 3, "poll_min_seconds": 120, "poll_max_seconds": 7200}
EXTRA: dict[str, dict[str, Any]] = {
    "besitos": {"partner_id": "demo", "users_per_call": 3, "give_up_after_days": 2},
    "batch": {"api_key": "demo-app", "give_up_after_days": 3},
    "id5": {"partner_id": "173", "daily_quota": QUOTA, "give_up_after_days": 3},
    "attentive": {"give_up_after_days": 3},
    "opendsr": {**OPENDSR.extra, "give_up_after_days": 3},
}

OUTAGES = (VendorUnavailable, ConfigurationError, RequestsRefused, OperatorActionRequired)

OUTCOMES = """
SELECT s.account, s.state, s.finished_at,
       r.status = 'in_progress' AND s.identifiers IS NOT NULL AND s.confirmed_at IS NULL AS is_open
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.state IN ('completed', 'no_data', 'rejected', 'failed')
"""

Stage = Callable[[AccountWork], Awaitable[Any]]


class Deployment:
    """A deployment that runs stages. A stage may raise OUTAGES; any other error is a bug."""

    def __init__(self, sessions: Sessions, engine: Engine, clock: Clock) -> None:
        clock.seconds = 0
        self.sessions, self._engine, self.clock = sessions, engine, clock
        self.world = World(clock)
        self.settings: dict[str, AccountSettings] = {
            account.name: settings(
                account, base_url="https://vendor.test", secret="s", extra={**PACE, **EXTRA[account.vendor]}
            )
            for account in ALL
        }
        self.outcomes: list[dict[str, Any]] = []  # as they were before the last package
        self.packaged_at = clock()
        self.files = MemoryFileSystem()
        self.storage = Storage(self.files, "memory://storage")
        self.begin()

    def begin(self) -> None:
        """Empty the ledger, source and storage. This is faster than a database per example."""
        if self.files.exists("/storage"):
            self.files.rm("/storage", recursive=True)
        with self.sessions.open() as db:
            db.execute("SET session_replication_role = replica")  # dsar.event is append-only
            db.execute("DELETE FROM dsar.event; DELETE FROM dsar.submission; DELETE FROM dsar.request")
            db.execute("DELETE FROM public.dsar_requests")
            db.execute("RESET session_replication_role")
            for table in ("request", "submission", "event"):
                db.execute(f"ALTER TABLE dsar.{table} ALTER COLUMN id RESTART")

    def hold(self, account: str, *, held: bool) -> None:
        """Set on_uncertain to hold, or to the vendor's default."""
        account_settings = self.settings[account]
        policy = "hold" if held else vendor(account_settings.vendor).on_uncertain.value
        self.settings[account] = replace(account_settings, on_uncertain=policy)

    def break_at(self, breaker: OutcomeBreaker) -> None:
        """Set the limits of the outcome breaker for every account."""
        self.settings = {name: replace(one, breaker=breaker) for name, one in self.settings.items()}

    def decide(self, line: str) -> int:
        with self.sessions.open() as db:
            return decide(db, [Decision.parse(line)], by="an operator", now=self.clock())

    def intake(
        self, *, retry_failed: bool = False, only: str | None = None, dies_at: int | None = None
    ) -> None:
        life = Life(dies_at)
        with self.sessions.open() as db:
            life.on_death.append(db.close)
            source, ledger = LivedSource(self._engine, life), cast(Database, LivedLedger(db, life))
            requests = [only] if only else []
            with suppress(WorkerDied):
                Intake(ledger, source, RULES, requests, retry_failed=retry_failed, clock=self.clock).run()

    def package(self, *, dies_at: int | None = None, only: str | None = None) -> None:
        life = Life(dies_at)
        with self.sessions.open() as db:
            requests = planning.request_pks_of(db, [only]) if only else None
            self.outcomes, self.packaged_at = db.execute(OUTCOMES).fetchall(), self.clock()
            life.on_death.append(db.close)
            storage = LivedStorage(self.files, "memory://storage", life)
            source = LivedSource(self._engine, life)
            breakers = {name: one.breaker for name, one in self.settings.items()}
            with suppress(WorkerDied):
                Package(db, source, storage, requests, breakers=breakers, clock=self.clock).run()

    def submit(self, *accounts: str, dies_at: int | None = None, only: str | None = None) -> None:
        self._run(accounts, submit, dies_at, only)

    def poll(self, *accounts: str, hours: float, dies_at: int | None = None, only: str | None = None) -> None:
        since = self.clock()
        until = since + timedelta(hours=hours)
        self._run(accounts, lambda work: poll_open_jobs(work, since=since, until=until), dies_at, only)

    def collect(self, *accounts: str, dies_at: int | None = None, only: str | None = None) -> None:
        self._run(accounts, lambda work: collect(work, self.storage), dies_at, only)

    def day(self, *, only: str | None = None) -> None:
        """Run the stages of one day as the DAG does, for all requests or for one request."""
        self.intake(only=only)
        self.submit(*NAMES, only=only)
        self.poll(*NAMES, hours=1, only=only)
        self.collect(*RETURNING, only=only)
        self.package(only=only)

    def _run(self, accounts: Sequence[str], stage: Stage, dies_at: int | None, only: str | None) -> None:
        """Run a worker for each account at the same time. A worker that dies loses its ledger session."""
        life = Life(dies_at)
        with ExitStack() as stack:
            works = []
            for name in accounts:
                db = stack.enter_context(self.sessions.open())
                life.on_death.append(db.close)
                account = self.settings[name]
                line = Line(account, self.world, life)
                requests = planning.request_pks_of(db, [only]) if only else None
                works.append(
                    AccountWork(db, vendor(account.vendor), account, line, requests, clock=self.clock)
                )
            loop = lambda: VirtualLoop(self.clock, life.step)  # noqa: E731
            with asyncio.Runner(loop_factory=loop) as runner:
                ended = runner.run(_all(stage, works))
            if not life.dead:
                for result in ended:
                    if isinstance(result, BaseException) and not isinstance(result, OUTAGES):
                        raise result


async def _all(stage: Stage, works: list[AccountWork]) -> list[Any]:
    return await asyncio.gather(*(stage(work) for work in works), return_exceptions=True)
