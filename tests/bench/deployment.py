"""Runs the project's stages without Airflow, in the same order as the DAG."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import create_engine

from include.dsar.accounts import Account
from include.dsar.delivery.storage import Storage
from include.dsar.execution.account_work import AccountWork
from include.dsar.http.client import client
from include.dsar.intake.rows import Rules
from include.dsar.intake.source import Source
from include.dsar.ledger import database
from include.dsar.stages.collect import collect
from include.dsar.stages.intake import Intake, TakenIn
from include.dsar.stages.package import Delivered, Package
from include.dsar.stages.poll import poll_open_jobs
from include.dsar.stages.submit import submit
from include.dsar.vendors import settings, vendor
from include.regulations import REGULATIONS
from include.sandbox import VENDORS
from tests.bench import source_rows

ACCOUNTS = tuple(Account(name, name) for name in source_rows.ACCOUNTS)
RULES = Rules(ACCOUNTS, None, b"key", REGULATIONS)
AWAIT = timedelta(minutes=30)
NO_LIMIT = 1000.0  # calls per second, the highest rate that a connection accepts


@dataclass(frozen=True)
class Deployment:
    """A ledger, the vendors' URL, a folder for storage, and the connections' Extra."""

    ledger: str
    vendors: str
    folder: Path
    extra: Mapping[str, Any] = field(default_factory=dict)
    extra_of: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by account

    @property
    def storage(self) -> Storage:
        return Storage(LocalFileSystem(), str(self.folder / "storage"))

    def settings_of(self, account: Account) -> Any:
        quota = {"daily_quota": 10**9} if account.vendor == "id5" else {}
        extra = {
            **VENDORS[account.vendor].extra,
            **quota,
            **self.extra,
            **self.extra_of.get(account.name, {}),
        }
        return settings(account, base_url=self.vendors, secret="secret", extra=extra)

    @asynccontextmanager
    async def work(self, account: Account) -> AsyncIterator[AccountWork]:
        resolved = self.settings_of(account)
        with database.connect(self.ledger) as db:
            async with client(resolved) as http:
                yield AccountWork(db, vendor(account.vendor), resolved, http)


def take_in(url: str) -> TakenIn:
    """Run intake for all pending rows of the database's source table."""
    with database.connect(url) as db, _source(url) as table:
        return Intake(db, table, RULES, volume=None).run()


STAGES = ("submit", "poll", "collect")

Seconds = dict[str, dict[str, float]]  # by account and stage; `polls_since` is a time


def pass_on(deployment: Deployment, stages: Sequence[str] = STAGES) -> Seconds:
    """Run the stages submit, poll and collect for all accounts concurrently. Returns the seconds of each
    stage.
    """

    async def run() -> Seconds:
        seconds = await asyncio.gather(*(_pass_on(deployment, account, stages) for account in ACCOUNTS))
        return {account.name: one for account, one in zip(ACCOUNTS, seconds, strict=True)}

    return asyncio.run(run())


async def _pass_on(deployment: Deployment, account: Account, stages: Sequence[str]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for stage in stages:
        if stage == "collect" and not vendor(account.vendor).returns_data:
            continue
        async with deployment.work(account) as work:
            now, began = datetime.now(UTC), time.perf_counter()
            match stage:
                case "submit":
                    await submit(work)
                case "poll":
                    seconds["polls_since"] = now.timestamp()
                    await poll_open_jobs(work, since=now, until=now + AWAIT)
                case "collect":
                    await collect(work, deployment.storage)
            seconds[stage] = time.perf_counter() - began
    return seconds


def deliver(deployment: Deployment) -> Delivered:
    """Run the package stage."""
    with database.connect(deployment.ledger) as db, _source(deployment.ledger) as table:
        return Package(db, table, deployment.storage).run()


def whole_run(deployment: Deployment) -> dict[str, float]:
    """Run all stages, from the source table to closed requests. Returns the seconds of each stage."""
    seconds = {}
    for name, part in (
        ("intake", lambda: take_in(deployment.ledger)),
        ("submit, poll, collect", lambda: pass_on(deployment)),
        ("package", lambda: deliver(deployment)),
    ):
        began = time.perf_counter()
        part()
        seconds[name] = time.perf_counter() - began
    return seconds


@contextmanager
def _source(url: str) -> Iterator[Source]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    yield Source(engine)
    engine.dispose()
