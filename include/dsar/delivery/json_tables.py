"""Reads JSON as tables: one table for the fields of a record, and one for each list in it."""

from __future__ import annotations

import json
from itertools import chain, repeat
from typing import Any

from include.dsar.delivery import table as limits
from include.dsar.delivery.table import Table, Unreadable

MAX_PATH = 150  # characters of a column's or table's name. Long names of deep objects must not multiply

_OPENERS = "[{ \t\r\n"  # the first character of a text that is a list or an object

Items = list[tuple[int, Any]]  # of a list, each with the number of its parent row
Lists = list[tuple[str, list[Any]]]  # by their dotted paths


def json_tables(name: str, content: bytes, lists_below: str) -> list[Table]:
    """Returns the tables of a JSON document. Raises Unreadable if it is not JSON.

    The fields of an object become the table `name`. Nested fields have dotted names. Each list becomes its
    own table. The table's name is the path of the list, with the prefix `lists_below`. A list of objects
    inside a row also becomes a table. The first column of this table is the number of the parent row. If a
    text is itself a JSON list or object, it is parsed too, because Besitos documents `enrolled_offers` and
    other fields as text.
    """
    tables: list[Table] = []
    try:
        value = _opened(_parse(content))
        if isinstance(value, list):
            _add_list(tables, name, None, [(0, item) for item in value])
        elif value != {}:
            _add_record(tables, name, value, lists_below)
    except RecursionError:
        raise Unreadable("is nested too deeply") from None
    except ValueError:
        raise Unreadable("is not a valid JSON file") from None
    return tables


def _parse(content: bytes | str) -> Any:
    return json.loads(
        content, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_every_pair
    )


def _every_pair(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Builds an object that keeps repeated keys."""
    value = dict(pairs)
    if len(value) < len(pairs):
        value = {}
        for key, item in pairs:
            _put(value, key, item)
    return value


def _put(row: dict[str, Any], key: str, item: Any) -> None:
    """Sets a new key. A repeated key becomes `key (2)`, `key (4)`, `key (8)`, …

    The number doubles, so that a key with a million repetitions does not need a million tries each time.
    """
    name, count = key, 1
    while name in row:
        count *= 2
        name = f"{key} ({count})"
    row[name] = item


def _opened(value: Any) -> Any:
    """Returns the list or object that a text contains. Returns any other value unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            inner = _parse(value)
        except (ValueError, RecursionError):
            return value
        return inner if isinstance(inner, (dict, list)) else value
    return value


def _add_record(tables: list[Table], name: str, value: Any, lists_below: str) -> None:
    fields: dict[str, str] = {}
    lists: Lists = []
    _flatten(value, "", fields, lists, in_row=False)
    if fields:
        rows = [[field or "value", text] for field, text in fields.items()]
        tables.append(Table(name, ["field", "value"], rows, is_record=True))
    for path, items in lists:
        _add_list(tables, _joined(lists_below, path), None, [(0, item) for item in items])


def _add_list(tables: list[Table], name: str, parent: str | None, items: Items) -> None:
    if len(tables) > limits.MAX_TABLES:
        return
    rows: list[dict[str, str]] = []
    children: dict[str, Items] = {}
    for number, (_, item) in enumerate(items, 1):
        row: dict[str, str] = {}
        lists: Lists = []
        _flatten(item, "", row, lists, in_row=True)
        rows.append(row)
        for path, inner in lists:
            children.setdefault(path, []).extend((number, value) for value in inner)
    table = _list_table(name, rows, numbered=bool(children) or parent is not None)
    if parent is not None:
        table.columns.insert(0, f"row of {parent}")
        for cells in table.rows:
            cells.insert(0, str(items[int(cells[0]) - 1][0]))
    tables.append(table)
    for path, inner_items in children.items():
        _add_list(tables, _joined(name, path or "entries"), name, inner_items)


def _list_table(name: str, rows: list[dict[str, str]], *, numbered: bool) -> Table:
    own = name.rpartition(".")[2] or "value"  # the column of a list of scalars
    columns = list(dict.fromkeys(chain.from_iterable(rows)))
    if not limits.fits(len(columns), len(rows), sum(map(len, rows))):
        return Table(  # the rows share hardly any column: one line for each value
            name,
            ["row", "field", "value"],
            [
                [str(number), key or own, text]
                for number, row in enumerate(rows, 1)
                for key, text in row.items()
            ],
        )
    table = Table(
        name, [column or own for column in columns], [list(map(row.get, columns, repeat(""))) for row in rows]
    )
    if numbered:
        table.columns.insert(0, "row")
        for number, cells in enumerate(table.rows, 1):
            cells.insert(0, str(number))
    return table


def _flatten(value: Any, path: str, row: dict[str, str], lists: Lists, *, in_row: bool) -> None:
    """Puts scalars into `row` by their dotted path, and lists into `lists`.

    If `in_row` is true, a list of scalars becomes one cell.
    """
    value = _opened(value)
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            name = _joined(path, key) if path or len(key) > MAX_PATH else key
            if isinstance(inner, str) and inner[:1] not in _OPENERS and name not in row:
                row[name] = inner  # most values are such text
            else:
                _flatten(inner, name, row, lists, in_row=in_row)
    elif isinstance(value, list) and value:
        if in_row and not any(isinstance(_opened(item), (dict, list)) for item in value):
            _put(row, path, "; ".join(map(_text, value)))
        else:
            lists.append((path, value))
    else:
        _put(row, path, _text(value))


def _text(value: Any) -> str:
    """Returns a scalar as JSON text. Null, an empty list and an empty object give an empty text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else ""


def _joined(path: str, key: str) -> str:
    joined = f"{path}.{key}" if path else key
    return joined if len(joined) <= MAX_PATH else f"{joined[: MAX_PATH // 2]}…{joined[-MAX_PATH // 2 + 1 :]}"
