"""A real browser uses the trigger form, the board and the connection form in Airflow's UI."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from playwright.sync_api import Browser, BrowserContext, FrameLocator, Page, StorageState, expect

from tests.e2e import browser as browsers
from tests.e2e.conftest import RunningStack
from tests.e2e.drill import wait_for

TIMEOUT_MS = 60_000  # long, because the machine may be busy
BOARD = "/plugin/privacy-requests/dsar"
ROWS = {"ui-access": "access", "ui-erasure-1": "erasure", "ui-erasure-2": "erasure"}
EMAIL = "zq7x.ui@example.org"

MANY = 130  # more than VOLUME.at_least, with what the other tests send

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def rows(stack: RunningStack) -> list[str]:
    """Insert three pending requests into the source."""
    with psycopg.connect(stack.dsn) as db:
        for n, (request_id, action) in enumerate(ROWS.items()):
            db.execute(
                "INSERT INTO public.dsar_requests (request_id, request_type, regulation, received_at,"
                " user_id, email, accounts) VALUES (%s, %s, 'GDPR', now(), %s, %s, %s)",
                [request_id, action, [f"zq7x-ui-{n}"], [EMAIL], ["besitos", "attentive"]],
            )
    return list(ROWS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run a browser for this module only, because no other test can run an asyncio loop meanwhile."""
    with browsers.running() as running:
        yield running


@pytest.fixture(scope="module")
def logged_in(stack: RunningStack, browser: Browser) -> StorageState:
    """Returns the browser's state after a login with the real form."""
    password = json.loads(stack.stack.home.passwords_file().read_text())["admin"]
    context = browser.new_context(base_url=stack.api_url)
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("link", name="Privacy requests")).to_be_visible(timeout=TIMEOUT_MS)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_page(stack: RunningStack, browser: Browser, logged_in: StorageState) -> Iterator[OpenPage]:
    """Returns a function that opens a page of the UI. A script error or a blocked resource fails the test."""
    contexts: list[BrowserContext] = []
    refused: list[str] = []

    def opened(path: str, **options: object) -> Page:
        context = browser.new_context(base_url=stack.api_url, storage_state=logged_in, **options)  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        page.on(
            "console", lambda said: refused.append(said.text) if "Content Security" in said.text else None
        )
        page.on("pageerror", lambda error: refused.append(str(error)))
        page.goto(path)
        return page

    expect.set_options(timeout=TIMEOUT_MS)
    yield opened
    for context in contexts:
        context.close()
    assert refused == []


def board(page: Page) -> FrameLocator:
    """Returns the board's page inside Airflow's page."""
    return page.frame_locator("iframe")


@pytest.fixture(scope="module")
def dry_run(stack: RunningStack, browser: Browser, logged_in: StorageState, rows: list[str]) -> str:
    """Trigger a dry run for two ids and one account with the form. Returns the run id."""
    context = browser.new_context(
        base_url=stack.api_url, storage_state=logged_in, viewport={"width": 1280, "height": 1400}
    )
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page.goto("/dags/dsar_daily")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    form.locator("[data-part=control][id*=element_dry_run]").click()
    form.locator("#element_request_ids").fill("ui-erasure-1\nui-access")
    form.get_by_role("combobox").fill("besitos")
    page.get_by_role("option", name="besitos").click()
    with page.expect_response(re.compile("/dagRuns$")) as answer:
        form.get_by_role("button", name="Trigger").click()
    run_id = str(answer.value.json()["dag_run_id"])
    context.close()
    assert stack.wait(run_id, 200) == "success"
    return run_id


@pytest.fixture(scope="module")
def real_run(stack: RunningStack, dry_run: str) -> str:
    """Returns a finished run of the three requests."""
    run_id = stack.trigger({"request_ids": list(ROWS), "await_minutes": 1})
    stack.wait(run_id, 200)
    return run_id


def test_a_dry_run_from_the_form_is_shown_in_the_log_and_on_the_board(
    open_page: OpenPage, dry_run: str
) -> None:
    """The dry run covers only the two requests and the account that were entered."""
    page = open_page(f"/dags/dsar_daily/runs/{dry_run}/tasks/intake")
    expect(page.get_by_text("dry run: besitos would be sent: 1 access, 1 erasure")).to_be_visible()
    expect(page.get_by_text("attentive would be sent")).to_have_count(0)
    page.goto(f"/dags/dsar_daily/runs/{dry_run}")
    page.get_by_role("link", name="Privacy requests").last.click()
    seen = board(page)
    expect(seen.get_by_role("row", name="besitos 1 1")).to_be_visible()
    expect(seen.get_by_text("nothing was sent")).to_be_visible()
    expect(seen.get_by_role("link", name="ui-access")).to_be_visible()
    expect(seen.get_by_text("This run changed no request.")).to_be_visible()


def test_the_form_rejects_an_invalid_request_id(open_page: OpenPage) -> None:
    """The form shows a message and no run starts."""
    page = open_page("/dags/dsar_daily", viewport={"width": 1280, "height": 1400})
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    form.locator("#element_request_ids").fill("jane@example.org")
    with page.expect_response(re.compile("/dagRuns$")) as answer:
        form.get_by_role("button", name="Trigger").click()
    assert answer.value.status == 400
    expect(page.get_by_text(re.compile("Invalid input for param request_ids"))).to_be_visible()


def test_a_request_can_be_found_on_the_board(open_page: OpenPage, real_run: str) -> None:
    """A user starts at the home page, uses a filter, and opens the request's timeline and its task."""
    page = open_page("/")
    page.get_by_role("link", name="Privacy requests").click()
    seen = board(page)
    expect(seen.get_by_role("heading", name=re.compile("open request"))).to_be_visible()
    expect(seen.get_by_role("img", name="Requests received and closed per day")).to_be_visible()
    seen.get_by_role("link", name="Requests", exact=True).click()
    seen.get_by_label("Status").select_option("any status")
    seen.get_by_label("Type").select_option("erasure")
    seen.get_by_label("Request id").fill("ui-")
    seen.get_by_role("button", name="Filter").click()
    expect(seen.get_by_role("heading", name="2 requests")).to_be_visible()
    expect(seen.locator("tbody tr")).to_have_count(2)
    expect(page).to_have_url(re.compile(f"{BOARD}/requests[?].*id=ui-"))  # a user can share this link
    seen.get_by_role("link", name="ui-erasure-2").click()
    expect(seen.get_by_role("heading", name=re.compile("ui-erasure-2"))).to_be_visible()
    expect(seen.get_by_text("requests/ui-erasure-2/receipt.json")).to_be_visible()
    seen.get_by_role("link", name="besitos.submit").first.click()
    expect(page).to_have_url(re.compile(f"/dags/dsar_daily/runs/{re.escape(real_run)}/tasks/besitos.submit"))
    expect(page.get_by_role("heading", name="besitos.submit")).to_be_visible()


def test_the_filter_sends_only_request_ids(stack: RunningStack, open_page: OpenPage, real_run: str) -> None:
    """Other text stays in the browser. Otherwise an e-mail address would be in the API server's log."""
    page = open_page(f"{BOARD}/requests?status=any")
    seen = board(page)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    field = seen.get_by_label("Request id")
    for pasted in (EMAIL, "+12025550147", "Jane Doe", "ui-access\t" + EMAIL):
        field.fill(pasted)
        seen.get_by_role("button", name="Filter").click()
        assert field.evaluate("field => field.validity.patternMismatch"), pasted
    assert [url for url in sent if "id=" in url] == []
    assert EMAIL.split("@")[0] not in (stack.logs / "api-server.log").read_text()
    field.fill(" ui-access ")
    seen.get_by_role("button", name="Filter").click()
    expect(seen.locator("tbody tr")).to_have_count(1)


def test_a_task_links_to_its_account(open_page: OpenPage, real_run: str) -> None:
    """The link of a task opens the account's page inside Airflow's page."""
    page = open_page(f"/dags/dsar_daily/runs/{real_run}/tasks/besitos.submit/details")
    page.get_by_role("link", name="Privacy requests of this account").click()
    expect(board(page).get_by_role("heading", name="besitos", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(f"{BOARD}/account"))


def test_a_run_shows_its_requests(open_page: OpenPage, real_run: str) -> None:
    """The requests are on the run's page. A click on a request opens it on the board."""
    page = open_page(f"/dags/dsar_daily/runs/{real_run}/plugin/privacy-requests-of-run")
    seen = board(page)
    for request_id in ROWS:
        expect(seen.locator("tbody").get_by_role("link", name=request_id)).to_be_visible()
    seen.locator("tbody").get_by_role("link", name="ui-access").click()
    expect(page).to_have_url(re.compile(f"{BOARD}/request[?]id=ui-access"))
    expect(board(page).get_by_role("heading", name=re.compile("ui-access"))).to_be_visible()


def test_the_board_follows_airflows_theme(open_page: OpenPage, real_run: str) -> None:
    """A change in Airflow's menu takes effect at once. Board and Airflow have the same background colour."""
    page = open_page(BOARD + "/", color_scheme="light")
    seen = board(page)
    expect(seen.locator("html")).to_have_class("light")
    page.get_by_role("button", name="User").click()
    page.get_by_role("menuitem", name="Appearance").click()
    page.get_by_role("menuitemradio", name=re.compile("Dark")).click()
    expect(seen.locator("html")).to_have_class("dark")
    paint = "element => getComputedStyle(element).backgroundColor"
    assert seen.locator("body").evaluate(paint) == page.locator("html").evaluate(paint)


FIND_LOW_CONTRAST = Path(__file__).with_name("contrast.js").read_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_has_enough_contrast(
    open_page: OpenPage, real_run: str, theme: Literal["light", "dark"]
) -> None:
    """The board uses Airflow's colours inside Airflow's page, and its text has enough contrast."""
    page = open_page(BOARD + "/", color_scheme=theme)
    for path in ("/", "/requests?status=any", "/request?id=ui-access", "/account?name=besitos"):
        page.goto(BOARD + path)
        expect(board(page).locator("html")).to_have_class(theme)
        expect(board(page).locator("footer")).to_be_visible()
        texts, low_contrast = board(page).locator("html").evaluate(FIND_LOW_CONTRAST)
        assert texts > 20
        assert low_contrast == [], path


def test_the_board_works_on_a_phone_and_with_a_keyboard(open_page: OpenPage, real_run: str) -> None:
    """No page scrolls sideways. The first tab stop skips the navigation, and each element with the focus is
    visible.
    """
    page = open_page(f"{BOARD}/requests?status=any", viewport={"width": 390, "height": 844})
    seen = board(page)
    expect(seen.get_by_role("table")).to_be_visible()
    for path in ("/", "/requests?status=any", "/request?id=ui-access", "/account?name=besitos"):
        page.goto(BOARD + path)
        expect(seen.locator("footer")).to_be_visible()
        assert seen.locator("html").evaluate("html => html.scrollWidth <= html.clientWidth"), path
    page.goto(f"{BOARD}/requests?status=any")
    seen.locator("a, button, input, select, [tabindex]").first.focus()
    stops = []
    while not stops or stops[-1][0] not in ROWS:
        focused = seen.locator(":focus")
        stops.append(focused.evaluate("e => [e.textContent.trim(), getComputedStyle(e).outlineStyle]"))
        focused.press("Tab")
    assert stops[0][0] == "Skip to content"
    assert all(outline != "none" for _, outline in stops), stops


def test_no_page_shows_an_identifier(open_page: OpenPage, real_run: str) -> None:
    """No page shows an identifier even while the ledger contains the identifiers."""
    page = open_page(BOARD + "/")
    for path in ("/", "/requests?status=any", "/request?id=ui-access", "/account?name=attentive"):
        page.goto(BOARD + path)
        expect(board(page).locator("footer")).to_be_visible()
        assert "zq7x" not in board(page).locator("html").inner_html()


def test_a_connection_can_be_created_and_tested_in_the_form(stack: RunningStack, open_page: OpenPage) -> None:
    """The form has the vendor's fields. The Test button says that the connection works, or what the user
    must change.
    """
    host, _, port = stack.sandbox_url.rpartition(":")
    page = open_page("/connections", viewport={"width": 1280, "height": 1400})
    for name, secret, answer in (
        ("id5_right", "sandbox-secret", "ID5 accepts our credentials."),
        ("id5_wrong", "another", "enter a valid secret in Password."),
    ):
        page.get_by_role("button", name="Add Connection").first.click()
        form = page.get_by_role("dialog")
        form.locator("input[name=connection_id]").fill(name)
        form.get_by_role("combobox").first.fill("ID5")
        page.get_by_role("option", name="ID5", exact=True).click()
        form.locator("input[name=host]").fill(host)
        form.locator("input[name=port]").fill(port)
        form.locator("input[name=password]").fill(secret)
        form.get_by_role("button", name="Extra Fields", exact=True).click()
        form.locator("#element_partner_id").fill("173")
        form.get_by_role("button", name="Save").click()
        row = page.get_by_role("row").filter(has_text=name)
        row.get_by_role("button", name="Test Connection").click()
        expect(page.get_by_text(answer)).to_be_visible()
        page.mouse.move(0, 0)  # moves away from the button, to hide the tooltip


@pytest.fixture
def unusual_run(stack: RunningStack, real_run: str) -> Iterator[str]:
    """Start a run with more erasures than an account with a history may get. Returns the run id."""
    with psycopg.connect(stack.dsn) as db:
        db.execute(
            "INSERT INTO dsar.volume (account, action, day) VALUES ('besitos', 'erasure', current_date - 40)"
        )
        db.execute(
            "INSERT INTO public.dsar_requests (request_id, request_type, regulation, received_at, user_id,"
            " accounts) SELECT 'many-' || n, 'erasure', 'GDPR', now(), ARRAY['zq7x-many-' || n],"
            " ARRAY['besitos'] FROM generate_series(1, %s) AS n",
            [MANY],
        )
    yield stack.trigger({"await_minutes": 0})
    for run in stack.api("GET", "/dags/dsar_daily/dagRuns?state=running&state=queued")["dag_runs"]:
        stack.api("PATCH", f"/dags/dsar_daily/dagRuns/{run['dag_run_id']}", {"state": "failed"})


def many(stack: RunningStack) -> set[tuple[str, bool]]:
    """Returns the states of the unusual submissions, and whether they are on hold."""
    with psycopg.connect(stack.dsn) as db:
        return set(
            db.execute(
                "SELECT s.state, s.is_held FROM dsar.submission s JOIN dsar.request r ON r.id = s.request"
                " WHERE r.request_id LIKE 'many-%' AND s.account = 'besitos'"
            ).fetchall()
        )


def test_an_operator_approves_an_unusual_number_of_submissions(
    stack: RunningStack, open_page: OpenPage, unusual_run: str
) -> None:
    """The submissions on hold are not sent before the approval. The approval starts a run that sends them.
    No other task waits for the approval.
    """

    def waits() -> bool:
        states = stack.task_states(unusual_run)
        return (states["approve_volume"], states["report"]) == ("awaiting_input", "failed")

    wait_for("the question", 120, waits)
    assert many(stack) == {("planned", True)}
    page = open_page(f"/dags/dsar_daily/runs/{unusual_run}/tasks/approve_volume/required_actions")
    expect(page.get_by_role("cell", name="besitos", exact=True).first).to_be_visible()
    expect(page.get_by_text("zq7x")).to_have_count(0)
    page.locator("#element_reason").fill("the test of the UI")
    page.get_by_role("button", name="Approve").click()
    wait_for(
        "the approved submissions", 120, lambda: not many(stack) & {("planned", True), ("planned", False)}
    )
    with psycopg.connect(stack.dsn) as db:
        said = db.execute("SELECT decision, decided_by, reason FROM dsar.approval").fetchall()
    assert said == [("approved", f"admin in run {unusual_run}", "the test of the UI")]
    assert stack.wait(unusual_run, 30) == "failed"  # only because of the report
    assert stack.task_states(unusual_run)["approve_volume"] == "success"
