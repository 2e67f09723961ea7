"""`make demo` sends synthetic DSARs through the whole stack and prints their outcomes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import httpx
import psycopg

from include.stack import check, summary
from include.stack.environment import OF_REAL_REQUESTS, SANDBOX_CONNECTIONS
from include.stack.home import Home, StackError
from include.stack.stack import DAG_ID, Stack, running
from include.stack.synthetic import INVALID, insert, new_call, synthetic_requests

RUN_SECONDS = 600.0
PROGRESS_SECONDS = 3.0

# Some sandbox jobs take an hour. The run does not wait for them; the next run polls them.
CONF = {"await_minutes": 1}

PROGRESS = """
SELECT count(*) FILTER (WHERE status <> 'pending'), count(*) FILTER (WHERE closed_at IS NOT NULL)
  FROM public.dsar_requests WHERE request_id LIKE %s
"""


def run(home: Home, environ: Mapping[str, str]) -> bool:
    """Runs the demo. Returns whether all outcomes are as expected. Raises StackError or Interrupted."""
    _refuse_real_data(environ)
    begun = time.monotonic()
    print("Starting PostgreSQL, the sandbox and Airflow …", flush=True)
    with running(home, environ, any_port=True) as stack:
        call = new_call()
        with stack.step("synthetic DSARs"):
            requests = synthetic_requests(call)
            insert(stack.dsn, requests)
        print(f"{len(requests)} synthetic DSARs are in public.dsar_requests. Airflow's UI: {stack.api.url}")
        with stack.step("the run"):
            run_id = _run_dag(stack, call)
        with stack.step("check"):
            wrong = _wrong(stack, call, run_id, {each.request_id for each in requests[-len(INVALID) :]})
        print(summary.text(stack, f"demo-{call}-", run_id))
    total = time.monotonic() - begun
    stack.timings.append(
        ("stopping all processes, and other steps", total - sum(each for _, each in stack.timings))
    )
    stack.timings.append(("total", total))
    print("\n".join(f"  {seconds:6.1f} s  {name}" for name, seconds in stack.timings))
    for line in wrong:
        print(f"WRONG: {line}")
    print(summary.next_steps(stack, good=not wrong), flush=True)
    return not wrong


def _refuse_real_data(environ: Mapping[str, str]) -> None:
    """Raises StackError if requests may be real, because the sandbox would close them."""
    set_by_user = sorted({*SANDBOX_CONNECTIONS, *OF_REAL_REQUESTS} & environ.keys())
    if set_by_user:
        raise StackError(
            f"the demo must use its own database and simulated vendors, but {', '.join(set_by_user)} "
            "is set. Unset it for the demo, or use `make up`, which uses your connections"
        )


def _run_dag(stack: Stack, call: str) -> str:
    for earlier in stack.api.call("GET", f"/dags/{DAG_ID}/dagRuns?state=running&state=queued")["dag_runs"]:
        # Only one run can be active, so a run left by an interrupted demo would block this one.
        # This run continues from the ledger.
        stack.api.call("PATCH", f"/dags/{DAG_ID}/dagRuns/{earlier['dag_run_id']}", {"state": "failed"})
    run_id = stack.api.trigger(DAG_ID, f"demo-{call}", CONF)
    begun = time.monotonic()

    def progress() -> None:
        stack.processes.check()
        tasks = Counter(stack.api.task_states(DAG_ID, run_id).values())
        tasks["waiting"] = tasks.pop("none", 0)
        states = ", ".join(f"{count} {state}" for state, count in sorted(tasks.items()) if count)
        print(
            f"  {time.monotonic() - begun:4.0f} s  tasks: {states}; {_requests(stack.dsn, call)}", flush=True
        )

    stack.api.wait(DAG_ID, run_id, RUN_SECONDS, progress, PROGRESS_SECONDS)
    return run_id


def _requests(dsn: str, call: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(PROGRESS, [f"demo-{call}-%"]).fetchone()
    return "requests: {} read, {} closed".format(*row) if row else ""


def _wrong(stack: Stack, call: str, run_id: str, invalid: set[str]) -> list[str]:
    wrong = [
        f"task {task} is {state}: see {stack.logs}/tasks"
        for task, state in stack.api.task_states(DAG_ID, run_id).items()
        if state not in ("success", "skipped") and task not in summary.EXPECTED_RED
    ]
    jobs = (
        httpx.get(f"{stack.sandbox_url}/_sandbox/jobs", timeout=30, trust_env=False).raise_for_status().json()
    )
    return wrong + check.disagreements(stack.dsn, f"demo-{call}-", invalid, jobs)
