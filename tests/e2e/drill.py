"""Sends a few requests through a running stack while a test breaks parts of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx
import psycopg

from include.stack.stack import DAG_ID
from tests.e2e.conftest import RunningStack

RUN_SECONDS = 400  # for a run with restarts and retries
ACCOUNTS = ("besitos", "batch", "attentive")  # at ID5 an uncertain submission waits for the next UTC day

COUNT_REPEATS = """
SELECT count(*) FROM dsar.event e JOIN dsar.request r ON r.id = e.request
 WHERE r.request_id = ANY(%s) AND e.leaves IN ('uncertain', 'submitted') AND e.enters = 'planned'
   AND e.reason IS NOT NULL
"""


class Drill:
    """A set of erasure requests for one test. The drill's runs contain only these requests."""

    def __init__(
        self, stack: RunningStack, name: str, count: int, accounts: Sequence[str] = ACCOUNTS
    ) -> None:
        self._stack, self._name = stack, name
        self.ids = [f"{name}-{n}" for n in range(count)]
        self.clear_faults()
        with psycopg.connect(stack.dsn) as db:
            for one in self.ids:
                db.execute(
                    "INSERT INTO public.dsar_requests"
                    " (regulation, received_at, request_id, request_type, user_id, email, accounts)"
                    " VALUES ('GDPR', now(), %s, 'erasure', %s, %s, %s)",
                    [one, [f"user-{one}"], [f"{one}@example.com"], list(accounts)],
                )

    def inject(self, vendor: str, route: str, **fault: Any) -> None:
        body = {"vendor": vendor, "route": route, **fault}
        httpx.post(
            f"{self._stack.sandbox_url}/_sandbox/faults", json=body, trust_env=False
        ).raise_for_status()

    def clear_faults(self) -> None:
        httpx.delete(f"{self._stack.sandbox_url}/_sandbox/faults", trust_env=False).raise_for_status()

    def trigger(self, *, await_minutes: int = 1) -> str:
        return self._stack.trigger({"await_minutes": await_minutes, "request_ids": self.ids})

    def task(self, run_id: str, task: str) -> Mapping[str, Any]:
        """Returns the task instance from the API."""
        found: Mapping[str, Any] = self._stack.api(
            "GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task}"
        )
        return found

    def run_state(self, run_id: str) -> str:
        return self._stack.stack.api.run_state(DAG_ID, run_id)

    def deferred(self, run_id: str) -> list[str]:
        return [name for name, state in self._stack.task_states(run_id).items() if state == "deferred"]

    def clear(self, run_id: str, task: str) -> None:
        """Clear a task and its downstream tasks, as an operator does after a failure."""
        self._stack.api(
            "POST",
            f"/dags/{DAG_ID}/clearTaskInstances",
            {
                "dry_run": False,
                "dag_run_id": run_id,
                "task_ids": [task],
                "only_failed": False,
                "include_downstream": True,
            },
        )

    def end(self, run_id: str) -> None:
        """Wait until the run ends. Airflow processes that end earlier are restarted."""

        def ended() -> bool:
            self._stack.stack.processes.restart_ended()
            return self.run_state(run_id) in ("success", "failed")

        wait_for(f"the end of {run_id}", RUN_SECONDS, ended)

    def finish(self, run_id: str) -> None:
        """Wait until the run ends. While requests are still open, trigger another run, at most three times.

        On a busy machine, the polls of one run may not reach all jobs before its window ends.
        """
        self.end(run_id)
        for _ in range(3):
            if self.statuses() == {"completed"}:
                return
            self.end(self.trigger())

    def statuses(self) -> set[str]:
        """Returns the statuses of the requests in the source."""
        with psycopg.connect(self._stack.dsn) as db:
            found = db.execute(
                "SELECT status FROM public.dsar_requests WHERE request_id = ANY(%s)", [self.ids]
            )
            return {status for (status,) in found}

    def accepted(self) -> Counter[str]:
        """Returns how often each vendor accepted each request."""
        jobs = httpx.get(f"{self._stack.sandbox_url}/_sandbox/jobs", trust_env=False, timeout=30).json()
        return Counter(
            f"{job['vendor']} {one['value']}"
            for job in jobs
            for one in job["subjects"]
            if f"{self._name}-" in one["value"]
        )

    def unrecorded_repeats(self) -> dict[str, int]:
        """Returns the requests that a vendor accepted more often than the recorded events explain."""
        repeated = {key: count for key, count in self.accepted().items() if count > 1}
        with psycopg.connect(self._stack.dsn) as db:
            recorded = db.execute(COUNT_REPEATS, [self.ids]).fetchone()
        assert recorded
        return repeated if sum(repeated.values()) - len(repeated) > recorded[0] else {}


def wait_for(what: str, seconds: float, there: Callable[[], Any]) -> None:
    """Wait until `there()` returns a true value. An API error or a database error counts as false."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(httpx.HTTPError, psycopg.Error):
            if there():
                return
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.3)
