"""Pages show implausible outcomes, and the age of uncertain submissions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import unescape

from fastapi.testclient import TestClient

from tests.integration.board.given import Rows

NOW = datetime.now(UTC)


def test_pages_say_which_outcomes_wait_and_how_to_decide(viewer: TestClient, rows: Rows) -> None:
    """The overview names the account. The account's page has the possible decisions. The request's page
    says why the request is still open.
    """
    assert "Implausible outcomes" not in viewer.get("/dsar/").text
    rows.request("r-1", {"state": "no_data", "finished_at": NOW, "is_unconfirmed": True})
    overview = unescape(viewer.get("/dsar/").text)
    assert "Implausible outcomes: an operator must act" in overview
    account = unescape(viewer.get("/dsar/account?name=besitos").text)
    assert "1 outcome of this account waits for an operator" in account
    assert "<code>besitos_default</code>" in account
    for verb in ("discard_outcomes", "confirm_outcomes"):
        assert f"<code>besitos {verb} <reason></code>" in account
    assert "It waits until an operator confirms" in viewer.get("/dsar/request?id=r-1").text
    assert "Implausible outcomes" not in viewer.get("/dsar/account?name=batch").text


def test_the_page_of_an_account_has_the_age_of_the_oldest_uncertain_submission(
    viewer: TestClient, rows: Rows
) -> None:
    """The age is counted from the time when the submission became uncertain, not from the receipt of the
    request.
    """
    for days in (3, 9):
        since = {"state": "uncertain", "changed_at": NOW - timedelta(days=days, hours=1)}
        rows.request(f"r-{days}", since, received=NOW - timedelta(days=20))
    page = viewer.get("/dsar/account?name=besitos").text
    assert "<dt>Oldest uncertain</dt><dd>9 d 1 h</dd>" in page
