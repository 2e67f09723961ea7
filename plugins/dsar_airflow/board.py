"""The board's pages on Airflow's API server, for whoever may read the DAG."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.sdk import BaseHook
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException

from dsar_airflow import board_links, board_runs
from dsar_airflow.connections import MISSING, account_settings, ledger
from include.accounts import ACCOUNTS
from include.dsar.accounts import AccountSettings
from include.dsar.board import pages
from include.dsar.board.filters import BadFilter, PeriodFilter, RequestFilter, RequestQuery, RunQuery
from include.dsar.board.reading import reading
from include.dsar.board.rendering import static_file
from include.dsar.board.site import Site
from include.dsar.errors import (
    ConfigurationError,
    ConnectionMissing,
    DsarError,
    LedgerMissing,
    LedgerSlow,
    LedgerUnavailable,
)
from include.dsar.ledger.database import Database

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# A page names the version of a file in its address, which then changes with the content; Airflow's
# navigation names its icons without one.
FOR_GOOD = {"Cache-Control": "private, max-age=31536000, immutable"}
FOR_A_WHILE = {"Cache-Control": "private, max-age=300"}

# Each page has a connection to the ledger of its own for as long as its statements take; this many at once.
CONNECTIONS = threading.BoundedSemaphore(4)
WAIT_SECONDS = 10


def create_app() -> FastAPI:
    """An application to be mounted. Airflow protects none of its routes, so each of them asks for itself."""
    app = FastAPI(
        title="Privacy requests",
        dependencies=[Depends(requires_access_dag("GET", param_dag_id=board_links.DAG_ID))],
        # FastAPI's own documentation would ask nobody for anything.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # it would answer before anybody is asked who they are
    )
    app.middleware("http")(_with_headers)
    app.exception_handler(AnyHTTPException)(_refused)
    app.exception_handler(BadFilter)(_bad_filter)
    app.exception_handler(DsarError)(_no_ledger)
    app.get("/")(show_overview)
    app.get("/requests")(show_requests)
    app.get("/request")(show_request)
    app.get("/account")(show_account)
    app.get("/run")(show_run)
    app.get("/static/{name}")(serve_static)
    return app


# All of these wait for databases, so none is a coroutine: FastAPI runs them in threads.


def show_overview(request: Request) -> Response:
    period = PeriodFilter.parse(request.query_params)
    with _ledger() as db:
        return HTMLResponse(pages.overview_page(db, _site(), period))


def show_requests(request: Request) -> Response:
    wanted = RequestFilter.parse(request.query_params)
    with _ledger() as db:
        return HTMLResponse(pages.requests_page(db, _site(), wanted))


def show_request(request: Request) -> Response:
    request_id = RequestQuery.parse(request.query_params).id
    with _ledger() as db:
        page = pages.request_page(db, _site(), request_id, board_runs.tries_between)
    if page is None:
        raise HTTPException(
            404, "The ledger knows no request of this id. Its row may be invalid, or not taken in yet."
        )
    return HTMLResponse(page)


def show_account(request: Request) -> Response:
    period = PeriodFilter.parse(request.query_params)
    if period.name is None:
        raise HTTPException(404, "Which account? The overview lists them.")
    with _ledger() as db:
        page = pages.account_page(db, _site(), period.name, period)
    if page is None:
        raise HTTPException(
            404, "There is no account of this name: neither in include/accounts.py nor in the ledger."
        )
    return HTMLResponse(page)


def show_run(request: Request) -> Response:
    query = RunQuery.parse(request.query_params)
    if query.dag_id not in (None, board_links.DAG_ID):
        raise HTTPException(404, f"Only runs of {board_links.DAG_ID} work on privacy requests.")
    run = board_runs.run(query.run_id)
    if run is None:
        raise HTTPException(404, f"Airflow knows no such run of {board_links.DAG_ID}.")
    with _ledger() as db:
        return HTMLResponse(pages.run_page(db, _site(), run, after=query.after))


def serve_static(name: str, v: str = "") -> Response:
    """The style sheet, the script and the icons."""
    file = static_file(name)
    if file is None:
        raise HTTPException(404, "There is no such file.")
    kept = FOR_GOOD if v == file.version else FOR_A_WHILE
    return Response(file.content, media_type=file.media_type, headers=kept)


@contextmanager
def _ledger() -> Iterator[Database]:
    if not CONNECTIONS.acquire(timeout=WAIT_SECONDS):
        raise LedgerSlow("Too many pages are being made at the same time: try again in a moment.")
    try:
        with ledger() as db, reading(db):
            yield db
    finally:
        CONNECTIONS.release()


def _site() -> Site:
    return Site(
        root=board_links.pages(),
        dag=board_links.dag_in_airflow(),
        now=datetime.now(UTC),
        connections={account.name: account.connection for account in ACCOUNTS},
        settings=_settings,
        in_airflow=board_links.in_airflow,
        task=board_links.task_in_airflow,
    )


def _settings() -> Mapping[str, AccountSettings]:
    """Of each account whose connection can be used; the tasks of the others say what is wrong with theirs."""
    found = {}
    for account in ACCOUNTS:
        with suppress(ConfigurationError, *MISSING):
            found[account.name] = account_settings(account, BaseHook.get_connection(account.connection))
    return found


async def _with_headers(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        response = await call(request)
    except Exception as error:
        response = _broken(error)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, AnyHTTPException)
    title, text = {
        401: ("You are not logged in", "Log in to Airflow, then load this page again."),
        403: (
            "You may not see this page",
            f"It is for those who may read {board_links.DAG_ID}. An administrator of Airflow can let you.",
        ),
        404: ("There is nothing here", str(error.detail)),
    }.get(error.status_code, ("This page cannot be shown", str(error.detail)))
    return _problem(error.status_code, title, text)


def _bad_filter(_: Request, error: Exception) -> Response:
    return _problem(400, "This cannot be asked", str(error))


def _no_ledger(_: Request, error: Exception) -> Response:
    match error:
        case LedgerMissing():
            return _problem(200, "There is no ledger yet", str(error))
        case LedgerUnavailable() | ConfigurationError() | ConnectionMissing():
            return _problem(503, "The ledger cannot be read now", f"{error}.".replace("..", "."))
    return _problem(500, "The ledger cannot be read", str(error))


def _broken(error: Exception) -> Response:
    """A mistake of ours. Its text may hold anything, so the log gets its kind and place only."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    log.error("a page of the board failed: %s in %s:%s", type(error).__name__, place.filename, place.lineno)
    return _problem(
        500, "This page failed", "It is a mistake of the board. The log of the API server says where."
    )


def _problem(status: int, title: str, text: str) -> Response:
    return HTMLResponse(pages.problem_page(_site(), title, text), status_code=status)
