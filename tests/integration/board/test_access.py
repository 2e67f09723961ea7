"""Who may see the board: Airflow's own API server with the plugin in it, and its own auth manager."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount

from tests.integration.board.conftest import LogIn
from tests.integration.board.rows_given import given

# Every route of the board, as a person may call it. A route that is missing here fails a test.
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


def test_every_route_is_known_here(airflow_app: FastAPI) -> None:
    """The other tests call all that the application serves: nothing else is mounted or routed in it."""
    routes = board_of(airflow_app).routes
    assert all(isinstance(route, APIRoute) and route.methods == {"GET"} for route in routes)
    assert {route.path for route in routes if isinstance(route, APIRoute)} == set(CALLS)


@pytest.mark.parametrize("path", CALLS.values())
def test_without_a_login_nothing_is_served(log_in: LogIn, path: str) -> None:
    """Neither without a token, nor with one that nobody has signed."""
    for client in (log_in(None), log_in(None, token="ey.not.signed")):
        answer = client.get(path)
        assert answer.status_code in (401, 403)
        assert "r-1" not in answer.text


@pytest.mark.parametrize("path", CALLS.values())
def test_a_login_without_the_right_to_read_the_dag_sees_nothing(log_in: LogIn, path: str) -> None:
    """Airflow knows the person, and that they may not."""
    answer = log_in("no right").get(path)
    assert answer.status_code == 403
    assert "may not see" in answer.text
    assert "r-1" not in answer.text


@pytest.mark.parametrize("path", CALLS.values())
def test_who_may_read_the_dag_may_read_the_board(
    log_in: LogIn, deployment: Path, dsn: str, dag_run: str, path: str
) -> None:
    """A viewer is enough: the board changes nothing."""
    given(dsn, "r-1")
    assert log_in("viewer").get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/dsar/docs", "/dsar/redoc", "/dsar/openapi.json", "/dsar/nothing", "/dsar/requests/"]
)
def test_there_is_no_page_beside_these(log_in: LogIn, path: str) -> None:
    """FastAPI's documentation would be served to anybody, and so would where another spelling leads."""
    assert log_in(None).get(path, follow_redirects=False).status_code == 404


@pytest.mark.parametrize("path", [*CALLS.values(), "/dsar/requests?left=soon", "/dsar/nothing"])
@pytest.mark.parametrize("user", [None, "no right", "viewer"])
def test_every_answer_forbids_what_a_page_does_not_need(
    log_in: LogIn, deployment: Path, dsn: str, dag_run: str, path: str, user: str | None
) -> None:
    """Errors too: no script but our own, no frame but Airflow's, no guessing, no copy left behind."""
    headers = log_in(user).get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["frame-ancestors"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    kept = "/static/" in path and user == "viewer"
    assert ("max-age" in headers["cache-control"]) == kept
    assert kept or headers["cache-control"] == "no-store"


def test_a_file_is_kept_for_good_only_under_its_versions_address(
    log_in: LogIn, deployment: Path, dsn: str
) -> None:
    """As pages name it. The icons' address stays when a new release changes them."""
    client = log_in("viewer")
    page = client.get("/dsar/").text
    for name in ("board.css", "board.js", "icon.svg", "icon-dark.svg"):
        unversioned = client.get(f"/dsar/static/{name}").headers["cache-control"]
        assert "immutable" not in unversioned
        assert int(unversioned.rsplit("=", 1)[1]) <= 3600
        assert client.get(f"/dsar/static/{name}?v=older").headers["cache-control"] == unversioned
    for address in re.findall(r'"(/dsar/static/[^"]+)"', page):
        assert "?v=" in address
        assert "immutable" in client.get(address).headers["cache-control"]


def test_pages_load_nothing_from_elsewhere_and_hold_no_inline_script_or_style(
    log_in: LogIn, deployment: Path, dsn: str, dag_run: str
) -> None:
    """The policy would stop it; the pages do not try."""
    given(dsn, "r-1")
    for path in CALLS.values():
        text = log_in("viewer").get(path).text
        if "<html" not in text:
            continue
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text
        assert " style=" not in text
        assert "<style" not in text
        assert "<script>" not in text
        assert " onclick" not in text


def test_static_files_are_those_and_no_others(log_in: LogIn) -> None:
    """A name is looked up, never a path."""
    for name in ("board.py", "..%2Frendering.py", "%2e%2e/rendering.py", "board.css%00"):
        answer: httpx.Response = log_in("viewer").get(f"/dsar/static/{name}")
        assert answer.status_code == 404
