"""Airflow's own API server and auth manager decide who may see the board."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.routing import Mount

from tests.integration.board.conftest import LogIn, every_page
from tests.integration.board.given import Rows

# One call for each route of the board. A test fails if a route is missing here.
CALLS = {
    "/": "/dsar/",
    "/requests": "/dsar/requests",
    "/request": "/dsar/request?id=r-1",
    "/account": "/dsar/account?name=besitos",
    "/run": "/dsar/run?run_id=manual-1",
    "/static/{name}": "/dsar/static/board.css",
}


def board_of(app: FastAPI) -> FastAPI:
    (mounted,) = [one.app for one in app.routes if isinstance(one, Mount) and one.path == "/dsar"]
    assert isinstance(mounted, FastAPI)
    return mounted


def test_calls_cover_every_route(airflow_app: FastAPI) -> None:
    """The table of calls covers every route of the board. The board accepts only GET."""
    routes = board_of(airflow_app).routes
    assert all(isinstance(route, APIRoute) and route.methods == {"GET"} for route in routes)
    assert {route.path for route in routes if isinstance(route, APIRoute)} == set(CALLS)


@pytest.mark.parametrize("path", CALLS.values())
def test_a_request_without_login_is_refused(log_in: LogIn, path: str) -> None:
    """A request with an invalid token is refused too."""
    for client in (log_in(None), log_in(None, token="ey.not.signed")):
        assert client.get(path).status_code in (401, 403)


@pytest.mark.parametrize("path", CALLS.values())
def test_a_user_without_the_right_to_read_the_dag_is_refused(log_in: LogIn, path: str) -> None:
    """A user without the right to read the DAG gets status 403 and a page that explains it."""
    answer = log_in("no right").get(path)
    assert answer.status_code == 403
    assert "may not see" in answer.text
    assert "r-1" not in answer.text


@pytest.mark.parametrize("path", CALLS.values())
def test_a_user_who_may_read_the_dag_sees_the_board(
    viewer: TestClient, rows: Rows, dag_run: str, path: str
) -> None:
    """The role Viewer is enough to see the board."""
    rows.request("r-1")
    assert viewer.get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/dsar/docs", "/dsar/redoc", "/dsar/openapi.json", "/dsar/nothing", "/dsar/requests/"]
)
def test_fastapis_own_pages_and_redirects_are_off(log_in: LogIn, path: str) -> None:
    """FastAPI's own pages are off, because FastAPI would serve them without a login."""
    assert log_in(None).get(path, follow_redirects=False).status_code == 404


@pytest.mark.parametrize("path", [*CALLS.values(), "/dsar/requests?left=soon", "/dsar/nothing"])
@pytest.mark.parametrize("user", [None, "no right", "viewer"])
def test_every_response_has_strict_security_headers(
    log_in: LogIn, deployment: Path, dag_run: str, path: str, user: str | None
) -> None:
    """Error pages have these headers too. Only static files for a logged-in user may be cached."""
    headers = log_in(user).get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["frame-ancestors"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    kept = "/static/" in path and user == "viewer"
    assert ("max-age" in headers["cache-control"]) == kept
    assert kept or headers["cache-control"] == "no-store"


def test_a_static_file_is_immutable_only_at_the_address_with_its_version(viewer: TestClient) -> None:
    """Pages use the address with the version. A browser may cache a file at another address for at most an
    hour.
    """
    page = viewer.get("/dsar/").text
    for name in ("board.css", "board.js", "icon.svg", "icon-dark.svg"):
        unversioned = viewer.get(f"/dsar/static/{name}").headers["cache-control"]
        assert "immutable" not in unversioned
        assert int(unversioned.rsplit("=", 1)[1]) <= 3600
        assert viewer.get(f"/dsar/static/{name}?v=older").headers["cache-control"] == unversioned
    for address in re.findall(r'"(/dsar/static/[^"]+)"', page):
        assert "?v=" in address
        assert "immutable" in viewer.get(address).headers["cache-control"]


def test_every_page_shows_the_version(viewer: TestClient, rows: Rows, dag_run: str) -> None:
    """The footer of every page shows the version."""
    rows.request("r-1")
    for text in every_page(viewer).values():
        assert f"Version {version('airflow-dsar')}." in text.split("<footer>")[1]


def test_pages_load_nothing_external_and_have_no_inline_script_or_style(
    viewer: TestClient, rows: Rows, dag_run: str
) -> None:
    """The content security policy would block external files and inline scripts."""
    rows.request("r-1")
    for text in every_page(viewer).values():
        for forbidden in ("http://", "https://", " style=", "<style", "<script>", " onclick"):
            assert forbidden not in text


@pytest.mark.parametrize("name", ["board.py", "..%2Frendering.py", "%2e%2e/rendering.py", "board.css%00"])
def test_no_other_file_is_served(viewer: TestClient, name: str) -> None:
    """A static file is found by its name, never by a path."""
    assert viewer.get(f"/dsar/static/{name}").status_code == 404
