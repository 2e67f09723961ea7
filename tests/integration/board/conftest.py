"""Fixtures for tests of the board: Airflow's API server in this process, and users who log in to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.integration.board.given import Rows, a_run

LogIn = Callable[..., TestClient]

ROLES = {"no right": None, "viewer": "VIEWER"}


@pytest.fixture(scope="session")
def airflow_app(metadata_db: None) -> Iterator[FastAPI]:
    """Returns the application as `airflow api-server` creates it."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "not a secret, but as long as one must be. " * 2)
        yield create_app("core")
        purge_cached_app()


@pytest.fixture
def log_in(airflow_app: FastAPI) -> LogIn:
    """Returns a client with the cookie of a logged-in user. With None, no user is logged in."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    def logged_in(user: str | None = "viewer", *, token: str = "") -> TestClient:
        client = TestClient(airflow_app, raise_server_exceptions=False)
        if user is not None:
            who = SimpleAuthManagerUser(username=user.replace(" ", "-"), role=ROLES[user])
            token = get_auth_manager().generate_jwt(who)
        if token:
            client.cookies.set(COOKIE_NAME_JWT_TOKEN, token)
        return client

    return logged_in


@pytest.fixture
def viewer(log_in: LogIn, deployment: Path) -> TestClient:
    """Returns a client of a user who may read the DAG. The ledger of the deployment is empty."""
    return log_in("viewer")


@pytest.fixture
def rows(dsn: str) -> Rows:
    return Rows(dsn)


def every_page(viewer: TestClient, request_id: str = "r-1", run_id: str = "manual-1") -> dict[str, str]:
    """Returns the text of each page that shows data, by path."""
    paths = [
        "/dsar/", "/dsar/requests?status=any", f"/dsar/request?id={quote(request_id, safe='')}",
        "/dsar/account?name=besitos", f"/dsar/run?run_id={quote(run_id, safe='')}",
    ]  # fmt: skip
    answers = {path: viewer.get(path) for path in paths}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(paths, 200)
    return {path: answer.text for path, answer in answers.items()}


@pytest.fixture
def dag_run(metadata_db: None) -> Iterator[str]:
    """Adds a run of the DAG. Its intake began an hour ago."""
    with a_run("manual-1", ("intake", -1, datetime.now(UTC) - timedelta(hours=1), None)) as run_id:
        yield run_id
