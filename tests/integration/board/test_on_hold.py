"""Pages show which submissions are on hold, and what an operator must do."""

from __future__ import annotations

from html import unescape

import psycopg
import pytest
from fastapi.testclient import TestClient

from tests.integration.board.given import Rows


@pytest.fixture
def volume(rows: Rows) -> Rows:
    """One submission is on hold, and another one of the same account can be sent."""
    with psycopg.connect(rows.dsn) as db:
        db.execute(
            "INSERT INTO dsar.approval (created_at, account, action, count, usual, max_count)"
            " VALUES (now(), 'besitos', 'erasure', 1200, 7, 21)"
        )
    rows.request("r-1", {"is_held": True, "approval": 1})
    rows.request("r-2")
    return rows


def test_no_page_mentions_a_hold_on_an_ordinary_day(viewer: TestClient, rows: Rows) -> None:
    rows.request("r-1")
    for page in ("", "account?name=besitos", "request?id=r-1"):
        assert "on hold" not in viewer.get(f"/dsar/{page}").text.lower()


def test_pages_say_what_waits_for_an_approval(viewer: TestClient, volume: Rows) -> None:
    """The pages compare the volume with the usual volume, and have a link to Required Actions. Submissions
    on hold do not count as "to be sent".
    """
    for name in ("", "account?name=besitos"):
        page = unescape(viewer.get(f"/dsar/{name}").text)
        assert "On hold: an unusual number of submissions" in page
        assert "besitos</a>: 1 erasure, the first" in page
        assert "1,200 in a day; usual 7, allowed 21" in page
        assert "/dags/dsar_daily/required_actions" in page
        assert "and 1 on hold</span>" in page
    assert "On hold: an unusual number" not in viewer.get("/dsar/account?name=batch").text
    assert "The page of the account says what to do" in viewer.get("/dsar/request?id=r-1").text
    assert "The page of the account says what to do" not in viewer.get("/dsar/request?id=r-2").text


def test_pages_say_who_denied_a_volume_and_how_to_send_it(viewer: TestClient, volume: Rows) -> None:
    with psycopg.connect(volume.dsn) as db:
        db.execute(
            "UPDATE dsar.approval SET decision = 'denied', decided_at = now(), decided_by = 'alice',"
            " reason = 'a wrong join'"
        )
    page = unescape(viewer.get("/dsar/").text)
    assert "Denied by alice: a wrong join" in page
    assert "<code>besitos release_volume <reason></code>" in page
    assert "required_actions" not in page
