"""How much of a table the page shows: enough to read, never so much that a browser gives up."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

from include.dsar.delivery.table import Table
from include.dsar.delivery.words import human

MAX_ROWS_SHOWN = 200
MAX_COLUMNS_SHOWN = 24
MAX_CELL_SHOWN = 1_000  # characters
MAX_TABLES_SHOWN = 60  # of one page
MAX_PAGE_CHARACTERS = 3_000_000  # of all cells of one page

# Control characters, those that turn the direction of writing, halves of characters: none may change
# how the text around them reads. Line breaks and tabs stay.
_DISTURBING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


@dataclass(frozen=True)
class Excerpt:
    """A table as the page shows it. `left_out` says what is in the CSV only."""

    title: str
    csv_path: str
    columns: list[str]
    rows: list[list[str]]
    is_record: bool
    left_out: str


@dataclass
class PageRoom:
    """What is left of a page's room."""

    tables: int = MAX_TABLES_SHOWN
    characters: int = field(default=MAX_PAGE_CHARACTERS)

    def excerpt(self, table: Table, csv_path: str) -> Excerpt | None:
        """As much of the table as there is room for; None where there is none."""
        if self.tables <= 0 or self.characters <= 0:
            return None
        self.tables -= 1
        rows = [row[:MAX_COLUMNS_SHOWN] for row in table.rows[:MAX_ROWS_SHOWN]]
        lengths = list(map(len, chain.from_iterable(rows)))
        cut = max(lengths, default=0) > MAX_CELL_SHOWN
        if cut or not "".join(chain.from_iterable(rows)).isprintable():
            rows = [[readable(cell) for cell in row] for row in rows]
            lengths = list(map(len, chain.from_iterable(rows)))
        while sum(lengths) > self.characters and rows:
            del lengths[-len(rows.pop()) :]
        self.characters -= sum(lengths)
        if table.is_record:
            rows = [[_title(name), value] for name, value in rows]
        return Excerpt(
            title=_title(table.name),
            csv_path=csv_path,
            columns=[_title(column) for column in table.columns[:MAX_COLUMNS_SHOWN]],
            rows=rows,
            is_record=table.is_record,
            left_out=_left_out(table, len(rows), cut),
        )


def readable(text: str) -> str:
    """The text without characters that disturb, and not longer than a cell of the page."""
    if len(text) > MAX_CELL_SHOWN:
        text = text[:MAX_CELL_SHOWN] + " …"
    return text if text.isprintable() else _DISTURBING.sub("\ufffd", text)


@lru_cache(maxsize=4096)
def _title(name: str) -> str:
    return readable(human(name))


def _left_out(table: Table, rows_shown: int, cut: bool) -> str:
    shown = []
    if rows_shown < len(table.rows):
        shown.append(f"{rows_shown:,} of {len(table.rows):,} rows")
    if len(table.columns) > MAX_COLUMNS_SHOWN:
        shown.append(f"{MAX_COLUMNS_SHOWN} of {len(table.columns):,} columns")
    if cut:
        shown.append("the beginning of long texts")
    return f"Shown here: {', '.join(shown)}. The rest is in the CSV." if shown else ""
