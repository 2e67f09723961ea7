"""What a screen reader and a keyboard get: headers, plots in words, meanings that can be reached."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.integration.board.conftest import LogIn, every_page
from tests.integration.board.rows_given import event, given
from tests.integration.board.runs_given import a_run

NOW = datetime.now(UTC)
VOID = re.compile(r"<(meta|link|input|br)\b([^>]*)>")


@pytest.fixture
def pages(log_in: LogIn, deployment: Path, dsn: str) -> dict[str, ElementTree.Element]:
    """Every page, with rows in each of its tables. That they are well-formed is a part of it."""
    request = given(
        dsn, "r-1",
        {"state": "uncertain"}, {"state": "submitted", "job_id": "j", "submitted_at": NOW},
        {"state": "failed", "reason": "refused", "finished_at": NOW, "attempts": 1, "attempted_at": NOW},
        planned_at=NOW,
    )  # fmt: skip
    event(dsn, request, NOW, leaves="submitting", enters="uncertain", reason="reply lost")
    with a_run("manual-1", ("intake", -1, NOW - timedelta(hours=1), None), conf={"dry_run": True}):
        texts = every_page(log_in)
    return {path: ElementTree.fromstring(as_xml(text)) for path, text in texts.items()}


def as_xml(text: str) -> str:
    """HTML's elements without an end get one, its attributes without a value too."""
    closed = VOID.sub(r"<\1\2/>", text.replace("<!doctype html>", ""))
    return re.sub(r" (selected|data-outside)(?=[ >])", r' \1=""', closed)


def test_every_table_has_a_caption_and_headers_of_its_columns_and_rows(
    pages: dict[str, ElementTree.Element],
) -> None:
    """So that each cell is read with the names of its column and of its row."""
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


def test_every_plot_has_a_name_and_its_figures_in_words_and_in_a_table(
    pages: dict[str, ElementTree.Element],
) -> None:
    """An image to a screen reader, as long as it has a text to read."""
    plots = [figure for page in pages.values() for figure in page.iter("figure")]
    assert len(plots) == 2
    for figure in plots:
        (image,) = (svg for svg in figure.iter("svg") if svg.get("role") == "img")
        texts = {each.get("id"): each.text for each in (image[0], image[1])}
        assert [image[0].tag, image[1].tag] == ["title", "desc"]
        assert all(texts[id_] for id_ in image.get("aria-labelledby", "").split())
        assert figure.find(".//details//table") is not None


def test_what_a_badge_means_is_said_without_a_mouse(pages: dict[str, ElementTree.Element]) -> None:
    """A title is shown to a mouse only: each page with badges has their meanings in a list to open."""
    for path, page in pages.items():
        badges = {
            badge.get("class"): badge for badge in page.iter("span") if "badge" in badge.get("class", "")
        }
        if not badges:
            assert path == "/dsar/"
            continue
        (legend,) = (each for each in page.iter("details") if each.get("class") == "states")
        assert legend[0].tag == "summary"
        told = {entry.find("dt/span").get("class"): entry.findtext("dd") for entry in legend.iter("div")}  # type: ignore[union-attr]
        assert {kind: badge.get("title") for kind, badge in badges.items()} == told


def test_nothing_is_named_that_cannot_bear_a_name(pages: dict[str, ElementTree.Element]) -> None:
    """ARIA forbids a label on an element without a role, and screen readers pass over it."""
    for path, page in pages.items():
        for element in page.iter():
            if element.tag in ("span", "div", "p", "code", "dd", "dt") and element.get("role") is None:
                assert element.get("aria-label") is None, path
    assert "not asked" in "".join(pages["/dsar/requests?status=any"].itertext())
