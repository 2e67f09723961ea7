"""Builds the paths of the board and of Airflow's UI, and the link from a task to its account."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, urlencode, urlsplit

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

from dsar_airflow.operators import CollectOperator, SubmitOperator
from dsar_airflow.sensors import PollSensor
from include.dsar.board.runs import TaskInstance

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PREFIX = "/dsar"  # of the board's pages on the API server
ROUTE = "privacy-requests"  # of the page in Airflow's UI that frames them
RUN_ROUTE = "privacy-requests-of-run"

DAG_ID = "dsar_daily"


def server_path() -> str:
    """Returns the path of the API server on its host, without a slash at the end."""
    return urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")


def pages() -> str:
    """Returns the path of the board's pages."""
    return f"{server_path()}{PREFIX}"


def in_airflow(page: str) -> str:
    """Returns the path in Airflow's UI that shows a page of the board. `page` begins with a slash."""
    return f"{server_path()}/plugin/{ROUTE}{pages()}{page}"


def dag_in_airflow() -> str:
    return f"{server_path()}/dags/{DAG_ID}"


def task_in_airflow(task: TaskInstance) -> str:
    """Returns the path of a task instance in Airflow's UI. Without a map index, the path shows the mapped
    task.
    """
    mapped = {None: "/mapped", -1: ""}.get(task.map_index, f"/mapped/{task.map_index}")
    return (
        f"{dag_in_airflow()}/runs/{quote(task.run_id, safe='')}/tasks/{quote(task.task_id, safe='')}{mapped}"
    )


class AccountLink(BaseOperatorLink):
    """A link from a task of an account to the account's page."""

    name = "Privacy requests of this account"
    operators: ClassVar = [SubmitOperator, PollSensor, CollectOperator]

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        account = ti_key.task_id.split(".")[0]
        return in_airflow(f"/account?{urlencode({'name': account})}")
