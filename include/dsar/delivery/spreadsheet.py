"""Writes a table as CSV that is safe to open in a spreadsheet: UTF-8 with a byte order mark, RFC 4180, no
formulas.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain

from include.dsar.delivery.table import Table

ROWS_AT_A_TIME = 10_000

# A cell is a formula if it starts with one of these (OWASP, "CSV Injection"), also after blanks, quotes
# or invisible marks. Some programs start a new cell at a semicolon or tab (Excel in many countries), or
# at a line break inside quotes. So a formula can start there too.
#
# Plain numbers stay as they are, also -1.50 and +49301234567: a harmful formula needs a letter or an
# operator, and other programs need the right number. To a spreadsheet, "+49 30 1234567" is not a number
# but a broken formula, so it gets the apostrophe.
_BLANKS = "[ \"'`\xa0\xad\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u3000\ufeff]*"
_NUMBER = r" *[+-]?[0-9]+(?:[.,][0-9]+)*(?:[eE][+-]?[0-9]+)? *(?:[;\t\r\n]|\Z)"
_FORMULA = re.compile(rf"(\A(?=[\t\r\n])|(?:\A|[;\t\r\n])(?={_BLANKS}[=+\-@＝＋－＠])(?!{_NUMBER}))")
# Most cells are harmless: they start like a word or a number, and no new cell can start inside them.
_PLAIN = re.compile("[0-9A-Za-z][^;\x00-\x1f\ud800-\udfff]*+")
_PLAIN_LINES = re.compile(rf"(?:(?:{_PLAIN.pattern})?\n)*+(?:{_PLAIN.pattern})?")
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


def csv_pieces(table: Table) -> Iterator[bytes]:
    """Yields the table in UTF-8. Only one piece of a large table is in memory at a time."""
    yield b"\xef\xbb\xbf"  # without it, Excel takes UTF-8 for the local code page
    rows = [table.columns, *table.rows]
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        yield _lines(rows[start : start + ROWS_AT_A_TIME]).encode()


def _lines(rows: list[list[str]]) -> str:
    cells = "\n".join(chain.from_iterable(rows))
    in_one_look = cells.count("\n") < sum(map(len, rows)) and _PLAIN_LINES.fullmatch(cells)
    if not in_one_look:
        rows = [[harmless(cell) for cell in row] for row in rows]
    elif len(rows[0]) > 1 and "," not in cells and '"' not in cells:
        return "".join([f"{','.join(row)}\r\n" for row in rows])  # the same as `csv` writes, ten times faster
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def harmless(cell: str) -> str:
    """Returns the cell with an apostrophe before each part that a spreadsheet would calculate."""
    if _PLAIN.fullmatch(cell):
        return cell
    if not cell.isprintable():
        cell = _UNWRITABLE.sub("\ufffd", cell)
    return _FORMULA.sub(r"\1'", cell)
