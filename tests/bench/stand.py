"""The environment of the benchmark: a temporary PostgreSQL with ledgers, and the vendor server."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from include.dsar.ledger import database
from include.stack import postgres, source
from include.stack.home import PROJECT, Home

MAX_BUSY = 0.75  # of a processor; a busier vendor server would distort the figures


@dataclass(frozen=True)
class VendorServer:
    """A running vendor server, and its counts since the last `reset`."""

    url: str

    def reset(self) -> None:
        self._ask("reset")

    def jobs(self) -> dict[str, Any]:
        """Return for each job id the time `ends` when the job ends, and the times `asked` when it was
        polled, in Unix seconds.
        """
        return self._ask("jobs")

    def counted(self) -> dict[str, Any]:
        """Returns `calls` by route, `busy` (share of a processor) and `late_ms` (mean delay of a reply).

        Raises RuntimeError if the server was so busy that it distorts the figures.
        """
        counted = self._ask("counted")
        if counted["busy"] > MAX_BUSY:
            raise RuntimeError(
                f"the vendor server was busy {counted['busy']:.0%} of the time, which distorts the figures"
            )
        return counted

    def _ask(self, what: str) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}/_bench/{what}") as reply:
            answer: dict[str, Any] = json.loads(reply.read())
        return answer


@dataclass
class Stand:
    """The environment of a benchmark case. `repeats` is the number of pairs of runs."""

    home: Home
    scale: float = 1.0
    repeats: int = 3

    def count(self, full: int) -> int:
        """Returns this size, multiplied by the scale of the environment."""
        return max(int(full * self.scale), 1)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yields an empty folder. It is deleted when the block ends."""
        import shutil

        path = self.home.directory("files") / uuid4().hex
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path)

    @contextmanager
    def ledger(self, template: str = "ledger") -> Iterator[str]:
        """Copy the database `template` and yield the copy's URL. The copy is dropped when the block ends."""
        name = f"bench_{uuid4().hex}"
        with self._admin() as db:
            # The checkpoint writes the copy to disk now, so that the run does not wait for it.
            db.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
            db.execute("CHECKPOINT")
        try:
            yield self.url(name)
        finally:
            with self._admin() as db:
                db.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def template(self, fill: Callable[[str], object]) -> Iterator[str]:
        """Create a database for `ledger` to copy, and let `fill(url)` fill it. Yields its name."""
        with self.ledger() as url:
            fill(url)
            yield url.rpartition("/")[2]

    def url(self, name: str) -> str:
        return postgres.url(self.home, name)

    @contextmanager
    def vendors(
        self, *, latency: float = 0.0, job_seconds: float = 0.0, record_bytes: int = 500
    ) -> Iterator[VendorServer]:
        """Run the vendor server in its own process. A job ends `job_seconds` after its POST."""
        settings = {"latency": latency, "job_seconds": job_seconds, "record_bytes": record_bytes}
        command = [sys.executable, "-m", "tests.bench.vendor_server", json.dumps(settings)]
        with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                yield VendorServer(process.stdout.readline().strip())
            finally:
                process.terminate()

    def _admin(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url("postgres"), autocommit=True)


@contextmanager
def bench_stand(home: Home, scale: float, repeats: int) -> Iterator[Stand]:
    """Run the embedded PostgreSQL with default durability and an empty ledger to copy."""
    with postgres.running(home):
        stand = Stand(home, scale, repeats)
        with psycopg.connect(stand.url("postgres"), autocommit=True) as db:
            db.execute("DROP DATABASE IF EXISTS ledger WITH (FORCE)")
            db.execute("CREATE DATABASE ledger")
        database.migrate(stand.url("ledger"))
        source.create(stand.url("ledger"))
        yield stand
