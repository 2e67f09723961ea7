"""Starts the whole stack until a DAG can be triggered, and ends it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import httpx

from include.stack import metadata, postgres, source
from include.stack.api import AirflowApi
from include.stack.environment import (
    DEFAULT_API_PORT,
    LEDGER,
    SOURCE,
    api_port,
    environment,
    ledger_dsn,
    needs_postgres,
    simulated,
)
from include.stack.home import Home, StackError, free_port, is_free
from include.stack.processes import Processes

DAG_ID = "dsar_daily"
START_SECONDS = 180.0

# The log servers stay off: they would listen on all interfaces, and the API server can read the files.
COMPONENTS: Mapping[str, Sequence[str]] = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
HEARTBEATS = ("scheduler", "dag_processor", "triggerer")


@dataclass(frozen=True)
class Stack:
    home: Home
    variables: Mapping[str, str]
    processes: Processes
    api: AirflowApi
    sandbox_url: str | None
    timings: list[tuple[str, float]]

    @property
    def dsn(self) -> str:
        """Returns the ledger's database for psycopg."""
        return ledger_dsn(self.variables)

    @property
    def storage(self) -> Path | str:
        """Returns the storage of packages and receipts. A file URI becomes a path."""
        uri = self.variables["AIRFLOW_VAR_DSAR_STORAGE_URI"]
        return Path(url2pathname(uri.removeprefix("file://"))) if uri.startswith("file://") else uri

    @property
    def logs(self) -> Path:
        return self.home.path("logs")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Records how long the block takes."""
        begin = time.monotonic()
        yield
        self.timings.append((name, time.monotonic() - begin))


@contextmanager
def running(
    home: Home,
    environ: Mapping[str, str],
    *,
    any_port: bool,
    components: Mapping[str, Sequence[str]] = COMPONENTS,
) -> Iterator[Stack]:
    """Runs the stack until the block ends. Only one stack can run per state directory.

    With `any_port`, another port is chosen if port 8080 is in use. `components` maps names to arguments of
    `airflow`. Raises StackError if a part does not start. The text says what to do.
    """
    with ExitStack() as ending:
        ending.enter_context(home.exclusive("stack", wait=False))
        processes = Processes(home.path("processes.json"))
        processes.end_leftovers()
        _choose_ports(home, environ, any_port=any_port)
        if needs_postgres(environ):
            begin = time.monotonic()
            ending.enter_context(postgres.running(home))
            timings = [("PostgreSQL", time.monotonic() - begin)]
        else:
            timings = []
        variables = environment(home, environ)
        stack = Stack(
            home=home,
            variables=variables,
            processes=processes,
            api=AirflowApi(
                f"http://127.0.0.1:{api_port(home, environ)}",
                Path(variables["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]),
            ),
            sandbox_url=f"http://127.0.0.1:{home.port('sandbox')}" if simulated(environ) else None,
            timings=timings,
        )
        ending.callback(stack.api.close)
        ending.callback(processes.stop)
        _start(stack, environ, components)
        yield stack


def _choose_ports(home: Home, environ: Mapping[str, str], *, any_port: bool) -> None:
    home.usable_port("sandbox")
    home.set_port("api", DEFAULT_API_PORT)
    port = api_port(home, environ)
    if is_free(port):
        return
    if not any_port or "AIRFLOW__API__PORT" in environ:
        raise StackError(
            f"port {port} is in use by another program: choose another one for the UI, for example\n"
            f"    AIRFLOW__API__PORT={free_port()} make up"
        )
    home.set_port("api", free_port())


def _start(stack: Stack, environ: Mapping[str, str], components: Mapping[str, Sequence[str]]) -> None:
    begun = datetime.now(UTC)
    if stack.sandbox_url:
        _start_sandbox(stack)
    with stack.step("databases"):
        metadata.migrate(stack.home, environ, stack.variables)
        if not {LEDGER, SOURCE} & environ.keys():
            source.create(stack.dsn)
    for name, command in components.items():
        _start_process(stack, name, [sys.executable, "-m", "airflow", *command])
    with stack.step("Airflow"):
        _until(stack, "Airflow's heartbeats", lambda: _is_healthy(stack, begun))
    with stack.step(f"{DAG_ID} parsed"):
        _until(stack, f"{DAG_ID} to be parsed", lambda: _is_parsed(stack, begun))
    if stack.sandbox_url:
        _until(stack, "the sandbox", lambda: httpx.get(f"{stack.sandbox_url}/_sandbox/jobs", trust_env=False))


def _start_sandbox(stack: Stack) -> None:
    state = stack.home.directory("sandbox") / "state.json"
    command = [sys.executable, "-m", "include.sandbox", "--port", str(stack.home.port("sandbox"))]
    _start_process(
        stack, "sandbox", [*command, "--state", str(state), "--min-seconds", "2", "--max-seconds", "6"]
    )


def _start_process(stack: Stack, name: str, command: list[str]) -> None:
    stack.processes.start(name, command, stack.variables, stack.home.directory("logs") / f"{name}.log")


def _until(stack: Stack, what: str, is_there: Callable[[], Any]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        stack.processes.check()
        try:
            if is_there():
                return
        except (httpx.NetworkError, httpx.TimeoutException):
            pass  # the server is still starting
        if time.monotonic() > deadline:
            raise StackError(f"waited {START_SECONDS:.0f} s for {what}: see the logs in {stack.logs}")
        time.sleep(0.25)


def _is_healthy(stack: Stack, begun: datetime) -> bool:
    """Returns whether each component is healthy and sent a heartbeat after `begun`."""
    health = stack.api.health()
    for part in HEARTBEATS:
        latest = health[part][f"latest_{part}_heartbeat"]
        if health[part]["status"] != "healthy" or not latest or datetime.fromisoformat(latest) < begun:
            return False
    return True


def _is_parsed(stack: Stack, begun: datetime) -> bool:
    """Returns whether the DAG file is parsed and active. Raises StackError if it cannot be imported."""
    for error in stack.api.call("GET", "/importErrors")["import_errors"]:
        if datetime.fromisoformat(error["timestamp"]) >= begun:
            raise StackError(f"{error['filename']} cannot be imported:\n{error['stack_trace']}")
    try:
        dag = stack.api.call("GET", f"/dags/{DAG_ID}")
    except httpx.HTTPStatusError as error:
        if error.response.status_code == 404:
            return False
        raise
    parsed = dag["last_parsed_time"]
    if dag["is_stale"] or not parsed or datetime.fromisoformat(parsed) < begun:
        return False
    if dag["is_paused"]:
        # It was paused in an earlier stack. A manual run of a paused DAG would never start.
        stack.api.call("PATCH", f"/dags/{DAG_ID}", {"is_paused": False})
    return True
