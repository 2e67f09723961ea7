"""Registers the board with Airflow. Every Airflow process imports this file, so its imports must be few."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from dsar_airflow.board_links import PREFIX, ROUTE, RUN_ROUTE, AccountLink, pages

NAME = "Privacy requests"
VIEW = {
    "name": NAME,
    "icon": f"{pages()}/static/icon.svg",
    "icon_dark_mode": f"{pages()}/static/icon-dark.svg",
}


class BoardPlugin(AirflowPlugin):
    """Adds the board's pages, an entry in the navigation, a tab on each run, and a link on account tasks."""

    name = "dsar_board"
    external_views = [  # noqa: RUF012 - Airflow declares it so
        VIEW | {"href": f"{pages()}/", "destination": "nav", "url_route": ROUTE},
        VIEW
        | {
            "href": f"{pages()}/run?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": RUN_ROUTE,
        },
    ]
    operator_extra_links = [AccountLink()]  # noqa: RUF012

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Returns the board's application. This is a property, because only the API server needs FastAPI."""
        from dsar_airflow.board import create_app

        return [{"app": create_app(), "url_prefix": PREFIX, "name": NAME}]
