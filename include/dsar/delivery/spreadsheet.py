"""A table as CSV that a spreadsheet opens without harm: UTF-8 with a mark, RFC 4180, no formulas."""

from __future__ import annotations

import csv
import re
from itertools import chain
from typing import IO

from include.dsar.delivery.table import Table

# A cell is a formula if it starts with one of these (OWASP, "CSV Injection"), be it behind blanks,
# quotes or invisible marks. A program that splits at semicolons or tabs (Excel in many countries), or
# ignores the quotes around a line break, begins a new cell there too.
#
# Plain numbers stay as they are, -1.50 and +49301234567 too: a formula that does harm needs a letter
# or an operator, and a number altered here would be a wrong number to every program that reads it.
# "+49 30 1234567" is no number to a spreadsheet but a broken formula, and gets the apostrophe.
_BLANKS = "[ \"'`\xa0\xad\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u3000\ufeff]*"
_NUMBER = r" *[+-]?[0-9]+(?:[.,][0-9]+)*(?:[eE][+-]?[0-9]+)? *(?:[;\t\r\n]|\Z)"
_FORMULA = re.compile(rf"(\A(?=[\t\r\n])|(?:\A|[;\t\r\n])(?={_BLANKS}[=+\-@＝＋－＠])(?!{_NUMBER}))")
# Most cells need no closer look: they begin like a word or a number, and no other cell begins in them.
_PLAIN = re.compile("[0-9A-Za-z][^;\x00-\x1f\ud800-\udfff]*")
_PLAIN_LINES = re.compile(rf"(?:(?:{_PLAIN.pattern})?\n)*(?:{_PLAIN.pattern})?")
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


def write_csv(table: Table, target: IO[str]) -> None:
    """Writes the table; `target` takes text as it comes (UTF-8, no translation of line ends)."""
    target.write("\ufeff")  # without it, Excel takes UTF-8 for the local code page
    csv.writer(target, lineterminator="\r\n").writerows(_harmless_rows([table.columns, *table.rows]))


def _harmless_rows(rows: list[list[str]]) -> list[list[str]]:
    if _PLAIN_LINES.fullmatch("\n".join(chain.from_iterable(rows))):
        return rows  # most tables, in one look
    return [[harmless(cell) for cell in row] for row in rows]


def harmless(cell: str) -> str:
    """The cell with an apostrophe before whatever a spreadsheet would calculate."""
    if _PLAIN.fullmatch(cell):
        return cell
    if not cell.isprintable():
        cell = _UNWRITABLE.sub("\ufffd", cell)
    return _FORMULA.sub(r"\1'", cell)
