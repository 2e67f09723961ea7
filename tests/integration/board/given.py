"""Writes rows to the ledger and to Airflow's database, for tests of the board."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

MARKERS = {"email": "zq7x.jane@example.org", "user_id": "zq7x-user", "phone": "+12025550147"}
DAG_ID = "dsar_daily"

GivenTry = tuple[str, int, datetime, datetime | None]  # task, map index, begin, end


@dataclass(frozen=True)
class Rows:
    dsn: str

    def request(
        self,
        request_id: str = "r-1",
        *submissions: dict[str, Any],
        received: datetime | None = None,
        due: datetime | None = None,
        closed: datetime | None = None,
        **columns: Any,
    ) -> int:
        """Adds a request with these submissions, or with one submission. Returns its ledger id.

        The submissions of an open request have the identifiers MARKERS.
        """
        with psycopg.connect(self.dsn) as db:
            now = db.execute("SELECT now()").fetchone()
            assert now is not None
            received = received or now[0] - timedelta(days=2)
            values = {
                "action": "erasure", "regulation": "GDPR", "received_at": received, "closed_at": closed,
                "due_at": due or received + timedelta(days=30), "fingerprint": "zq7x-fingerprint",
                "planned_at": received + timedelta(hours=1), "source_updated": True,
                "status": "completed" if closed else "in_progress", **columns,
            }  # fmt: skip
            request = _insert(db, "request", {"request_id": request_id, **values})
            for n, submission in enumerate(submissions or ({},)):
                defaults = {
                    "account": "besitos", "vendor": "besitos", "identity": "email", "state": "planned",
                    "identity_hash": f"zq7x-hash-{n}", "identifiers": None if closed else Jsonb(MARKERS),
                    "changed_at": values["planned_at"], "due_at": values["due_at"],
                }  # fmt: skip
                _insert(db, "submission", {"request": request, **defaults, **submission})
            return request

    def event(self, request: int, at: datetime, **columns: Any) -> None:
        """Adds an event of the request's first submission."""
        with psycopg.connect(self.dsn) as db:
            row = db.execute("SELECT min(id) FROM dsar.submission WHERE request = %s", [request]).fetchone()
            assert row is not None
            _insert(db, "event", {"request": request, "submission": row[0], "at": at, **columns})


def _insert(db: psycopg.Connection[Any], table: str, values: dict[str, Any]) -> int:
    statement = sql.SQL("INSERT INTO dsar.{} ({}) VALUES ({}) RETURNING id").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(map(sql.Placeholder, values)),
    )
    row = db.execute(statement, values).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def a_run(run_id: str, *tries: GivenTry, conf: Mapping[str, Any] | None = None) -> Iterator[str]:
    """A run of the DAG in Airflow's database. The last try in the list is the current one."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskinstancehistory import TaskInstanceHistory
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType
    from sqlalchemy import delete, insert

    with create_session() as session:
        values = {
            "run_type": "manual",
            "state": "success",
            "run_after": tries[0][2],
            "conf": dict(conf or {}),
        }
        session.add(DagRun(DAG_ID, run_id, triggered_by=DagRunTriggeredByType.TEST, **values))
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
