"""A table of text, and the limits within which an answer is shown as tables."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FILE_BYTES = 50 * 1024 * 1024  # of one JSON or CSV file, and of one member of an archive
MAX_TABLES = 10_000  # of one answer
MAX_COLUMNS = 16_384  # what a spreadsheet can hold
ROOMY_CELLS = 1_000_000  # a table up to this size may be as full of holes as it likes
MAX_HOLES = 4  # cells to each filled one, beyond that


@dataclass(frozen=True)
class Table:
    """Rows of text. A record has two columns, `field` and `value`; others are lists."""

    name: str
    columns: list[str]
    rows: list[list[str]]
    is_record: bool = False


@dataclass(frozen=True)
class Note:
    """Something of an answer that is not shown as a table, and why, in plain words."""

    text: str


class Unreadable(Exception):
    """A file that is no table; the text ends a sentence about it. It never leaves this package."""


def fits(columns: int, rows: int, filled: int) -> bool:
    """Whether a table is not mostly holes: a small file must not become a table that fills the memory."""
    return columns <= MAX_COLUMNS and columns * rows <= max(ROOMY_CELLS, MAX_HOLES * filled)
