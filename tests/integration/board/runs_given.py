"""Runs of the DAG in Airflow's own database, as its scheduler and workers would have left them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import uuid4

DAG_ID = "dsar_daily"


@contextmanager
def a_run(
    run_id: str, *tries: tuple[str, int, datetime, datetime | None], conf: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """A run for as long as the block lasts; each try is (task, map index, begin, end), the last of a task
    instance being its latest, and those before it earlier ones."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskinstancehistory import TaskInstanceHistory
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType
    from sqlalchemy import delete, insert

    with create_session() as session:
        session.add(
            DagRun(
                DAG_ID,
                run_id,
                run_type="manual",
                state="success",
                run_after=tries[0][2],
                conf=dict(conf or {}),
                triggered_by=DagRunTriggeredByType.TEST,
            )
        )
        session.flush()
        known = set()
        for task, index, begin, end in reversed(tries):
            values = {
                "dag_id": DAG_ID, "run_id": run_id, "task_id": task, "map_index": index, "start_date": begin,
                "end_date": end, "state": "success", "try_number": 1, "pool": "default_pool", "pool_slots": 1,
                "max_tries": 0,
            }  # fmt: skip
            if (task, index) in known:
                session.execute(insert(TaskInstanceHistory).values(task_instance_id=uuid4(), **values))
            else:
                session.execute(insert(TaskInstance).values(id=uuid4(), **values))
            known.add((task, index))
    yield run_id
    with create_session() as session:
        for model in (TaskInstanceHistory, TaskInstance, DagRun):
            session.execute(delete(model).where(model.run_id == run_id))
