"""The overview shows invalid rows, failed requests and requests to answer by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import unescape

import psycopg
import pytest
from fastapi.testclient import TestClient

from tests.integration.board.given import Rows

NOW = datetime.now(UTC)
SOON = NOW + timedelta(days=2)


@pytest.fixture
def invalid_row(dsn: str, deployment: object) -> None:
    with psycopg.connect(dsn) as db:
        db.execute(
            "INSERT INTO dsar.unplanned_row (kind, row_key, reason, since, due_at, first_seen, last_seen)"
            " VALUES ('invalid', 'zq7x-key', 'unsafe request_id', %(now)s, %(due)s, %(now)s, %(now)s)",
            {"now": NOW, "due": SOON},
        )


def test_the_overview_shows_invalid_rows_and_counts_them(viewer: TestClient, invalid_row: None) -> None:
    """A row without a safe id has a number. The key of the row is not shown."""
    page = unescape(viewer.get("/dsar/").text)
    assert "<h1>1 open request</h1>" in page
    assert "#1: unsafe request_id" in page
    assert "zq7x" not in page


def test_the_overview_shows_failed_requests_until_they_are_resolved(viewer: TestClient, rows: Rows) -> None:
    """The list of unresolved requests has open requests and failed requests."""
    closed = {"closed": NOW, "due": SOON, "is_unresolved": True}
    rows.request("failed-1", {"state": "failed"}, status="failed", **closed)
    rows.request("left-out-1", {"state": "completed"}, status="completed", **closed)
    rows.request("resolved-1", {"state": "failed"}, status="failed", closed=NOW)
    rows.request("open-1")
    page = unescape(viewer.get("/dsar/").text)
    assert "<h1>3 open requests</h1>" in page
    assert ">failed-1</a>: failed, " in page
    assert ">left-out-1</a>: an account was not asked, " in page
    assert "resolved-1" not in page
    for filters, expected in (
        ("status=unresolved", {"failed-1", "left-out-1", "open-1"}),
        ("status=unresolved&left=under_3", {"failed-1", "left-out-1"}),
        ("status=unresolved&account=besitos&state=failed", {"failed-1"}),
    ):
        listed = viewer.get(f"/dsar/requests?{filters}").text
        found = {
            name for name in ("failed-1", "left-out-1", "open-1", "resolved-1") if f"id={name}" in listed
        }
        assert found == expected


def test_the_overview_shows_requests_that_no_account_can_serve(viewer: TestClient, rows: Rows) -> None:
    rows.request("by-hand-1", {"state": "not_applicable"}, action="access", needs_answer=True)
    assert ">by-hand-1</a>: no account can serve it" in unescape(viewer.get("/dsar/").text)
    assert "by-hand-1 answered <reason>" in unescape(viewer.get("/dsar/request?id=by-hand-1").text)


def test_the_page_of_a_request_says_what_to_do_about_it(viewer: TestClient, rows: Rows) -> None:
    """The page names the accounts that were not asked, and has the possible decisions."""
    closed = {"closed": NOW, "is_unresolved": True, "not_asked": ["id5"]}
    rows.request("left-out-1", {"state": "completed"}, **closed)
    rows.request("done-1", {"state": "completed"}, closed=NOW)
    page = unescape(viewer.get("/dsar/request?id=left-out-1").text)
    assert "may hold data and were not asked, because they have no API for this: id5." in page
    assert "left-out-1 acknowledge always <reason>" in page
    assert "an operator must act" not in viewer.get("/dsar/request?id=done-1").text
