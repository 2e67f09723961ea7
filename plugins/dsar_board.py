"""The board as Airflow finds it. Every process of Airflow runs this file, so it imports next to nothing."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from dsar_airflow.board_links import PREFIX, ROUTE, RUN_ROUTE, AccountLink, pages

NAME = "Privacy requests"
LOOK = {
    "name": NAME,
    "icon": f"{pages()}/static/icon.svg",
    "icon_dark_mode": f"{pages()}/static/icon-dark.svg",
}


class BoardPlugin(AirflowPlugin):
    """Pages, an entry in the navigation, a view on each run, and a link on each account's tasks."""

    name = "dsar_board"
    external_views = [  # noqa: RUF012 - as Airflow declares it
        LOOK | {"href": f"{pages()}/", "destination": "nav", "url_route": ROUTE},
        LOOK
        | {
            "href": f"{pages()}/run?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": RUN_ROUTE,
        },
    ]
    operator_extra_links = [AccountLink()]  # noqa: RUF012

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Only the API server asks for them."""
        from dsar_airflow.board import create_app

        return [{"app": create_app(), "url_prefix": PREFIX, "name": NAME}]
