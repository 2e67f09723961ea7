from __future__ import annotations

import csv
import io
import zipfile
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.dsar.delivery import archive, spreadsheet, table
from include.dsar.delivery.spreadsheet import csv_pieces, harmless
from include.dsar.delivery.table import Note, Table
from include.dsar.delivery.tables import tables_of
from tests.unit.delivery.delivery_samples import BESITOS, as_json, zipped


def tables(name: str, content: bytes) -> dict[str, Table]:
    return {part.name: part for part in tables_of(name, content) if isinstance(part, Table)}


def notes(name: str, content: bytes) -> str:
    return " ".join(part.text for part in tables_of(name, content) if isinstance(part, Note))


def test_a_besitos_record_is_one_table_and_one_for_each_list() -> None:
    """The fields of a record are one table. Each list is another table, even if it is given as text."""
    found = tables("export.json", as_json(BESITOS))
    assert found["export"].rows == [
        ["status", "true"], ["sub_id", ""], ["balance", "0.00"], ["country_id", "1"],
        ["partner_user_id", "sampleuser1"], ["enrolled_offers", ""],
        ["activity_summary.last_activity_timestamp", "2026-02-25 10:22:21"],
    ]  # fmt: skip
    assert found["payout_records"].columns == ["amount", "status", "processed_at"]
    assert found["payout_records"].rows == [["10", "5", "2024-11-08T16:44:48.000000Z"]]
    assert found["device_platforms_used"] == Table(
        "device_platforms_used", ["device_platforms_used"], [["android"], ["ios"]]
    )


def test_numbers_stay_as_written() -> None:
    found = tables("a.json", b'{"a":1.10,"b":1e10,"c":1234567890123456789012,"d":-0,"e":NaN,"f":"007"}')
    values = [row[1] for row in found["a"].rows]
    assert values == ["1.10", "1e10", "1234567890123456789012", "-0", "NaN", "007"]


def test_a_list_inside_a_row_is_a_table_with_the_row_number() -> None:
    orders = {
        "orders": [{"id": 1, "tags": ["x", "y"]}, {"id": 2, "items": [{"sku": "a"}, {"sku": "b"}]}, 7, None]
    }
    found = tables("e.json", as_json(orders))
    assert found["orders"].columns == ["row", "id", "tags", "orders"]
    assert found["orders"].rows[0] == ["1", "1", "x; y", ""]
    assert found["orders"].rows[2] == ["3", "", "", "7"]
    assert found["orders.items"].columns == ["row of orders", "row", "sku"]
    assert found["orders.items"].rows == [["2", "1", "a"], ["2", "2", "b"]]


def test_repeated_and_colliding_keys_are_kept() -> None:
    """Two keys may become equal when nested objects are flattened. Both values are kept."""
    found = tables("a.json", b'{"a":1,"a":2,"b.c":3,"b":{"c":4}}')
    assert [row[1] for row in found["a"].rows] == ["1", "2", "3", "4"]


def test_rows_without_common_columns_become_lines() -> None:
    """Rows without common columns become lines of text. A table of these rows would have nine million empty
    cells.
    """
    found = tables("a.json", as_json([{f"k{n}": n} for n in range(3_000)]))
    assert found["a"].columns == ["row", "field", "value"]
    assert len(found["a"].rows) == 3_000


def test_long_names_of_nested_objects_are_cut() -> None:
    """The full key is not repeated for each value below it."""
    found = tables("a.json", as_json({"k" * 100_000: {f"f{n}": n for n in range(1_000)}}))
    assert sum(len(row[0]) for row in found["a"].rows) < 200_000


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b'{"a":"' + b"[" * 100_000 + b'"}'])
def test_json_of_any_depth_raises_nothing(content: bytes) -> None:
    assert list(tables_of("a.json", content))


def test_tables_beyond_the_limit_are_named_in_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_TABLES", 3)
    content = as_json({f"l{n}": [n] for n in range(10)})
    assert len(tables("a.json", content)) == 3
    assert "more than 3 tables" in notes("a.json", content)


def test_csv_is_read_as_text() -> None:
    """The delimiter is detected. Short rows are filled with empty cells."""
    found = tables("x.csv", b"\xef\xbb\xbfid;n\r\n007;1.10\r\n\r\n3\r\n")
    assert found["x"] == Table("x", ["id", "n"], [["007", "1.10"], ["3", ""]])


def test_csv_rows_of_very_different_lengths_are_refused() -> None:
    """One long row would add columns to ten thousand other rows."""
    assert "different lengths" in notes("x.csv", b"a\n" * 10_000 + b"," * 16_000)


def test_json_and_csv_in_a_zip_become_tables() -> None:
    """JSON and CSV members become tables. A notice names the members of other types."""
    content = zipped(
        {"a/profile.json": b'{"x":1,"l":[2]}', "events.csv": b"d\n1\n", "p.png": b"\x89PNG", "e/": b""}
    )
    assert list(tables("export.zip", content)) == ["a.profile", "a.profile.l", "events"]
    assert "“p.png” is not a kind of file" in notes("export.zip", content)


def test_a_zip_bomb_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of all members are counted while they are read."""
    monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 400_000)
    content = zipped({f"{n}.json": b"[" + b" " * 150_000 + b"]" for n in range(50)})
    assert len(tables("b.zip", content)) == 2
    assert "too large to show here" in notes("b.zip", content)


def test_bytes_of_refused_members_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of refused members count too, so a thousand bombs cost no more than one bomb."""
    monkeypatch.setattr(table, "MAX_FILE_BYTES", 100_000)
    monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 400_000)
    found = list(tables_of("b.zip", zipped({f"{n}.json": b" " * 200_000 for n in range(50)})))
    assert len(found) < 6


def test_a_member_that_grows_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "RATIO_FREE_BYTES", 100_000)
    content = zipped({"bomb.json": b" " * 1_000_000, "ok.json": b"[1]"})
    assert list(tables("b.zip", content)) == ["ok"]
    assert "“bomb.json” is too large" in notes("b.zip", content)


def test_a_declared_size_is_not_believed() -> None:
    """The member with the wrong size is refused. The other members are read."""
    content = bytearray(zipped({"a.json": as_json(["x" * 5_000]), "b.json": b"[1]"}))
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = (10).to_bytes(4, "little")
    assert "b" in tables("e.zip", bytes(content))
    assert "“a.json” cannot be read" in notes("e.zip", bytes(content))


def test_a_zip_inside_a_zip_is_not_opened() -> None:
    """An inner zip is not opened, whatever its name."""
    inner = zipped({"x.json": b"[1]"})
    assert (
        notes("e.zip", zipped({"in.zip": inner, "in.json": inner})).count("is a zip file inside the zip file")
        == 2
    )


def test_a_zip_with_too_many_files_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    assert "more than 3 files" in notes("e.zip", zipped({f"{n}.json": b"[1]" for n in range(4)}))


def test_a_huge_directory_of_a_zip_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 66_000)
    content = zipped({f"{n}{'x' * 200}": b"" for n in range(400)}, zipfile.ZIP_STORED)
    assert "cannot be read" in notes("e.zip", content)


def test_members_with_a_password_or_unknown_compression_are_skipped() -> None:
    """Members with a password or unknown compression are skipped. LZMA is skipped too, because its decoder
    can use any amount of memory.
    """
    content = bytearray(zipped({"a.json": b"[1]", "b.json": b"[2]", "c.json": b"[3]"}))
    first = content.index(b"PK\x01\x02")
    content[first + 8] |= 1
    second = content.index(b"PK\x01\x02", first + 4)
    content[second + 10] = 99
    text = notes("e.zip", bytes(content))
    assert "“a.json” is protected by a password" in text
    assert "“b.json” is compressed in a way" in text
    assert list(tables("e.zip", bytes(content))) == ["c"]
    assert "compressed in a way" in notes("e.zip", zipped({"a.json": b"[1]"}, zipfile.ZIP_LZMA))


def test_a_damaged_member_does_not_affect_the_others() -> None:
    content = bytearray(zipped({"a.json": b"[111111]", "b.json": b"[2]"}, zipfile.ZIP_STORED))
    content[content.index(b"[111111]") + 1] = ord("9")
    assert list(tables("e.zip", bytes(content))) == ["b"]


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+a", "-a", "@SUM(A1)", "\tx", "\rx", "  =1", '"=1', "'=1", "＝1", "＋1a", "－1a", "＠x",
     "\u200b=1", "-2+3+cmd|' /C calc'!A0", "+49 30 1234567", "\ufeff=1", "-"],
)  # fmt: skip
def test_a_formula_gets_an_apostrophe(cell: str) -> None:
    """A formula in a cell gets an apostrophe. No other value changes."""
    assert harmless(cell)[0] == "'"
    assert harmless(cell).replace("'", "") == cell.replace("'", "")


@pytest.mark.parametrize("cell", ["a;=1+1", "a\n=1", "a\t@x", 'a;"=1"'])
def test_a_formula_after_another_delimiter_gets_an_apostrophe(cell: str) -> None:
    assert harmless(cell) == f"{cell[:2]}'{cell[2:]}"


@pytest.mark.parametrize(
    "cell",
    [
        "-1.50",
        "+49301234567",
        "-1,234.50",
        "-1e5",
        "0.00",
        "1-2",
        "a=b",
        "",
        "2026-02-25",
        "a@b.org",
        "1; -2",
    ],
)
def test_numbers_and_plain_text_stay_unchanged(cell: str) -> None:
    assert harmless(cell) == cell


def test_a_hostile_cell_of_a_megabyte_is_quick() -> None:
    for cell in ("\t" * 10**6, ";" * 10**6, "-" + "1," * 500_000 + "x", " " * 10**6, ";-1" * 300_000):
        harmless(cell)


def test_unwritable_characters_become_a_visible_mark() -> None:
    assert harmless("a\ud800b\x00") == "a\ufffdb\ufffd"


CELL = st.text(st.sampled_from("aZ1 ,;\"\r\n\t='–\x00\ud800"), max_size=4)
TABLE = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1)
)


@given(TABLE)
def test_csv_is_what_the_csv_module_writes_of_harmless_cells(rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([[harmless(cell) for cell in row] for row in rows])
    with patch.object(spreadsheet, "ROWS_AT_A_TIME", 2):
        written = b"".join(csv_pieces(Table("t", rows[0], rows[1:])))
    assert written.decode("utf-8-sig") == text.getvalue()
