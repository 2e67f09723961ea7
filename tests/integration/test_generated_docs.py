"""Generated parts of the documentation match the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.generate import BLOCK, BLOCKS, STATES_MODULE, generated, pages, with_diagram


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_generated_block_is_current(page: Path) -> None:
    """If this test fails, run `make docs`."""
    assert page.read_text() == generated(page.read_text())


def test_every_part_is_on_a_page() -> None:
    """Each generated part has one block in the documentation."""
    found = [block["name"] for page in pages() for block in BLOCK.finditer(page.read_text())]
    assert sorted(found) == sorted(BLOCKS)


def test_the_diagram_of_states_in_the_module_is_current() -> None:
    source = STATES_MODULE.read_text()
    assert source == with_diagram(source)
    assert with_diagram(source.replace("-> planned, end", "-> nowhere")) == source
