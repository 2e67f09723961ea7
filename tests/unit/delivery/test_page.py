from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from include.dsar.delivery import excerpt
from include.dsar.model import State
from tests.unit.delivery.delivery_samples import BESITOS, Delivery, as_json, zipped

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</td></table><h1>",
    "{{ 7*7 }}",
    "&lt;b&gt;",
    '" onmouseover="x',
    "javascript:alert(1)",
    "a\x1f<b>\x1e<i>",
    "\u202egnp.exe",
    "a\ud800\x00\x1b[31m",
    "]]>",
    "<!--",
]
OURS = set(
    """html head meta title style body main header nav section footer h1 h2 h3 p dl div dt dd bdi ul li a
    span strong table thead tbody tr th td""".split()  # noqa: SIM905 - as a text it can be read
)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.cells: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data
        if "style" not in self.open:
            self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment that is not ours")


def hostile_delivery() -> Delivery:
    record = {text: text for text in HOSTILE} | {"list": [{text: text} for text in HOSTILE], "l<b>": HOSTILE}
    archive = zipped({"<img src=x>.json": as_json(record), "<b>.png": b"x", "\u202e.csv": b"a\n<script>\n"})
    return (
        Delivery()
        .account("besitos", ("<i>.json", as_json(record)))
        .account("batch", ("export.zip", archive))
        .account("id5", outcome=State.FAILED, reason="<script>x</script>\u202e")
        .account("new<b>", vendor="<u>", outcome=State.NO_DATA)
    )


def test_every_tag_and_attribute_is_ours() -> None:
    """The page escapes everything that a vendor sent. The tags are balanced."""
    page = Page(hostile_delivery().page())
    assert {tag for tag, _ in page.tags} <= OURS
    assert not page.open
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("src", "style", "srcset") for name in attributes)
    for text in HOSTILE[:6]:
        assert page.cells.count(text) >= 4


def test_the_page_has_no_misleading_characters() -> None:
    """The page has no control characters, no changes of writing direction and no lone surrogates."""
    text = hostile_delivery().page()
    assert not re.search(
        "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text
    )
    assert "\ufffdgnp.exe" in text


def test_links_lead_to_files_of_the_package() -> None:
    """Each link leads to a file of the package, or to a place on the page."""
    files = hostile_delivery().unpacked()
    page = Page(files["index.html"].decode())
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [attributes["href"] or "" for tag, attributes in page.tags if tag == "a"]
    assert len(links) > 8
    for link in links:
        assert link[1:] in anchors if link[0] == "#" else unquote(link) in files


def test_the_page_loads_nothing() -> None:
    """The security policy of the page allows only its style sheet, by the hash of the sheet."""
    text = hostile_delivery().page()
    policy = next(
        a["content"] for t, a in Page(text).tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]+='; base-uri 'none'; form-action 'none'",
        policy or "",
    )
    assert "@import" not in text
    assert "url(" not in text


def test_the_page_shows_who_answered_what_and_when() -> None:
    """The page names the law, the dates, the reference, each vendor with its service, and the tables."""
    page = Page(
        Delivery()
        .account("besitos", ("export.json", as_json(BESITOS)))
        .account("batch_ios", vendor="batch", outcome=State.NO_DATA)
        .account("batch_android", ("e.json", b"{}"), ("f.json", b"{}"), vendor="batch")
        .page()
    )
    text = " ".join(page.text.split())
    for words in (
        "On 25 February 2026 you asked", "4 March 2026", "DSAR-42", "Article 15", "Article 20",
        "Besitos (offer wall)", "Batch (push messages, ios)", "Has data about you", "Has no data about you",
        "Batch told us that it has no data about you.", "With your user ID: Batch found data about you.",
        "Activity summary › last activity timestamp", "Partner user ID", "This answer is empty.",
    ):  # fmt: skip
        assert words in text
    assert "0.00" in page.cells


def test_the_page_has_a_language_one_heading_and_scopes() -> None:
    page = Page(Delivery().account("besitos", ("export.json", as_json(BESITOS))).page())
    assert page.tags[0] == ("html", {"lang": "en"})
    assert sum(tag == "h1" for tag, _ in page.tags) == 1
    assert all(a.get("scope") in ("row", "col") for tag, a in page.tags if tag == "th")


def test_a_large_table_is_cut() -> None:
    """The page says how many rows it shows, and that the CSV file has all rows."""
    rows = [{f"c{n}": "x" * 3_000 for n in range(30)} for _ in range(300)]
    text = Delivery().account("besitos", ("export.json", as_json(rows))).page()
    assert len(text) < 2 * excerpt.MAX_PAGE_CHARACTERS
    assert "of 300 rows, 24 of 30 columns, the start of long texts. The CSV file has everything." in text


def test_tables_beyond_the_limit_are_counted() -> None:
    content = as_json({f"l{n}": [n] for n in range(excerpt.MAX_TABLES_SHOWN + 5)})
    files = Delivery().account("besitos", ("export.json", content)).unpacked()
    assert "5 more tables are in the folder" in files["index.html"].decode()
    assert f"tables/besitos_l{excerpt.MAX_TABLES_SHOWN + 4}.csv" in files


def test_notes_beyond_the_limit_are_counted() -> None:
    text = Delivery().account("batch", ("e.zip", zipped({f"{n}.png": b"x" for n in range(30)}))).page()
    assert "10 more parts are only in the original answer." in text


@pytest.mark.parametrize("content", [b"{}", b"[]"])
def test_an_empty_answer_is_called_empty(content: bytes) -> None:
    assert re.search(
        "This (answer|table) is empty", Delivery().account("besitos", ("e.json", content)).page()
    )
