"""Runs and tries as Airflow's own database keeps them, for the board."""

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
from include.dsar.board.one_run import Run
from include.dsar.board.tries import Try

MOST_TRIES = 20_000


def run(run_id: str) -> Run | None:
    """A run of the DAG; None where Airflow knows none of that id."""
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
            would_send=_would_send(session, run_id) if dry_run else {},
        )


def tries_between(begin: datetime, end: datetime) -> list[Try]:
    """Every try of a task of the DAG that was at work between two times."""
    with create_session() as session:
        return _tries(
            session,
            *(
                (model.start_date <= end) & or_(model.end_date >= begin, model.end_date.is_(None))
                for model in (TaskInstance, TaskInstanceHistory)
            ),
        )


def _tries(session: Session, now: Any, earlier: Any) -> list[Try]:
    """The latest try of each task instance that fits, and the earlier ones that do."""
    found: list[Any] = []
    for model, fits in ((TaskInstance, now), (TaskInstanceHistory, earlier)):
        found += session.execute(
            select(model.run_id, model.task_id, model.map_index, model.start_date, model.end_date)
            .where(model.dag_id == DAG_ID, model.start_date.is_not(None), fits)
            .order_by(model.start_date.desc())
            .limit(MOST_TRIES)
        ).all()
    return [Try(*row) for row in found]


def _would_send(session: Session, run_id: str) -> Mapping[str, Mapping[str, int]]:
    """What a dry run counted: the result of its intake."""
    row = session.scalar(
        XComModel.get_many(run_id=run_id, key="return_value", task_ids="intake", dag_ids=DAG_ID)
    )
    counts = XComModel.deserialize_value(row) if row else {}
    return dict(counts.get("would_send", {})) if isinstance(counts, dict) else {}


def _texts(given: object) -> tuple[str, ...]:
    return tuple(map(str, given)) if isinstance(given, list) else ()
