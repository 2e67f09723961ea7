"""Parts of the stack break while `dsar_daily` runs: each time it ends right, by itself or once mended.

What takes longer is in `stack_faults.py`, for `make faults`. The triggerer is killed in
`test_daily_run.py`; the ledger's PostgreSQL, in the middle of each stage, in
`tests/integration/test_stage_faults.py`.
"""

from __future__ import annotations

import os
import signal

from tests.e2e.conftest import RunningStack
from tests.e2e.drill import Drill, wait_for


def test_a_worker_is_killed_in_the_middle_of_submit(stack: RunningStack) -> None:
    """Its task alone dies, by SIGKILL, and Airflow tries it again: what it does not know, it asks."""
    drill = Drill(stack, "worker", 30, ["batch"])
    drill.spoil("batch", "create", kind="hang", taken=True, seconds=60, times=None)
    run_id = drill.trigger()
    wait_for("submissions", 120, lambda: drill.taken().total() > 5)
    pid = stack.stack.processes.pid_of(f"airflow worker -- {drill.task(run_id, 'batch.submit')['id']}")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert drill.taken().total() < 30
    drill.mend()
    wait_for("the retry", 60, lambda: drill.task(run_id, "batch.submit")["state"] == "up_for_retry")
    drill.clear(run_id, "batch.submit")  # the retry at once: it would come in a minute
    drill.finish(run_id)
    assert drill.statuses() == {"completed"}
    assert drill.unexplained() == {}


def test_a_second_run_waits_and_a_cleared_deferred_task_begins_again(stack: RunningStack) -> None:
    """One run at a time; clearing a task that is deferred costs nothing."""
    drill = Drill(stack, "second", 8)
    first, second = drill.trigger(), drill.trigger(await_minutes=0)
    wait_for("deferred tasks", 120, lambda: drill.deferred(first))
    assert drill.run_state(second) == "queued"
    drill.clear(first, drill.deferred(first)[0])
    drill.end(first)
    drill.end(second)
    assert drill.statuses() == {"completed"}
    assert set(drill.taken().values()) == {1}


def test_storage_refuses_a_write_until_it_is_mended(stack: RunningStack) -> None:
    """The square that could not write is red, one request open; cleared, it finishes the rest."""
    drill = Drill(stack, "nodisk", 2, ["batch"])
    blocked = stack.storage / "requests" / drill.ids[0]
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("a file in the place of the folder")
    run_id = drill.trigger()
    red = ("up_for_retry", "failed")
    wait_for("package to fail", 180, lambda: drill.task(run_id, "package")["state"] in red)
    assert drill.statuses() == {"in_progress", "completed"}
    blocked.unlink()
    drill.clear(run_id, "package")
    drill.end(run_id)
    assert drill.statuses() == {"completed"}
    assert (blocked / "receipt.json").is_file()
