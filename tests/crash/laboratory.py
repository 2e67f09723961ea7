"""Runs one crash case: it kills runs in a new deployment, then runs all stages until everything is done.

A deployment is a new ledger, source, sandbox and storage.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import psycopg
import pyrage

from include.sandbox import Sandbox, SandboxSettings, run_in_thread
from include.stack.home import PROJECT, Home
from tests.crash.scenario import ROWS
from tests.crash.steps import Kill
from tests.crash.worker import Job
from tests.integration.conftest import own_database, put

DAY = 24 * 60 * 60
MOST_RUNS = 8
KILLED = -9

UNFINISHED = """
SELECT (SELECT count(*) FROM public.dsar_requests WHERE status IN ('pending', 'in_progress'))
     + (SELECT count(*) FROM dsar.request WHERE status = 'in_progress' OR NOT source_updated)
"""


class Restart(StrEnum):
    """The way in which the stages are started again after a kill."""

    RETRY = "the task is tried again"  # and the tasks after it
    RUN = "another run at once"
    NEXT_DAY = "the next day's run"
    RETRY_FAILED = "a manual run with retry_failed"


class Place(StrEnum):
    """The place where a deployment writes its files."""

    DISK = "a local disk"
    BUCKET = "an object store, packages sealed"


@dataclass(frozen=True)
class Case:
    """A crash case: the kill of the first process, of the second process, and so on."""

    kills: Sequence[Kill] = ()
    restart: Restart = Restart.RUN
    place: Place = Place.DISK

    def __str__(self) -> str:
        kills = ", then ".join(map(str, self.kills)) or "no kill"
        return f"{kills}; {self.restart}; {self.place}"


@dataclass
class World:
    """The state that a case leaves behind: ledger, sandbox, storage and logs."""

    dsn: str
    sandbox: Sandbox
    storage: Path
    temporary: Path
    logs: Path
    key: pyrage.x25519.Identity | None  # the private key that opens the packages
    runs: list[list[str]] = field(default_factory=list)  # the steps of each run
    statuses: list[int] = field(default_factory=list)
    finished: bool = False

    def log(self) -> str:
        """Returns the logs of all runs."""
        return "\n".join(
            f"--- {file.name}\n{file.read_text()}"
            for file in sorted(self.logs.glob("*.log"))
            if file.stat().st_size
        )


class Laboratory:
    """Runs cases, each in its own deployment. Each thread has its own laboratory."""

    def __init__(self, server: Home, root: Path) -> None:
        self._server, self._root = server, root

    def __enter__(self) -> Laboratory:
        self._worker = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.crash.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.communicate()

    @contextmanager
    def run(self, case: Case) -> Iterator[World]:
        """Run the case and return the state that it leaves behind."""
        settings = SandboxSettings(min_seconds=0.5, max_seconds=3)
        with (
            tempfile.TemporaryDirectory(dir=self._root) as folder,
            own_database(self._server) as dsn,
            run_in_thread(settings) as sandbox,
        ):
            storage, temporary, logs = (Path(folder, name) for name in ("storage", "temporary", "logs"))
            for each in (storage, temporary, logs):
                each.mkdir()
            key = pyrage.x25519.Identity.generate() if case.place is Place.BUCKET else None
            world = World(dsn, sandbox, storage, temporary, logs, key)
            put(dsn, *ROWS)
            self._run_until_finished(world, case)
            yield world

    def _run_until_finished(self, world: World, case: Case) -> None:
        kills = list(case.kills)
        begin_at, retry_failed = None, False
        while len(world.runs) < MOST_RUNS and not world.finished:
            kill = kills.pop(0) if kills else None
            status = self._run_once(world, kill, begin_at, retry_failed=retry_failed)
            begin_at, retry_failed = None, status == KILLED and case.restart is Restart.RETRY_FAILED
            if status != KILLED:
                world.finished = not kills and _is_finished(world.dsn)
                world.sandbox.advance(DAY)
            elif case.restart is Restart.NEXT_DAY:
                world.sandbox.advance(DAY)
            elif case.restart is Restart.RETRY:
                begin_at = world.runs[-1][-1].partition(":")[0]

    def _run_once(self, world: World, kill: Kill | None, begin_at: str | None, *, retry_failed: bool) -> int:
        steps = world.logs / f"run{len(world.runs)}"
        job = Job(
            world.dsn,
            world.sandbox.url,
            str(world.storage),
            world.key and str(world.key.to_public()),
            str(world.temporary),
            str(steps),
            begin_at,
            retry_failed,
            kill,
        )
        assert self._worker.stdin and self._worker.stdout
        self._worker.stdin.write(job.line())
        self._worker.stdin.flush()
        status = int(self._worker.stdout.readline())
        world.runs.append(steps.read_text().splitlines())
        world.statuses.append(status)
        return status


def _is_finished(dsn: str) -> bool:
    with psycopg.connect(dsn) as db:
        return db.execute(UNFINISHED).fetchone() == (0,)
