"""Reads runs and tries of tasks from Airflow's database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from dsar_airflow.board_links import DAG_ID
from include.dsar.board.runs import Run, Try

MAX_TRIES = 20_000


def run(run_id: str) -> Run | None:
    """Returns the run of the DAG with this id. None if Airflow does not have this run."""
    with create_session() as session:
        found = session.scalar(select(DagRun).where(DagRun.dag_id == DAG_ID, DagRun.run_id == run_id))
        if found is None:
            return None
        conf: Mapping[str, Any] = found.conf or {}
        dry_run = bool(conf.get("dry_run"))
        return Run(
            run_id=run_id,
            tries=_tries(session, TaskInstance.run_id == run_id, TaskInstanceHistory.run_id == run_id),
            dry_run=dry_run,
            request_ids=_texts(conf.get("request_ids")),
            accounts=_texts(conf.get("accounts")),
            **(_counts(session, run_id) if dry_run else {}),
        )


def tries_between(begin: datetime, end: datetime) -> list[Try]:
    """Returns the tries of the DAG's tasks that ran between two times. There are at most MAX_TRIES."""
    with create_session() as session:
        return _tries(
            session,
            *(
                (model.start_date <= end) & or_(model.end_date >= begin, model.end_date.is_(None))
                for model in (TaskInstance, TaskInstanceHistory)
            ),
        )


def _tries(session: Session, latest: Any, earlier: Any) -> list[Try]:
    """Returns matching tries. The latest are in TaskInstance, earlier tries in TaskInstanceHistory."""
    found: list[Any] = []
    for model, fits in ((TaskInstance, latest), (TaskInstanceHistory, earlier)):
        found += session.execute(
            select(model.run_id, model.task_id, model.map_index, model.start_date, model.end_date)
            .where(model.dag_id == DAG_ID, model.start_date.is_not(None), fits)
            .order_by(model.start_date.desc())
            .limit(MAX_TRIES)
        ).all()
    return [Try(*row) for row in found]


def _counts(session: Session, run_id: str) -> dict[str, Mapping[str, Mapping[str, int]]]:
    """Returns the counts of a dry run. They are in the return value of the `intake` task."""
    row = session.scalar(
        XComModel.get_many(run_id=run_id, key="return_value", task_ids="intake", dag_ids=DAG_ID)
    )
    counts = XComModel.deserialize_value(row) if row else {}
    if not isinstance(counts, dict):
        return {}
    return {name: dict(counts.get(name, {})) for name in ("would_send", "would_wait")}


def _texts(given: object) -> tuple[str, ...]:
    return tuple(map(str, given)) if isinstance(given, list) else ()
