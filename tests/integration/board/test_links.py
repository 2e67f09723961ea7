"""Airflow's UI and the board link to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from dsar_airflow import board_links
from include.dsar.board.runs import TaskInstance

if TYPE_CHECKING:
    from airflow.sdk import DAG


def test_only_tasks_of_an_account_link_to_its_page(daily: DAG) -> None:
    """Only tasks of an account link to the account's page. The test reads the serialized DAG, as the API
    server does.
    """
    served = DagSerialization.from_dict(DagSerialization.to_dict(daily))
    links = {task.task_id: task.extra_links for task in served.tasks}
    assert len(links) > 3
    for task_id, names in links.items():
        expected = [board_links.AccountLink.name] if "." in task_id else []
        assert names == expected, task_id


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        ("http://localhost:8080", ""),
        ("https://data.example.com/", ""),
        ("https://data.example.com/airflow", "/airflow"),
        ("https://data.example.com/team/airflow/", "/team/airflow"),
    ],
)
def test_every_link_begins_with_the_path_of_the_server(
    monkeypatch: pytest.MonkeyPatch, base_url: str, path: str
) -> None:
    """The links still work if a proxy serves Airflow under a path."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    assert board_links.pages() == f"{path}/dsar"
    assert board_links.dag_in_airflow() == f"{path}/dags/dsar_daily"
    assert board_links.in_airflow("/account?name=id5") == (
        f"{path}/plugin/privacy-requests{path}/dsar/account?name=id5"
    )
    task = TaskInstance("a run", "id5.submit", -1)
    assert board_links.task_in_airflow(task) == f"{path}/dags/dsar_daily/runs/a%20run/tasks/id5.submit"
