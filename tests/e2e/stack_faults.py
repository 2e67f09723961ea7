"""The parts of the stack break while `dsar_daily` runs: each time it ends right, by itself or once mended.

PostgreSQL here holds Airflow's own database and the ledger. A part of Airflow that ends is started again,
as a supervisor does. It takes ten minutes, and is not collected by itself: `make faults` runs it.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from psycopg.rows import dict_row

from include.stack import postgres
from include.stack.stack import COMPONENTS
from tests.e2e.conftest import RunningStack

PATIENCE = 400  # seconds for a run, restarts and retries included
CLOSED = {"completed"}
ACCOUNTS = ["besitos", "batch", "attentive"]  # what is uncertain at ID5 waits for the next UTC day


@pytest.fixture(autouse=True)
def no_faults(stack: RunningStack) -> Iterator[None]:
    httpx.delete(f"{stack.sandbox_url}/_sandbox/faults", trust_env=False)
    yield
    revive(stack)


def put(stack: RunningStack, prefix: str, count: int, action: str = "erasure") -> list[str]:
    ids = [f"{prefix}-{n}" for n in range(count)]
    with psycopg.connect(stack.dsn) as db:
        for name in ids:
            db.execute(
                "INSERT INTO public.dsar_requests"
                " (regulation, received_at, request_id, request_type, user_id, email, accounts)"
                " VALUES ('GDPR', now(), %s, %s, %s, %s, %s)",
                [name, action, [f"user-{name}"], [f"{name}@example.com"], ACCOUNTS],
            )
    return ids


def statuses(stack: RunningStack, ids: list[str]) -> set[str]:
    with psycopg.connect(stack.dsn, row_factory=dict_row) as db:
        found = db.execute("SELECT status FROM public.dsar_requests WHERE request_id = ANY(%s)", [ids])
        return {row["status"] for row in found}


def unexplained(stack: RunningStack, prefix: str) -> dict[str, int]:
    """What a vendor has taken more often than the events explain."""
    book = httpx.get(f"{stack.sandbox_url}/_sandbox/book", trust_env=False, timeout=30).json()
    taken = Counter(
        f"{entry['vendor']} {one['value']}"
        for entry in book
        for one in entry["subjects"]
        if prefix in one["value"]
    )
    with psycopg.connect(stack.dsn) as db:
        explained = db.execute(
            "SELECT count(*) FROM dsar.event e JOIN dsar.request r ON r.id = e.request"
            " WHERE r.request_id LIKE %s AND e.leaves IN ('uncertain', 'submitted') AND e.enters = 'planned'"
            " AND e.reason IS NOT NULL",
            [f"{prefix}-%"],
        ).fetchone()
    repeated = {key: count for key, count in taken.items() if count > 1}
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


def end(stack: RunningStack, run_id: str) -> str:
    """The state in which a run ends; parts that end on the way are started again."""
    found = {"state": ""}

    def ended() -> bool:
        revive(stack)
        found["state"] = stack.stack.api.run_state("dsar_daily", run_id)
        return found["state"] in ("success", "failed")

    wait_for(f"the end of {run_id}", PATIENCE, ended)
    return found["state"]


def revive(stack: RunningStack) -> None:
    """What a supervisor does: a part that has ended is started again."""
    processes = stack.stack.processes
    for one in [one for one in processes._running if one.popen.poll() is not None]:
        processes._running.remove(one)
        command = [sys.executable, "-m", "airflow", *COMPONENTS[one.name]]
        log = one.log.with_name(f"{one.name}-{time.monotonic_ns()}.log")
        processes.start(one.name, command, stack.stack.variables, log)


def kill(stack: RunningStack, name: str) -> None:
    """SIGKILL for a part with all that it has started."""
    (part,) = [one for one in stack.stack.processes._running if one.name == name]
    leader = psutil.Process(part.popen.pid)
    for process in [leader, *leader.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    part.popen.wait()


def state_of(stack: RunningStack, run_id: str, task: str) -> str:
    return stack.task_states(run_id).get(task, "")


def some_deferred(stack: RunningStack, run_id: str) -> Callable[[], bool]:
    return lambda: "deferred" in stack.task_states(run_id).values()


def taken_of(stack: RunningStack, prefix: str) -> Callable[[], int]:
    def count() -> int:
        book = httpx.get(f"{stack.sandbox_url}/_sandbox/book", trust_env=False, timeout=30).json()
        return sum(prefix in one["value"] for entry in book for one in entry["subjects"])

    return count


def restart_postgres(stack: RunningStack) -> None:
    home = stack.stack.home
    postgres._run(
        home, "pg_ctl", "restart", "-w", "-t", "60", "-m", "immediate", "-D", str(home.root / "postgres")
    )


def test_postgresql_restarts_in_the_middle_of_submit_and_of_await(stack: RunningStack) -> None:
    """Tasks that it broke off are tried again; nothing is lost, nothing doubled without a reason."""
    ids = put(stack, "pgdown", 60)
    run_id = stack.trigger({"await_minutes": 1, "request_ids": ids})
    taken = taken_of(stack, "pgdown")
    wait_for("submissions", 120, lambda: taken() > 5)
    restart_postgres(stack)
    wait_for("deferred tasks", 240, lambda: revive(stack) or some_deferred(stack, run_id)())
    restart_postgres(stack)
    end(stack, run_id)
    if statuses(stack, ids) != CLOSED:  # what is left, the next run takes on
        end(stack, stack.trigger({"await_minutes": 1, "request_ids": ids}))
    assert statuses(stack, ids) == CLOSED
    assert unexplained(stack, "pgdown") == {}


def test_the_scheduler_and_its_tasks_are_killed(stack: RunningStack) -> None:
    """In the middle of submit: the task is tried again, and asks or waits for what it does not know."""
    ids = put(stack, "killed", 60)
    run_id = stack.trigger({"await_minutes": 1, "request_ids": ids})
    taken = taken_of(stack, "killed")
    wait_for("submissions", 120, lambda: taken() > 5)
    kill(stack, "scheduler")
    end(stack, run_id)
    if statuses(stack, ids) != CLOSED:  # what is left, the next run takes on
        end(stack, stack.trigger({"await_minutes": 1, "request_ids": ids}))
    assert unexplained(stack, "killed") == {}
    assert statuses(stack, ids) == CLOSED


def test_a_second_run_waits_and_a_cleared_deferred_task_begins_again(stack: RunningStack) -> None:
    """One run at a time; clearing a task that is deferred costs nothing."""
    ids = put(stack, "second", 8)
    first = stack.trigger({"await_minutes": 1, "request_ids": ids})
    second = stack.trigger({"await_minutes": 0, "request_ids": ids})
    wait_for("deferred tasks", 120, some_deferred(stack, first))
    assert stack.stack.api.run_state("dsar_daily", second) == "queued"
    deferred = [name for name, state in stack.task_states(first).items() if state == "deferred"]
    stack.api(
        "POST",
        "/dags/dsar_daily/clearTaskInstances",
        {"dry_run": False, "dag_run_id": first, "task_ids": deferred[:1], "only_failed": False},
    )
    end(stack, first)
    end(stack, second)
    assert statuses(stack, ids) == CLOSED
    assert unexplained(stack, "second") == {}


def test_storage_refuses_a_write_until_it_is_mended(stack: RunningStack) -> None:
    """The square that could not write is red, the request open; cleared, it finishes the rest."""
    ids = put(stack, "nodisk", 2)
    blocked = stack.storage / "requests" / ids[0]
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("a file in the place of the folder")
    run_id = stack.trigger({"await_minutes": 1, "request_ids": ids})
    wait_for(
        "package to fail",
        PATIENCE,
        lambda: state_of(stack, run_id, "package") in ("up_for_retry", "failed"),
    )
    assert statuses(stack, ids) == {"in_progress", "completed"}
    blocked.unlink()
    end(stack, run_id)
    assert statuses(stack, ids) == CLOSED
    assert (blocked / "receipt.json").is_file()
