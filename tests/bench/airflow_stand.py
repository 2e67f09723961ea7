"""A local stack with the benchmark's vendor server, its DAGs and the project's DAG."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from include.sandbox import VENDORS
from include.stack.home import PROJECT, Home, free_port
from include.stack.stack import DAG_ID, Stack, running
from tests.bench import source_rows
from tests.bench.deployment import NO_LIMIT
from tests.bench.stand import VendorServer
from tests.e2e.conftest import own_environment

BENCH_DAGS = Path(__file__).parent / "dags"
RUN_SECONDS = 1800.0
SERVER_CONNECTION = "AIRFLOW_CONN_BENCH_VENDORS"
POLL = {"poll_min_seconds": 1, "poll_max_seconds": 5}


@dataclass
class AirflowStand:
    """A running stack that measures DAG runs."""

    stack: Stack
    _runs: int = 0

    def run(self, dag_id: str, **conf: object) -> float:
        """Start a new run and return its seconds. Raises RuntimeError if the run fails."""
        self._runs += 1
        run_id = f"bench-{self._runs}"
        self._wait_until_parsed(dag_id)
        self.stack.api.trigger(dag_id, run_id, conf)
        state = self.stack.api.wait(dag_id, run_id, RUN_SECONDS, self.stack.processes.check)
        run = self.stack.api.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
        if state != "success":
            raise RuntimeError(f"{dag_id} ended {state}: {self.stack.api.task_states(dag_id, run_id)}")
        ended, began = map(datetime.fromisoformat, (run["end_date"], run["start_date"]))
        return (ended - began).total_seconds()

    def _wait_until_parsed(self, dag_id: str) -> None:
        deadline = time.monotonic() + 60
        while dag_id not in {one["dag_id"] for one in self.stack.api.call("GET", "/dags")["dags"]}:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{dag_id} was not parsed")
            time.sleep(0.5)


ANY_VOLUME = """
import include.accounts
include.accounts.VOLUME = None
"""


@contextmanager
def airflow(vendors: VendorServer) -> Iterator[AirflowStand]:
    """Run a stack in a temporary directory. No account has a rate limit."""
    scratch = Path(tempfile.mkdtemp(prefix="dsar-bench-stack-"))
    home = Home(scratch / "home")
    dags = home.directory("dags")
    shutil.copytree(BENCH_DAGS, dags, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (f"{DAG_ID}.py", f"{DAG_ID}.md"):
        shutil.copy(PROJECT / "dags" / name, dags)
    with (dags / f"{DAG_ID}.py").open("a") as file:
        file.write(ANY_VOLUME)
    quota = {"id5": {"daily_quota": 10**9}}
    connections = {
        f"AIRFLOW_CONN_{account.upper()}_DEFAULT": json.dumps(
            {
                "conn_type": "http",
                "host": vendors.url,
                "password": "secret",
                "extra": {
                    "requests_per_second": NO_LIMIT,
                    "max_concurrency": 32,
                    **POLL,
                    **VENDORS[account].extra,
                    **quota.get(account, {}),
                },
            }
        )
        for account in source_rows.ACCOUNTS
    }
    environ = {
        **own_environment(),
        "AIRFLOW__API__PORT": str(free_port()),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        SERVER_CONNECTION: json.dumps({"conn_type": "http", "host": vendors.url}),
        **connections,
    }
    try:
        with running(home, environ, any_port=False) as stack:
            yield AirflowStand(stack)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
