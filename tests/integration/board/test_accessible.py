"""Screen readers and keyboards can use the board: tables have headers, and charts and states have texts."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient

from tests.integration.board.conftest import every_page
from tests.integration.board.given import Rows, a_run

NOW = datetime.now(UTC)
VOID = re.compile(r"<(meta|link|input|br)\b([^>]*)>")


@pytest.fixture
def pages(viewer: TestClient, rows: Rows) -> dict[str, ElementTree.Element]:
    """Returns every page as XML, with rows in each table. Fails if a page is not well-formed."""
    request = rows.request(
        "r-1",
        {"state": "uncertain"}, {"state": "submitted", "job_id": "j", "submitted_at": NOW},
        {"state": "failed", "reason": "refused", "finished_at": NOW, "attempts": 1, "attempted_at": NOW},
        planned_at=NOW,
    )  # fmt: skip
    rows.event(request, NOW, leaves="submitting", enters="uncertain", reason="reply lost")
    with a_run("manual-1", ("intake", -1, NOW - timedelta(hours=1), None), conf={"dry_run": True}):
        texts = every_page(viewer)
    return {path: ElementTree.fromstring(as_xml(text)) for path, text in texts.items()}


def as_xml(text: str) -> str:
    """Converts HTML to XML: closes void elements and gives each attribute a value."""
    closed = VOID.sub(r"<\1\2/>", text.replace("<!doctype html>", ""))
    return re.sub(r" (selected|data-outside)(?=[ >])", r' \1=""', closed)


def test_every_table_has_a_caption_and_headers(pages: dict[str, ElementTree.Element]) -> None:
    """Each column and each row of a table has a header."""
    for path, page in pages.items():
        tables = list(page.iter("table"))
        assert tables, path
        for table in tables:
            assert "".join(table.find("caption").itertext()).strip()  # type: ignore[union-attr]
            (head,) = table.iterfind("thead/tr")
            assert {(cell.tag, cell.get("scope")) for cell in head} == {("th", "col")}, path
            rows = table.findall("tbody/tr")
            assert rows, path
            for row in rows:
                kinds = [(cell.tag, cell.get("scope")) for cell in row]
                assert kinds == [("th", "row")] + [("td", None)] * (len(head) - 1), path


def test_every_chart_has_a_name_a_text_and_a_table(pages: dict[str, ElementTree.Element]) -> None:
    """A screen reader reads the title and the description of a chart."""
    charts = [figure for page in pages.values() for figure in page.iter("figure")]
    assert len(charts) == 2
    for figure in charts:
        (image,) = (svg for svg in figure.iter("svg") if svg.get("role") == "img")
        texts = {each.get("id"): each.text for each in (image[0], image[1])}
        assert [image[0].tag, image[1].tag] == ["title", "desc"]
        assert all(texts[id_] for id_ in image.get("aria-labelledby", "").split())
        assert figure.find(".//details//table") is not None


def test_pages_with_badges_explain_them_in_a_list(pages: dict[str, ElementTree.Element]) -> None:
    """A list explains the badges, because the title of a badge appears on hover only."""
    for path, page in pages.items():
        spans = {each.get("class", ""): each.get("title") for each in page.iter("span")}
        badges = {kind: title for kind, title in spans.items() if "badge" in kind}
        if path == "/dsar/":
            assert not badges
            continue
        (legend,) = (each for each in page.iter("details") if each.get("class") == "states")
        assert legend[0].tag == "summary"
        meanings = {entry.find("dt/span").get("class"): entry.findtext("dd") for entry in legend.iter("div")}  # type: ignore[union-attr]
        assert badges == meanings


def test_only_elements_with_a_role_have_a_label(pages: dict[str, ElementTree.Element]) -> None:
    """ARIA forbids a label on an element without a role, and screen readers ignore such a label."""
    for path, page in pages.items():
        for element in page.iter():
            if element.tag in ("span", "div", "p", "code", "dd", "dt") and element.get("role") is None:
                assert element.get("aria-label") is None, path
    assert "not asked" in "".join(pages["/dsar/requests?status=any"].itertext())
