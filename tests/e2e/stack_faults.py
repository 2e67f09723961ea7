"""The long form of `test_stack_faults.py`: what the whole stack stands on breaks in the middle of a run.

PostgreSQL here holds Airflow's own database and the ledger. A part of Airflow that ends is started again,
as a supervisor does. It is not collected by itself: `make faults` runs it.
"""

from __future__ import annotations

from include.stack import postgres
from tests.e2e.conftest import RunningStack
from tests.e2e.drill import Drill, wait_for


def test_postgresql_restarts_in_the_middle_of_submit_and_of_await(stack: RunningStack) -> None:
    """Tasks that it broke off are tried again; nothing is lost, nothing doubled without a reason."""
    drill = Drill(stack, "pgdown", 60)
    run_id = drill.trigger()
    wait_for("submissions", 120, lambda: drill.taken().total() > 5)
    postgres.restart(stack.stack.home)

    def some_deferred() -> bool:
        stack.stack.processes.restart_ended()
        return bool(drill.deferred(run_id))

    wait_for("deferred tasks", 240, some_deferred)
    postgres.restart(stack.stack.home)
    drill.finish(run_id)
    assert drill.statuses() == {"completed"}
    assert drill.unexplained() == {}


def test_the_scheduler_and_its_tasks_are_killed(stack: RunningStack) -> None:
    """In the middle of submit: the task is tried again, and asks or waits for what it does not know."""
    drill = Drill(stack, "killed", 60)
    run_id = drill.trigger()
    wait_for("submissions", 120, lambda: drill.taken().total() > 5)
    stack.stack.processes.kill("scheduler")
    drill.finish(run_id)
    assert drill.statuses() == {"completed"}
    assert drill.unexplained() == {}
