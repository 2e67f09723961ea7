"""The process that is killed. It runs all stages, in a fork of a parent that has loaded all modules.

    python -m tests.crash.worker

The parent reads one job per line from standard input, runs it in a child, and prints the child's exit
status.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import create_engine

from include.accounts import ACCOUNTS
from include.dsar.accounts import Account
from include.dsar.delivery.seal import Seal
from include.dsar.delivery.storage import Storage
from include.dsar.errors import DsarError
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.recorder import Recorder
from include.dsar.http.client import client
from include.dsar.intake.source import Source
from include.dsar.ledger import database, staging
from include.dsar.stages import poll as polling
from include.dsar.stages import submit as submitting
from include.dsar.stages.collect import collect
from include.dsar.stages.intake import Intake
from include.dsar.stages.package import Package
from include.dsar.stages.poll import poll_open_jobs
from include.dsar.stages.report import Report
from include.dsar.stages.submit import submit
from include.dsar.vendors import vendor
from tests.crash.scenario import RULES, account_settings
from tests.crash.steps import Kill, Steps, record_steps

POLL = timedelta(minutes=2)
FAILED = 1  # exit status if a stage raised an error that is not the project's


@dataclass(frozen=True)
class Job:
    """One run of the stages, starting at `begin_at`."""

    dsn: str
    sandbox_url: str
    storage: str
    recipient: str | None  # if set: an object store and sealed packages
    temporary: str  # the folder for temporary files
    steps: str  # the log file of the steps' names
    begin_at: str | None
    retry_failed: bool
    kill: Kill | None

    def line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def main() -> None:
    gc.freeze()  # the children share this memory
    for line in sys.stdin:
        fields = json.loads(line)
        child = os.fork()
        if child == 0:
            _end(_run(Job(**{**fields, "kill": fields["kill"] and Kill(**fields["kill"])})))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _end(status: int) -> None:
    sys.stderr.flush()
    os._exit(status)


def _run(job: Job) -> int:
    log = os.open(f"{job.steps}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, sys.stderr.fileno())
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)
    tempfile.tempdir = job.temporary
    try:
        return _Run(job).stages()
    except BaseException:
        traceback.print_exc()
        return FAILED


class _Run:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._clock = Clock(job.sandbox_url)
        self._engine = create_engine(job.dsn.replace("postgresql://", "postgresql+psycopg://"))
        self._steps = Steps(Path(job.steps), job.kill)
        record_steps(self._steps, self._engine)
        self._source = Source(self._engine)
        self._storage = Storage(*_storage(job))
        self._seal = Seal(job.recipient) if job.recipient else None
        self._began = self._clock()
        Recorder.MAX_DELAY = 0.02
        staging.ROWS_PER_TRANSACTION = 4
        submitting.asyncio = polling.asyncio = VirtualTime(self._clock)

    def stages(self) -> int:
        """Run all stages. As in the DAG, a stage also runs if an earlier stage failed."""
        status = 0
        todo: list[tuple[str, Callable[[], Any]]] = [("intake", self._intake)]
        for account in ACCOUNTS:
            for name, stage in (("submit", self._submit), ("poll", self._poll), ("collect", self._collect)):
                if name != "collect" or account.vendor in ("besitos", "batch"):
                    todo.append((f"{account.name} {name}", _bound(self._with_account, account, stage)))
        todo += [("package", self._package), ("report", self._report)]
        names = [name for name, _ in todo]
        for name, stage in todo[names.index(self._job.begin_at or names[0]) :]:
            self._steps.stage = name
            try:
                stage()
            except DsarError as error:
                logging.warning("%s: %s", name, error)
            except Exception:
                traceback.print_exc()
                status = FAILED
        return status

    def _intake(self) -> None:
        with database.connect(self._job.dsn) as db:
            retry_failed = self._job.retry_failed
            Intake(db, self._source, RULES, retry_failed=retry_failed, clock=self._clock).run()

    def _with_account(self, account: Account, stage: Callable[[AccountWork], Any]) -> None:
        async def work() -> None:
            resolved = account_settings(account, self._job.sandbox_url)
            with database.connect(self._job.dsn) as db:
                async with client(resolved) as http:
                    await stage(AccountWork(db, vendor(account.vendor), resolved, http, clock=self._clock))

        asyncio.run(work())

    async def _submit(self, work: AccountWork) -> None:
        await submit(work)

    async def _poll(self, work: AccountWork) -> None:
        now = self._clock()
        await poll_open_jobs(work, since=now, until=now + POLL)

    async def _collect(self, work: AccountWork) -> None:
        await collect(work, self._storage)

    def _package(self) -> None:
        with database.connect(self._job.dsn) as db:
            Package(db, self._source, self._storage, seal=self._seal, clock=self._clock).run()

    def _report(self) -> None:
        with database.connect(self._job.dsn) as db:
            Report(
                db, self._storage, self._began, [account.name for account in ACCOUNTS], clock=self._clock
            ).run()


def _bound(function: Callable[..., None], *args: Any) -> Callable[[], None]:
    return lambda: function(*args)


def _storage(job: Job) -> tuple[Any, str]:
    if job.recipient:  # the type is not LocalFileSystem, so files are uploaded whole
        return DirFileSystem(job.storage, LocalFileSystem()), "bucket"
    return LocalFileSystem(), f"{job.storage}/bucket"


class Clock:
    """The sandbox's clock: the real time plus the length of all waits so far."""

    def __init__(self, sandbox_url: str) -> None:
        self._url = f"{sandbox_url}/_sandbox/clock"
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self.advance(0)

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self._ahead, UTC)

    def advance(self, seconds: float) -> None:
        with self._open(self._url, json.dumps({"advance": seconds}).encode()) as reply:
            self._ahead = json.loads(reply.read())["now"] - time.time()


class VirtualTime:
    """A replacement of asyncio for a stage. Its sleep moves the clock ahead and does not wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        until = self._clock() + timedelta(seconds=seconds)
        await asyncio.sleep(0)
        if (left := (until - self._clock()).total_seconds()) > 0:
            self._clock.advance(left)


if __name__ == "__main__":
    main()
