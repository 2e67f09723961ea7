"""Links and file names in the docs lead to files and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("dags/*.md")]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
FILE = re.compile(r"`((?:include|plugins|dags|tests|docs|bin)/[\w./-]+|[\w-]+/[\w/-]+\.(?:py|sql|md))`")
ROOTS = [
    PROJECT,
    PROJECT / "include/dsar",
    PROJECT / "plugins",
]  # a file name may be relative to any of these folders


def anchors(page: Path) -> set[str]:
    """Returns the anchors of the headings of a page, as GitHub creates them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_and_file_names_exist(page: Path) -> None:
    """Each link, anchor and file name in a page exists."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    dead = []
    for path, anchor in LINK.findall(text):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{path}#{anchor}")
    for name in FILE.findall(text):
        if not any((root / name).exists() for root in ROOTS):
            dead.append(name)
    assert dead == []


def test_the_index_lists_every_decision() -> None:
    """The index lists each decision exactly once."""
    folder = PROJECT / "docs/decisions"
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))
