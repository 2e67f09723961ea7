"""Reads everything that a running Airflow keeps or shows, as bytes by place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import httpx
import psycopg
from cryptography.fernet import Fernet
from psycopg import sql

from include.stack.stack import DAG_ID, Stack

Places = dict[str, bytes]

OF_THE_DAG = (
    "/api/v2/dags/{dag}", "/api/v2/dags/{dag}/details", "/api/v2/dags/{dag}/tasks",
    "/api/v2/dags/{dag}/dagVersions", "/api/v2/dags/{dag}/dagRuns", "/api/v2/dagSources/{dag}",
    "/api/v2/dagWarnings", "/api/v2/dagStats", "/api/v2/eventLogs?limit=1000", "/api/v2/importErrors",
    "/api/v2/jobs", "/api/v2/connections", "/api/v2/variables", "/api/v2/plugins",
    "/ui/grid/structure/{dag}", "/ui/grid/runs/{dag}", "/ui/dags", "/ui/dags/{dag}/latest_run",
    "/ui/structure/structure_data?dag_id={dag}", "/ui/config", "/ui/dependencies",
)  # fmt: skip
OF_A_RUN = (
    "/api/v2/dags/{dag}/dagRuns/{run}", "/api/v2/dags/{dag}/dagRuns/{run}/taskInstances?limit=1000",
    "/ui/gantt/{dag}/{run}", "/ui/grid/ti_summaries/{dag}?run_ids={run}",
)  # fmt: skip
OF_A_TASK = ("", "/tries", "/links", "/dependencies", "/xcomEntries", "/xcomEntries/return_value")


def files(folder: Path, *, without: Sequence[str] = ()) -> Places:
    """Returns every file below a folder, except those below `without`."""
    skipped = [folder / name for name in without]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not any(path.is_relative_to(each) for each in skipped)
    }


def tables(dsn: str) -> Places:
    """Returns every table of a database as text, with bytea as hex and JSON as text."""
    with psycopg.connect(dsn) as db:
        names = db.execute(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        return {
            f"table {schema}.{name}": "\n".join(
                row
                for (row,) in db.execute(
                    sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(schema, name))
                )
            ).encode()
            for schema, name in names
        }


def answers(stack: Stack, runs: Sequence[str]) -> Places:
    """Returns the replies of the API, and of the UI's routes about the DAG, its runs and their tasks."""
    replies: Places = {}
    headers = {"Authorization": f"Bearer {stack.api.token()}"}
    with httpx.Client(base_url=stack.api.url, headers=headers, timeout=30, trust_env=False) as client:

        def ask(path: str) -> httpx.Response:
            reply = client.get(path)
            if not path.endswith("/return_value"):  # only a successful task has a return value
                reply.raise_for_status()
            replies[f"GET {path}"] = reply.content
            return reply

        for path in OF_THE_DAG:
            ask(path.format(dag=DAG_ID))
        for run in runs:
            for path in OF_A_RUN:
                ask(path.format(dag=DAG_ID, run=run))
            listed = ask(f"/api/v2/dags/{DAG_ID}/dagRuns/{run}/taskInstances?limit=1000").json()
            for task in listed["task_instances"]:
                base = f"/api/v2/dags/{DAG_ID}/dagRuns/{run}/taskInstances/{task['task_id']}"
                for path in OF_A_TASK:
                    ask(base + path)
                for number in range(1, task["try_number"] + 1):
                    ask(f"{base}/logs/{number}?full_content=true")
    return replies


class Sampler:
    """Samples data that exists only for a short time: arguments of processes and triggers."""

    PAUSE = 0.3  # seconds

    def __init__(self, dsn: str, fernet_key: str) -> None:
        self._dsn, self._fernet = dsn, Fernet(fernet_key)
        self.command_lines: set[bytes] = set()
        self.triggers: set[bytes] = set()

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = Event()
        thread = Thread(target=self._run, args=(stop,), name="sampler", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    @property
    def places(self) -> Places:
        return {
            "process arguments": b"\n".join(self.command_lines),
            "triggers and deferred tasks": b"\n".join(self.triggers),
        }

    def _run(self, stop: Event) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as db:
            while not stop.wait(self.PAUSE):
                self._read_processes()
                self._read_triggers(db)

    def _read_processes(self) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                self.command_lines.add(path.read_bytes().replace(b"\0", b" "))
            except (FileNotFoundError, ProcessLookupError):
                continue

    def _read_triggers(self, db: psycopg.Connection) -> None:
        for classpath, kwargs in db.execute("SELECT classpath, kwargs FROM trigger").fetchall():
            plain = kwargs if kwargs.startswith("{") else self._fernet.decrypt(kwargs.encode()).decode()
            self.triggers.add(f"{classpath} {plain}".encode())
        for row in db.execute("SELECT next_kwargs FROM task_instance WHERE next_kwargs IS NOT NULL"):
            self.triggers.add(json.dumps(row).encode())
