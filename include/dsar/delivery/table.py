"""A table of text, and the limits for showing an answer as tables."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FILE_BYTES = 50 * 1024 * 1024  # of one JSON or CSV file, and of one member of an archive
MAX_TABLES = 10_000  # of one answer
MAX_COLUMNS = 16_384  # what a spreadsheet can hold
ROOMY_CELLS = 1_000_000  # a table up to this size may have any number of empty cells
MAX_HOLES = 4  # cells for each filled cell in a larger table


@dataclass(frozen=True)
class Table:
    """Rows of text. A record has two columns, `field` and `value`. Any other table is a list."""

    name: str
    columns: list[str]
    rows: list[list[str]]
    is_record: bool = False


@dataclass(frozen=True)
class Note:
    """Names a part of an answer that is not shown as a table, and says why. The data subject reads this
    text.
    """

    text: str


class Unreadable(Exception):
    """The file cannot be read as a table. The error text continues a sentence that starts with the file's
    name.
    """


def fits(columns: int, rows: int, filled: int) -> bool:
    """Returns whether enough cells of the table are filled. A small file must not become a huge, mostly
    empty table that fills the memory.
    """
    return columns <= MAX_COLUMNS and columns * rows <= max(ROOMY_CELLS, MAX_HOLES * filled)
