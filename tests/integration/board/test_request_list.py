"""The list of requests: its filters, its pages, its cells."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.dsar.board import request_list
from include.dsar.board.filters import BadFilter, RequestFilter
from include.dsar.ledger.database import Database
from tests.integration.board.rows_given import given

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def listed(db: Database, **fields: str) -> list[str]:
    """The ids on the first page."""
    return [each.request_id for each in request_list.page(db, RequestFilter.parse(fields), NOW).requests]


@pytest.fixture
def six(dsn: str) -> None:
    """Requests that differ in one thing each."""
    batch: dict[str, Any] = {"account": "batch", "vendor": "batch"}
    given(dsn, "overdue", due=NOW)
    given(dsn, "urgent", due=NOW + DAY, action="access")
    given(dsn, "soon", {"state": "uncertain"}, batch, due=NOW + 5 * DAY)
    given(dsn, "calm", {**batch, "state": "uncertain"}, due=NOW + 20 * DAY, regulation="CCPA")
    given(dsn, "done", due=NOW + 6 * DAY, closed=NOW)
    given(
        dsn, "part", {"state": "failed", "finished_at": NOW}, due=NOW + 7 * DAY, closed=NOW, status="partial"
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["overdue", "urgent", "soon", "calm"]),
        ({"status": "any"}, ["calm", "part", "done", "soon", "urgent", "overdue"]),
        ({"status": "any", "order": "soonest"}, ["overdue", "urgent", "soon", "done", "part", "calm"]),
        ({"status": "completed"}, ["done"]),
        ({"status": "partial"}, ["part"]),
        ({"status": "failed"}, []),
        ({"action": "access"}, ["urgent"]),
        ({"regulation": "CCPA"}, ["calm"]),
        ({"account": "batch"}, ["soon", "calm"]),
        ({"state": "uncertain"}, ["soon", "calm"]),
        ({"account": "batch", "state": "uncertain"}, ["calm"]),
        ({"status": "any", "account": "besitos", "state": "failed"}, ["part"]),
        ({"left": "overdue"}, ["overdue"]),
        ({"left": "under_3"}, ["urgent"]),
        ({"left": "under_10"}, ["soon"]),
        ({"left": "more"}, ["calm"]),
        ({"id": "so"}, ["soon"]),
        ({"id": "SO"}, []),
        ({"id": "oon"}, []),
        ({"id": "s..n"}, []),
        ({"id": " ur ", "status": ""}, ["urgent"]),
    ],
)
def test_a_filter_lets_through_what_it_says(
    db: Database, six: None, fields: dict[str, str], expected: list[str]
) -> None:
    """Each by itself, and some together; the count agrees."""
    assert listed(db, **fields) == expected
    assert request_list.page(db, RequestFilter.parse(fields), NOW).total == len(expected)


@pytest.mark.parametrize("prefix", ["a_b", "a.b-"])
def test_an_id_is_taken_letter_by_letter(dsn: str, db: Database, prefix: str) -> None:
    """What means more than itself to LIKE means itself here."""
    for name in ("a_b-1", "axb-1", "a.b-1"):
        given(dsn, name)
    assert all(name.startswith(prefix) for name in listed(db, id=prefix))
    assert len(listed(db, id=prefix)) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "opened"},
        {"action": "x' OR 1=1 --"},
        {"left": "4"},
        {"account": "Besitos; DROP TABLE dsar.request"},
        {"state": "zq7x-value"},
        {"id": "jane@example.org"},
        {"id": "%"},
        {"id": "x" * 129},
        {"after": "-1"},
        {"after": "1e9"},
        {"before": str(2**63 + 1)},
        {"order": "up"},
        {"nonsense": "zq7x-value"},
    ],
)
def test_a_wrong_filter_is_named_and_its_value_is_not(fields: dict[str, str]) -> None:
    """The message, which is for the person who sent it, does not repeat what they sent.

    The address does: so the form has the browser refuse it before it is sent (tests/e2e/test_ui.py).
    """
    with pytest.raises(BadFilter) as caught:
        RequestFilter.parse(fields)
    (name, value), told = *fields.items(), str(caught.value)
    assert name in told or name == "nonsense"
    assert value not in told


@pytest.mark.parametrize("fields", [{}, {"order": "latest"}, {"account": "besitos"}])
def test_pages_follow_one_another_without_gap_or_repeat(
    dsn: str, db: Database, fields: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forth and back again, though several requests are due at the same moment."""
    monkeypatch.setattr(request_list, "PAGE", 3)
    for n in range(8):
        given(dsn, f"r-{n}", due=NOW + DAY * (n // 3))
    forth, more = [request_list.page(db, RequestFilter.parse(fields), NOW)], True
    assert not forth[0].has_before
    while more := forth[-1].has_after:
        after = str(forth[-1].requests[-1].id)
        forth.append(request_list.page(db, RequestFilter.parse(fields | {"after": after}), NOW))
        assert forth[-1].has_before
    names = [each.request_id for page in forth for each in page.requests]
    assert not more
    assert len(names) == 8
    assert sorted(names, reverse=bool(fields.get("order"))) == names
    before = str(forth[-1].requests[0].id)
    back = request_list.page(db, RequestFilter.parse(fields | {"before": before}), NOW)
    assert back.requests == forth[-2].requests
    assert back.has_before
    assert back.has_after


def test_a_page_after_a_request_that_is_not_there_is_the_first(dsn: str, db: Database) -> None:
    """An old bookmark shows something."""
    given(dsn, "r-1")
    assert listed(db, after="999999") == ["r-1"]


def test_a_cell_tells_what_a_person_has_to_know_first(dsn: str, db: Database) -> None:
    """Uncertain before waiting, waiting before results; once all have ended, their outcome together."""
    batch = {"account": "batch", "vendor": "batch"}
    given(
        dsn, "r-1",
        {"state": "submitted"}, {"state": "uncertain"}, {"state": "completed"},
        {**batch, "state": "completed"}, {**batch, "state": "failed"},
    )  # fmt: skip
    (request,) = request_list.page(db, RequestFilter(), NOW).requests
    assert {name: (cell.state, cell.ended, cell.submissions) for name, cell in request.cells.items()} == {
        "besitos": ("uncertain", 1, 3),
        "batch": ("partial", 2, 2),
    }


def test_more_than_can_be_counted_is_said_to_be_more(
    dsn: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting a million for a heading would cost more than the page."""
    monkeypatch.setattr(request_list, "MOST_COUNTED", 2)
    for n in range(4):
        given(dsn, f"r-{n}")
    assert request_list.page(db, RequestFilter(), NOW).total == 3
