"""A run of `dsar_daily` ends correctly although a part of the stack breaks.

`stack_faults.py` has slower tests, for `make faults`. `test_daily_run.py` kills the triggerer.
`tests/integration/test_stage_faults.py` restarts the ledger's PostgreSQL during each stage.
"""

from __future__ import annotations

import os
import signal

from tests.e2e.conftest import RunningStack
from tests.e2e.drill import Drill, wait_for


def test_a_killed_submit_task_is_retried(stack: RunningStack) -> None:
    """The killed task's retry reconciles the uncertain submissions with the vendor."""
    drill = Drill(stack, "worker", 30, ["batch"])
    drill.inject("batch", "create", kind="hang", taken=True, seconds=60, times=None)
    run_id = drill.trigger()
    wait_for("submissions", 120, lambda: drill.accepted().total() > 5)
    pid = stack.stack.processes.pid_of(f"airflow worker -- {drill.task(run_id, 'batch.submit')['id']}")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert drill.accepted().total() < 30
    drill.clear_faults()
    wait_for("the retry", 60, lambda: drill.task(run_id, "batch.submit")["state"] == "up_for_retry")
    drill.clear(run_id, "batch.submit")  # otherwise the retry starts after a minute
    drill.finish(run_id)
    assert drill.statuses() == {"completed"}
    assert drill.unrecorded_repeats() == {}


def test_a_second_run_waits_and_a_deferred_task_can_be_cleared(stack: RunningStack) -> None:
    """Only one run is active at a time. If a deferred task is cleared, it sends no call twice."""
    drill = Drill(stack, "second", 8)
    first, second = drill.trigger(), drill.trigger(await_minutes=0)
    wait_for("deferred tasks", 120, lambda: drill.deferred(first))
    assert drill.run_state(second) == "queued"
    drill.clear(first, drill.deferred(first)[0])
    drill.end(first)
    drill.end(second)
    assert drill.statuses() == {"completed"}
    assert set(drill.accepted().values()) == {1}


def test_package_can_be_cleared_after_a_failed_write(stack: RunningStack) -> None:
    """A request that cannot be written stays open and fails the task. After the task is cleared, its next
    try closes the request.
    """
    drill = Drill(stack, "nodisk", 2, ["batch"])
    blocked = stack.storage / "requests" / drill.ids[0]
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("a file at the path of the folder")
    run_id = drill.trigger()
    red = ("up_for_retry", "failed")
    wait_for("package to fail", 180, lambda: drill.task(run_id, "package")["state"] in red)
    assert drill.statuses() == {"in_progress", "completed"}
    blocked.unlink()
    drill.clear(run_id, "package")
    drill.end(run_id)
    assert drill.statuses() == {"completed"}
    assert (blocked / "receipt.json").is_file()
