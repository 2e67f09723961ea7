"""A DAG with the shape of `dsar_daily`, including deferrals, but with empty tasks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, TaskGroup, TriggerRule, chain

from include.accounts import ACCOUNTS
from include.dsar.vendors import vendor

DEFERRED = timedelta(seconds=10)  # a trigger that fires sooner can kill its task


class Nothing(BaseOperator):
    def execute(self, context: Any) -> None:
        pass


class Deferred(BaseSensorOperator):
    def execute(self, context: Any) -> None:
        self.defer(trigger=TimeDeltaTrigger(DEFERRED), method_name="resume")

    def resume(self, context: Any, event: Any) -> None:
        pass


with DAG(
    "idle",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    default_args={"trigger_rule": TriggerRule.ALL_DONE},
):
    intake, package, report = (Nothing(task_id=name) for name in ("intake", "package", "report"))
    for account in ACCOUNTS:
        with TaskGroup(account.name):
            steps = [Nothing(task_id="submit"), Deferred(task_id="await_completion")]
            if vendor(account.vendor).returns_data:
                steps.append(Nothing(task_id="collect"))
        chain(intake, *steps, package)
    chain(package, report)
