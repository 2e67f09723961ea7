"""Selects the part of a table that the page shows. The page stays small enough for every browser."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

from include.dsar.delivery.display_names import human
from include.dsar.delivery.table import Table

MAX_ROWS_SHOWN = 200
MAX_COLUMNS_SHOWN = 24
MAX_CELL_SHOWN = 1_000  # characters
MAX_TABLES_SHOWN = 60  # of one page
MAX_PAGE_CHARACTERS = 3_000_000  # of all cells of one page

# Control characters, characters that change the writing direction, and lone surrogates. They could change
# how the text around them reads. Line breaks and tabs stay.
_MISLEADING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


@dataclass(frozen=True)
class Excerpt:
    """The part of a table that the page shows. `left_out` is a sentence about the part that only the CSV
    file contains.
    """

    title: str
    csv_path: str
    columns: list[str]
    rows: list[list[str]]
    is_record: bool
    left_out: str


@dataclass
class PageRoom:
    """Counts how much more a page can show."""

    tables: int = MAX_TABLES_SHOWN
    characters: int = field(default=MAX_PAGE_CHARACTERS)

    def excerpt(self, table: Table, csv_path: str) -> Excerpt | None:
        """Returns as much of the table as fits on the page. None if there is no room."""
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
    """Returns the text without misleading characters, cut to the maximum length of a cell."""
    if len(text) > MAX_CELL_SHOWN:
        text = text[:MAX_CELL_SHOWN] + " …"
    return text if text.isprintable() else _MISLEADING.sub("\ufffd", text)


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
        shown.append("the start of long texts")
    return f"This page shows {', '.join(shown)}. The CSV file has everything." if shown else ""
