"""Serves the board's pages on Airflow's API server, to users who may read the DAG."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import version

from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.sdk import BaseHook
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException

from dsar_airflow import board_links, board_runs
from dsar_airflow.connections.accounts import account_settings
from dsar_airflow.connections.ledger import ledger
from dsar_airflow.connections.lookup import MISSING
from dsar_airflow.provider import DISTRIBUTION
from include.accounts import ACCOUNTS
from include.dsar.accounts import AccountSettings
from include.dsar.board import pages
from include.dsar.board.filters import BadFilter, PeriodFilter, RequestFilter, RequestQuery, RunQuery
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
from include.dsar.ledger.board.snapshot import snapshot
from include.dsar.ledger.database import Database
from include.regulations import REGULATIONS

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
# Our pages have the version of a static file in its address. Airflow's navigation has icons without it.
CACHE_VERSIONED = {"Cache-Control": "private, max-age=31536000, immutable"}
CACHE_UNVERSIONED = {"Cache-Control": "private, max-age=300"}

# Title and text by HTTP status. Without a text, the error has one.
PROBLEMS = {
    401: ("You are not logged in", "Log in to Airflow, then load this page again."),
    403: (
        "You may not see this page",
        f"You need the right to read {board_links.DAG_ID}. Ask an administrator of Airflow for it.",
    ),
    404: ("Page not found", None),
}

CONNECTIONS = threading.BoundedSemaphore(4)  # to the ledger, per process; one per page
WAIT_SECONDS = 10


def create_app() -> FastAPI:
    """Returns the application that Airflow mounts. The application checks access, because Airflow does not
    check it.
    """
    app = FastAPI(
        title="Privacy requests",
        dependencies=[Depends(requires_access_dag("GET", param_dag_id=board_links.DAG_ID))],
        # FastAPI serves these pages without the dependency above.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # FastAPI redirects before it checks access
    )
    app.middleware("http")(_with_headers)
    app.exception_handler(AnyHTTPException)(_http_error)
    app.exception_handler(BadFilter)(_bad_filter)
    app.exception_handler(DsarError)(_ledger_error)
    app.get("/")(show_overview)
    app.get("/requests")(show_requests)
    app.get("/request")(show_request)
    app.get("/account")(show_account)
    app.get("/run")(show_run)
    app.get("/static/{name}")(serve_static)
    return app


# These wait for databases, so they are no coroutines: FastAPI runs them in threads.


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
            404,
            "The ledger has no request with this id. Check the id, and the row's status in the source table.",
        )
    return HTMLResponse(page)


def show_account(request: Request) -> Response:
    period = PeriodFilter.parse(request.query_params)
    if period.name is None:
        raise HTTPException(404, "The address names no account. Choose one on the overview.")
    with _ledger() as db:
        page = pages.account_page(db, _site(), period.name, period)
    if page is None:
        raise HTTPException(
            404, "No account has this name, in include/accounts.py or in the ledger. Check the name."
        )
    return HTMLResponse(page)


def show_run(request: Request) -> Response:
    query = RunQuery.parse(request.query_params)
    if query.dag_id not in (None, board_links.DAG_ID):
        raise HTTPException(404, f"This page is for runs of {board_links.DAG_ID} only. Open one of those.")
    run = board_runs.run(query.run_id)
    if run is None:
        raise HTTPException(
            404, f"Airflow has no run of {board_links.DAG_ID} with this id. It may have been deleted."
        )
    with _ledger() as db:
        return HTMLResponse(pages.run_page(db, _site(), run, after=query.after))


def serve_static(name: str, v: str = "") -> Response:
    """Returns the style sheet, the script or an icon. `v` is the version in a page's address."""
    file = static_file(name)
    if file is None:
        raise HTTPException(404, "The board has no file with this name.")
    cache = CACHE_VERSIONED if v == file.version else CACHE_UNVERSIONED
    return Response(file.content, media_type=file.media_type, headers=cache)


@contextmanager
def _ledger() -> Iterator[Database]:
    if not CONNECTIONS.acquire(timeout=WAIT_SECONDS):
        raise LedgerSlow("Too many pages are loading at the same time. Try again in a moment.")
    try:
        with ledger() as db, snapshot(db):
            yield db
    finally:
        CONNECTIONS.release()


def _site() -> Site:
    return Site(
        root=board_links.pages(),
        dag=board_links.dag_in_airflow(),
        version=version(DISTRIBUTION),
        now=datetime.now(UTC),
        connections={account.name: account.connection for account in ACCOUNTS},
        regulations=list(REGULATIONS),
        load_settings=_settings,
        in_airflow=board_links.in_airflow,
        task=board_links.task_in_airflow,
    )


def _settings() -> Mapping[str, AccountSettings]:
    """Returns the settings by account. Omits an account with a broken connection, because the tasks of the
    account report this error.
    """
    found = {}
    for account in ACCOUNTS:
        with suppress(ConfigurationError, *MISSING):
            found[account.name] = account_settings(account, BaseHook.get_connection(account.connection))
    return found


async def _with_headers(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        response = await call(request)
    except Exception as error:
        response = _internal_error(error)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, AnyHTTPException)
    title, text = PROBLEMS.get(error.status_code, ("This page cannot be shown", None))
    is_ours = error.detail != HTTPStatus(error.status_code).phrase
    unknown = "The board has no page at this address. Open the overview."
    return _problem(error.status_code, title, text or (str(error.detail) if is_ours else unknown))


def _bad_filter(_: Request, error: Exception) -> Response:
    return _problem(400, "Wrong filter", str(error))


def _ledger_error(_: Request, error: Exception) -> Response:
    match error:
        case LedgerMissing():
            return _problem(200, "The ledger does not exist yet", str(error))
        case LedgerUnavailable() | ConfigurationError() | ConnectionMissing():
            return _problem(503, "The ledger cannot be read now", str(error))
    return _problem(500, "The ledger cannot be read", str(error))


def _internal_error(error: Exception) -> Response:
    """Logs the type and place of an unexpected error. Omits its text, which may contain identifiers."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    log.error("a page of the board failed: %s in %s:%s", type(error).__name__, place.filename, place.lineno)
    return _problem(500, "This page failed", "It is an error in the board. See the log of the API server.")


def _problem(status: int, title: str, text: str) -> Response:
    sentence = f"{text[0].upper()}{text[1:].rstrip('.')}."
    return HTMLResponse(pages.problem_page(_site(), title, sentence), status_code=status)
