"""Reads CSV as a table of text."""

from __future__ import annotations

import csv
import io

from include.dsar.delivery import table as limits
from include.dsar.delivery.table import Table, Unreadable


def csv_table(name: str, content: bytes) -> Table:
    """Returns the table of a CSV file in UTF-8. The first row names the columns. Raises Unreadable if it is
    not CSV.
    """
    csv.field_size_limit(limits.MAX_FILE_BYTES)  # the default of 128 kB is less than a cell may hold
    try:
        text = content.decode("utf-8-sig")
        first_line = text.partition("\n")[0]
        delimiter = max(",;\t", key=first_line.count)
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except (UnicodeDecodeError, csv.Error):
        raise Unreadable("is not a valid CSV file") from None
    width, cells = max(map(len, rows), default=0), sum(map(len, rows))
    if not limits.fits(width, len(rows), cells):
        raise Unreadable("has rows of very different lengths")
    if cells < width * len(rows):
        for row in rows:
            row.extend([""] * (width - len(row)))
    return Table(name, rows[0] if rows else [], rows[1:])
