from __future__ import annotations

import csv
import gc
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable

import pytest

from include.dsar.delivery import table
from include.dsar.delivery.package import write_package
from include.dsar.delivery.tables import tables_of
from include.dsar.errors import UnsafeDownload
from include.dsar.model import Action
from tests.unit.delivery.delivery_samples import BESITOS, CLOSED, Delivery, as_json, zipped


def test_the_manifest_has_hash_and_size_of_every_file() -> None:
    """The manifest lists every file of the package except itself."""
    files = Delivery().account("besitos", ("export.json", as_json(BESITOS))).unpacked()
    manifest = json.loads(files["manifest.json"])
    assert (manifest["request_id"], manifest["closed_at"]) == ("DSAR-42", "2026-03-04T09:05:07Z")
    assert manifest["files"] == [
        {"path": path, "sha256": hashlib.sha256(files[path]).hexdigest(), "bytes": len(files[path])}
        for path in sorted(files)
        if path != "manifest.json"
    ]


def test_data_is_unchanged_and_tables_are_added() -> None:
    content = b'\xef\xbb\xbf{"a" : 1.10,\r\n "l":[{"x":"0.00"}]}  '
    files = Delivery().account("besitos", ("export.json", content)).unpacked()
    assert files["data/besitos/export.json"] == content
    assert files["tables/besitos_export.csv"] == b"\xef\xbb\xbffield,value\r\na,1.10\r\n"
    assert files["tables/besitos_l.csv"] == b"\xef\xbb\xbfx\r\n0.00\r\n"


def test_the_same_request_gives_the_same_bytes() -> None:
    """The bytes are the same whether or not the target can seek."""

    class Pipe(io.RawIOBase):
        content = b""

        def write(self, data: bytes, /) -> int:  # type: ignore[override]
            self.content += bytes(data)
            return len(data)

    delivery = Delivery().account("besitos", ("export.json", as_json(BESITOS)))
    pipe = Pipe()
    write_package(pipe, delivery.request, CLOSED, lambda f: io.BytesIO(delivery.contents[f.path]))
    assert pipe.content == delivery.package() == delivery.package()


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b" ", lambda c: b"x" + c[1:]])
def test_a_changed_file_is_refused(change: Callable[[bytes], bytes]) -> None:
    """A changed file is not packaged. The error names the account and the request."""
    delivery = Delivery().account("besitos", ("export.json", as_json(BESITOS)))
    delivery.contents = {path: change(content) for path, content in delivery.contents.items()}
    with pytest.raises(UnsafeDownload, match=r"account besitos, request DSAR-42") as raised:
        delivery.package()
    assert "sampleuser1" not in str(raised.value)


def test_an_incomplete_package_is_not_a_zip() -> None:
    large = as_json(os.urandom(100_000).hex())
    delivery = Delivery().account("batch", ("e.json", large)).account("besitos", ("e.json", b"[2]"))
    delivery.contents["collected/besitos/1"] = b"[3]"
    target = io.BytesIO()
    with pytest.raises(UnsafeDownload):
        write_package(target, delivery.request, CLOSED, lambda f: io.BytesIO(delivery.contents[f.path]))
    gc.collect()
    assert target.getvalue()
    assert not zipfile.is_zipfile(target)


def test_an_erasure_has_no_package() -> None:
    with pytest.raises(ValueError, match="access"):
        Delivery(Action.ERASURE).account("besitos").package()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("export.json", b"{broken"),
        ("export.json", b"\xff\xfe\x00"),
        ("export.zip", b"PK\x03\x04 broken"),
        ("export.json", b'{"a":' * 100_000),
        ("photo.png", os.urandom(100)),
        ("export.json", b""),
    ],
)
def test_an_unreadable_file_does_not_affect_other_accounts(name: str, content: bytes) -> None:
    """The unreadable file is in data/, and the page says that the file is not shown."""
    files = Delivery().account("batch", (name, content)).account("besitos", ("e.json", b'{"a":1}')).unpacked()
    assert files[f"data/batch/{name}"] == content
    assert "so this page does not show it." in files["index.html"].decode()
    assert "tables/besitos_e.csv" in files


def test_a_file_that_is_too_large_has_no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_FILE_BYTES", 100)
    files = Delivery().account("besitos", ("export.json", as_json(["x" * 200]))).unpacked()
    assert "It is too large to show, so this page does not show it." in files["index.html"].decode()


def test_tables_of_the_same_name_get_different_files() -> None:
    one, two = as_json({"l": [1]}), as_json({"l": [2]})
    files = (
        Delivery().account("a", ("e.json", one), ("e.json", two)).account("a_l", ("x.json", b"[]")).unpacked()
    )
    assert files["tables/a_l.csv"].endswith(b"1\r\n")
    assert files["tables/a_l_2.csv"].endswith(b"2\r\n")


@pytest.mark.parametrize("name", ["../../etc/passwd.json", "..\\..\\boot.json", "/abs.json", "C:\\x.json"])
def test_names_in_a_zip_do_not_become_paths(name: str) -> None:
    files = Delivery().account("batch", ("export.zip", zipped({name: b'{"a":1}'}))).unpacked()
    assert all(
        ".." not in path and path[0] not in "/\\" and "\\" not in path and ":" not in path for path in files
    )
    assert sum(path.startswith("tables/batch_") for path in files) == 1


def test_every_value_can_be_read_back_from_the_csv() -> None:
    """Quotes, line breaks and a value of one megabyte can be read back from the CSV file."""
    values = ['say "hi", you', "two\r\nlines", "x" * 1_000_000, "", "ünï", "a;b"]
    files = (
        Delivery().account("besitos", ("e.json", as_json([{"v": v, "w": "1"} for v in values]))).unpacked()
    )
    limit = csv.field_size_limit(2_000_000)
    try:
        rows = list(csv.reader(io.StringIO(files["tables/besitos_e.csv"].decode("utf-8-sig"), newline="")))
    finally:
        csv.field_size_limit(limit)
    assert [row[0] for row in rows[1:]] == values
    assert len(files["index.html"]) < 100_000


def test_a_large_answer_is_unchanged() -> None:
    """A large answer is packaged unchanged. It is not kept in memory."""
    content = as_json([os.urandom(500_000).hex() for _ in range(10)])
    delivery = Delivery().account("besitos", ("export.json", content))
    with zipfile.ZipFile(io.BytesIO(delivery.package())) as archive:
        assert archive.read("data/besitos/export.json") == content
    assert len(list(tables_of("export.json", content))) == 1
