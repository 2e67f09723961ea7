"""The request list has filters, pages and cells."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.dsar.board.filters import BadFilter, RequestFilter
from include.dsar.ledger.board import request_list
from include.dsar.ledger.board.request_list import Page
from include.dsar.ledger.database import Database
from tests.integration.board.given import Rows

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def page(db: Database, **fields: str) -> Page:
    wanted = RequestFilter.parse(fields)
    order = {"latest_first": wanted.latest_first, "after": wanted.after, "before": wanted.before}
    return request_list.page(db, wanted.criteria(NOW), **order)  # type: ignore[arg-type]


def listed(db: Database, **fields: str) -> list[str]:
    """Returns the request ids on the page."""
    return [each.request_id for each in page(db, **fields).requests]


@pytest.fixture
def six(rows: Rows) -> None:
    """Adds six requests. Each request differs from the other five in one property."""
    batch: dict[str, Any] = {"account": "batch", "vendor": "batch"}
    rows.request("overdue", due=NOW)
    rows.request("urgent", due=NOW + DAY, action="access")
    rows.request("soon", {"state": "uncertain"}, batch, due=NOW + 5 * DAY)
    rows.request("calm", {**batch, "state": "uncertain"}, due=NOW + 20 * DAY, regulation="CCPA")
    rows.request("done", due=NOW + 6 * DAY, closed=NOW)
    failed = {"state": "failed", "finished_at": NOW}
    rows.request("part", failed, due=NOW + 7 * DAY, closed=NOW, status="partial")


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
def test_filters_select_the_matching_requests(
    db: Database, six: None, fields: dict[str, str], expected: list[str]
) -> None:
    """Filters work alone and in combination. The total in the heading matches the list."""
    assert listed(db, **fields) == expected
    assert page(db, **fields).total == len(expected)


@pytest.mark.parametrize("prefix", ["a_b", "a.b-"])
def test_wildcards_of_like_have_no_meaning_in_an_id(rows: Rows, db: Database, prefix: str) -> None:
    """Wildcards of LIKE have no meaning: each character of the filter matches only itself."""
    for name in ("a_b-1", "axb-1", "a.b-1"):
        rows.request(name)
    (found,) = listed(db, id=prefix)
    assert found.startswith(prefix)


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
def test_the_error_for_a_wrong_filter_has_its_name_and_not_its_value(fields: dict[str, str]) -> None:
    """The error names the filter but does not repeat its value. The form never sends such a value
    (tests/e2e/test_ui.py).
    """
    with pytest.raises(BadFilter) as caught:
        RequestFilter.parse(fields)
    (name, value), text = *fields.items(), str(caught.value)
    assert name in text or name == "nonsense"
    assert value not in text


@pytest.mark.parametrize("fields", [{}, {"order": "latest"}, {"account": "besitos"}])
def test_pages_have_no_gap_and_no_repeat(
    rows: Rows, db: Database, fields: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paging works forward and back, even if several requests are due at the same moment."""
    monkeypatch.setattr(request_list, "PAGE_SIZE", 3)
    for n in range(8):
        rows.request(f"r-{n}", due=NOW + DAY * (n // 3))
    forward = [page(db, **fields)]
    assert not forward[0].has_before
    while forward[-1].has_after:
        forward.append(page(db, **fields, after=str(forward[-1].requests[-1].id)))
        assert forward[-1].has_before
    names = [each.request_id for one in forward for each in one.requests]
    assert len(names) == 8
    assert sorted(names, reverse=bool(fields.get("order"))) == names
    back = page(db, **fields, before=str(forward[-1].requests[0].id))
    assert (back.requests, back.has_before, back.has_after) == (forward[-2].requests, True, True)


def test_a_page_after_an_unknown_request_is_the_first_page(rows: Rows, db: Database) -> None:
    """An old bookmark may name a request that does not exist any more. The page then shows the first
    requests.
    """
    rows.request("r-1")
    assert listed(db, after="999999") == ["r-1"]


def test_a_cell_shows_the_most_urgent_open_state_or_the_outcome(rows: Rows, db: Database) -> None:
    """A cell shows `uncertain` rather than `submitted`. If all submissions have ended, the cell shows their
    outcome.
    """
    batch = {"account": "batch", "vendor": "batch"}
    rows.request(
        "r-1",
        {"state": "submitted"}, {"state": "uncertain"}, {"state": "completed"},
        {**batch, "state": "completed"}, {**batch, "state": "failed"},
    )  # fmt: skip
    (request,) = page(db).requests
    assert {name: (cell.state, cell.ended, cell.submissions) for name, cell in request.cells.items()} == {
        "besitos": ("uncertain", 1, 3),
        "batch": ("partial", 2, 2),
    }


def test_counting_stops_after_the_maximum(rows: Rows, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting stops after a maximum, because counting a million requests would take longer than the page
    itself.
    """
    monkeypatch.setattr(request_list, "MAX_COUNTED", 2)
    for n in range(4):
        rows.request(f"r-{n}")
    assert page(db).total == 3
