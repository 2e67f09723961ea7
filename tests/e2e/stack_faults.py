"""These tests are slower than `test_stack_faults.py`. Only `make faults` runs them; pytest does not
collect them.

PostgreSQL contains Airflow's own database and the ledger. The tests restart ended processes of Airflow, as
a supervisor does.
"""

from __future__ import annotations

from include.stack import postgres
from tests.e2e.conftest import RunningStack
from tests.e2e.drill import Drill, wait_for


def test_postgresql_restarts_during_submit_and_poll(stack: RunningStack) -> None:
    """Interrupted tasks are retried. No request is lost, and every repeat is recorded."""
    drill = Drill(stack, "pgdown", 60)
    run_id = drill.trigger()
    wait_for("submissions", 120, lambda: drill.accepted().total() > 5)
    postgres.restart(stack.stack.home)

    def some_deferred() -> bool:
        stack.stack.processes.restart_ended()
        return bool(drill.deferred(run_id))

    wait_for("deferred tasks", 240, some_deferred)
    postgres.restart(stack.stack.home)
    drill.finish(run_id)
    assert drill.statuses() == {"completed"}
    assert drill.unrecorded_repeats() == {}


def test_the_scheduler_and_its_tasks_are_killed_during_submit(stack: RunningStack) -> None:
    """The killed task is retried. The retry reconciles uncertain submissions, or leaves them to the next
    run.
    """
    drill = Drill(stack, "killed", 60)
    run_id = drill.trigger()
    wait_for("submissions", 120, lambda: drill.accepted().total() > 5)
    stack.stack.processes.kill("scheduler")
    drill.finish(run_id)
    assert drill.statuses() == {"completed"}
    assert drill.unrecorded_repeats() == {}
