"""A few requests on their way through a stack whose parts are broken meanwhile."""

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

PATIENCE = 400  # seconds for a run, restarts and retries included
ACCOUNTS = ("besitos", "batch", "attentive")  # what is uncertain at ID5 waits for the next UTC day

EXPLAINED = """
SELECT count(*) FROM dsar.event e JOIN dsar.request r ON r.id = e.request
 WHERE r.request_id = ANY(%s) AND e.leaves IN ('uncertain', 'submitted') AND e.enters = 'planned'
   AND e.reason IS NOT NULL
"""


class Drill:
    """Erasure requests of its own; runs of the DAG are for them alone."""

    def __init__(
        self, stack: RunningStack, name: str, count: int, accounts: Sequence[str] = ACCOUNTS
    ) -> None:
        self._stack, self._name = stack, name
        self.ids = [f"{name}-{n}" for n in range(count)]
        self.mend()
        with psycopg.connect(stack.dsn) as db:
            for one in self.ids:
                db.execute(
                    "INSERT INTO public.dsar_requests"
                    " (regulation, received_at, request_id, request_type, user_id, email, accounts)"
                    " VALUES ('GDPR', now(), %s, 'erasure', %s, %s, %s)",
                    [one, [f"user-{one}"], [f"{one}@example.com"], list(accounts)],
                )

    def spoil(self, vendor: str, route: str, **fault: Any) -> None:
        """A fault of the sandbox, until it is mended."""
        body = {"vendor": vendor, "route": route, **fault}
        httpx.post(
            f"{self._stack.sandbox_url}/_sandbox/faults", json=body, trust_env=False
        ).raise_for_status()

    def mend(self) -> None:
        httpx.delete(f"{self._stack.sandbox_url}/_sandbox/faults", trust_env=False).raise_for_status()

    def trigger(self, *, await_minutes: int = 1) -> str:
        return self._stack.trigger({"await_minutes": await_minutes, "request_ids": self.ids})

    def task(self, run_id: str, task: str) -> Mapping[str, Any]:
        """The task instance as the API tells it."""
        found: Mapping[str, Any] = self._stack.api(
            "GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task}"
        )
        return found

    def run_state(self, run_id: str) -> str:
        return self._stack.stack.api.run_state(DAG_ID, run_id)

    def deferred(self, run_id: str) -> list[str]:
        """The tasks that are deferred now."""
        return [name for name, state in self._stack.task_states(run_id).items() if state == "deferred"]

    def clear(self, run_id: str, task: str) -> None:
        """What a person does with a red square; what is downstream of it is done again too."""
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
        """The run ends; parts that end on the way are started again."""

        def ended() -> bool:
            self._stack.stack.processes.restart_ended()
            return self.run_state(run_id) in ("success", "failed")

        wait_for(f"the end of {run_id}", PATIENCE, ended)

    def finish(self, run_id: str) -> None:
        """The run ends, and what it leaves the next one takes on."""
        self.end(run_id)
        if self.statuses() != {"completed"}:
            self.end(self.trigger())

    def statuses(self) -> set[str]:
        """What the source is told of the requests."""
        with psycopg.connect(self._stack.dsn) as db:
            found = db.execute(
                "SELECT status FROM public.dsar_requests WHERE request_id = ANY(%s)", [self.ids]
            )
            return {status for (status,) in found}

    def taken(self) -> Counter[str]:
        """How often each vendor has taken each of them."""
        book = httpx.get(f"{self._stack.sandbox_url}/_sandbox/jobs", trust_env=False, timeout=30).json()
        return Counter(
            f"{entry['vendor']} {one['value']}"
            for entry in book
            for one in entry["subjects"]
            if f"{self._name}-" in one["value"]
        )

    def unexplained(self) -> dict[str, int]:
        """What a vendor has taken more than once, where the events explain fewer repeats than there are."""
        repeated = {key: count for key, count in self.taken().items() if count > 1}
        with psycopg.connect(self._stack.dsn) as db:
            explained = db.execute(EXPLAINED, [self.ids]).fetchone()
        assert explained
        return repeated if sum(repeated.values()) - len(repeated) > explained[0] else {}


def wait_for(what: str, seconds: float, there: Callable[[], Any]) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(httpx.HTTPError, psycopg.Error):
            if there():
                return
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.3)
