"""The page of an account says when its API was compared, and what was found."""

from __future__ import annotations

from datetime import UTC, datetime
from html import unescape

from fastapi.testclient import TestClient

from include.dsar.ledger.database import Database
from include.dsar.ledger.reply_shapes import ContractCheck, put_check

AT = datetime(2026, 11, 22, 12, 5, tzinfo=UTC)
NOTICE = "The vendor's API has changed"


def page(viewer: TestClient) -> str:
    return unescape(viewer.get("/dsar/account?name=id5").text)


def test_the_page_of_an_account_shows_the_last_comparison(viewer: TestClient, db: Database) -> None:
    assert "<dt>API compared</dt><dd>never</dd>" in page(viewer)
    put_check(db, ContractCheck("id5", AT, []))
    assert "2026-11-22 12:05" in page(viewer)
    assert '<span class="quiet">no differences</span>' in page(viewer)
    assert NOTICE not in page(viewer)
    put_check(db, ContractCheck("id5", AT, ["Route status: the field id is missing"]))
    assert '<span class="quiet">1 difference</span>' in page(viewer)
    assert NOTICE in page(viewer)
    assert "<li>Route status: the field id is missing</li>" in page(viewer)
