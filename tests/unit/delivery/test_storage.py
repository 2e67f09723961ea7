from __future__ import annotations

import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pytest

from include.dsar.delivery import storage as storage_module
from include.dsar.delivery.storage import Storage

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage(fsspec.filesystem("file"), str(tmp_path / "store"))
    return Storage(fsspec.filesystem("memory"), f"memory://{tmp_path.name}-{id(tmp_path)}")


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return Storage(fsspec.filesystem("file"), (tmp_path / "store").as_uri())


def read(storage: Storage, path: str) -> bytes:
    with storage.open(path) as file:
        return file.read()


def test_what_is_written_can_be_read(storage: Storage) -> None:
    """Bytes and streams can be written. A second write replaces the first."""
    written = storage.write("requests/1/receipt.json", b"one")
    assert (written.sha256, written.bytes) == (hashlib.sha256(b"one").hexdigest(), 3)
    assert read(storage, "requests/1/receipt.json") == b"one"
    storage.write("requests/1/receipt.json", io.BytesIO(b"two"))
    assert read(storage, "requests/1/receipt.json") == b"two"
    assert storage.exists("requests/1/receipt.json")
    assert not storage.exists("requests/2/receipt.json")
    with pytest.raises(FileNotFoundError):
        storage.open("requests/2/receipt.json")


def test_a_file_appears_when_the_block_ends(storage: Storage) -> None:
    with storage.writer("a/b") as out:
        out.write(b"x" * 10)
        out.write(b"y")
        assert not storage.exists("a/b")
    assert (out.bytes, out.sha256) == (11, hashlib.sha256(b"x" * 10 + b"y").hexdigest())
    assert read(storage, "a/b") == b"x" * 10 + b"y"


def test_an_exception_leaves_the_old_file(storage: Storage, tmp_path: Path) -> None:
    """After an exception the old file is unchanged, and no part file remains."""
    storage.write("a/b", b"old")
    with pytest.raises(KeyboardInterrupt), storage.writer("a/b") as out:
        out.write(b"new")
        raise KeyboardInterrupt
    assert read(storage, "a/b") == b"old"
    assert not list(tmp_path.rglob("*.part"))


def test_several_files_are_written_together(storage: Storage, tmp_path: Path) -> None:
    """Bytes and streams can be written together. No part file remains."""
    storage.write("a/0", b"old")
    written = storage.write_all([("a/0", b"zero"), ("b/1", io.BytesIO(b"one")), ("b/c/2", b"two")])
    assert [out.sha256 for out in written] == [
        hashlib.sha256(b).hexdigest() for b in (b"zero", b"one", b"two")
    ]
    assert [read(storage, path) for path in ("a/0", "b/1", "b/c/2")] == [b"zero", b"one", b"two"]
    assert not list(tmp_path.rglob("*.part"))


def test_an_error_of_one_file_leaves_no_incomplete_file(local: Storage, tmp_path: Path) -> None:
    """After an error of one file, no incomplete file and no part file remains."""

    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError("gone")

    local.write("a/1", b"old")
    with pytest.raises(OSError, match="gone"):
        local.write_all([("a/1", b"new"), ("a/2", Broken())])
    assert [p.name for p in (tmp_path / "store/a").iterdir()] == ["1"]
    assert read(local, "a/1") == b"old"


def test_files_that_are_written_together_are_flushed(
    local: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is flushed before it is renamed. After the rename, its folder is flushed. New folders are
    flushed too.
    """
    steps: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        fsync(descriptor)
        steps.append(("flush", str(Path(f"/proc/self/fd/{descriptor}").readlink())))

    def named(part: Path, path: Path) -> Path:
        steps.append(("name", str(part)))
        return replace(part, path)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", named)
    local.write_all([(f"work/{n}/file", b"x") for n in range(3)])
    root = tmp_path / "store"
    for folder in (tmp_path, root, root / "work"):
        assert ("flush", str(folder)) in steps
    for n in range(3):
        part = str(root / f"work/{n}/.file.0.part")
        assert steps.index(("flush", part)) < steps.index(("name", part))
        assert steps.index(("name", part)) < steps.index(("flush", str(root / f"work/{n}")))


def test_a_large_file_is_uploaded_completely(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "ONE_CALL_BYTES", 1_000)
    storage.write("big", b"z" * 5_000)
    assert read(storage, "big") == b"z" * 5_000


def test_remove_deletes_a_file_or_a_folder(storage: Storage) -> None:
    """Removing a missing path is not an error. If the folder `r/1` is removed, the folder `r/10` stays."""
    for path in ("r/1/a", "r/1/b/c", "r/10/a", "r/2"):
        storage.write(path, b"")
    storage.remove("r/2")
    storage.remove("r/2")
    storage.remove_tree("r/1")
    storage.remove_tree("r/1")
    assert [path for path in ("r/1/a", "r/1/b/c", "r/10/a", "r/2") if storage.exists(path)] == ["r/10/a"]


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "a/../b", "..", "a//b", "a/", "./a", "a\nb", "a\x00", "\ud800", "s3://b/c", "a*",
     "a\\b"],
)  # fmt: skip
def test_a_path_that_is_not_plain_is_refused(storage: Storage, path: str) -> None:
    """Every method of the storage refuses a path that is not plain and relative."""
    for call in (storage.open, storage.exists, storage.remove, storage.remove_tree, storage.uri):
        with pytest.raises(ValueError, match="relative"):
            call(path)
    with pytest.raises(ValueError, match="relative"):
        storage.write(path, b"")


def test_a_uri_has_scheme_root_and_path(local: Storage, tmp_path: Path) -> None:
    assert local.uri("a/b.zip") == f"file://{tmp_path}/store/a/b.zip"
    assert Storage(fsspec.filesystem("memory"), "memory://x").uri("a") == "memory:///x/a"


def test_the_whole_disk_is_refused_as_root() -> None:
    with pytest.raises(ValueError, match="root"):
        Storage(fsspec.filesystem("file"), "/")


def test_files_and_folders_are_for_their_owner_only(local: Storage, tmp_path: Path) -> None:
    """Files have mode 0600 and folders have mode 0700, whatever the umask is."""
    before = os.umask(0)
    try:
        local.write("a/b/c", b"x")
        local.write_all([("a/d", io.BytesIO(b"x")), ("e/f", b"x")])
        with local.writer("g/h") as out:
            out.write(b"x")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == dict.fromkeys(("store", "a", "b", "e", "g"), 0o700) | dict.fromkeys("cdfh", 0o600)


KILLED = """
import sys, fsspec
from include.dsar.delivery.storage import Storage
with Storage(fsspec.filesystem("file"), sys.argv[1]).writer("requests/1/package.zip") as out:
    for _ in range(64):
        out.write(b"n" * 65536)
    print("half", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_killed_writer_leaves_the_old_file(local: Storage, tmp_path: Path, old: bytes | None) -> None:
    """The next write removes the part file of the killed writer."""
    path = "requests/1/package.zip"
    if old is not None:
        local.write(path, old)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "store")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        assert (read(local, path) if local.exists(path) else None) == old
        process.send_signal(signal.SIGKILL)
        process.wait()
    folder = tmp_path / "store/requests/1"
    assert (read(local, path) if local.exists(path) else None) == old
    assert [p.name for p in folder.iterdir() if p.name != "package.zip"] == [".package.zip.0.part"]
    local.write(path, b"new")
    assert read(local, path) == b"new"
    assert [p.name for p in folder.iterdir()] == ["package.zip"]


def test_remove_deletes_part_files_of_a_crash(local: Storage, tmp_path: Path) -> None:
    local.write("a/b", b"x")
    (tmp_path / "store/a/.b.0.part").write_bytes(b"half")
    local.remove("a/b")
    assert list((tmp_path / "store/a").iterdir()) == []


def test_two_writers_of_one_path_do_not_mix(local: Storage, tmp_path: Path) -> None:
    """If two writers write the same path, the complete file of the writer that finishes last remains."""
    with local.writer("a/b") as first:
        first.write(b"1" * 100_000)
        with local.writer("a/b") as second:
            second.write(b"2")
        assert read(local, "a/b") == b"2"
        first.write(b"1")
    assert read(local, "a/b") == b"1" * 100_001
    assert [p.name for p in (tmp_path / "store/a").iterdir()] == ["b"]


def test_a_reader_sees_only_complete_files(local: Storage) -> None:
    """Readers see complete files even while many threads write the same path."""
    contents = [bytes([65 + n]) * (50_000 + n) for n in range(4)]
    local.write("a/b", contents[0])
    threads = [
        threading.Thread(target=lambda c=c: [local.write("a/b", c) for _ in range(25)]) for c in contents
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert read(local, "a/b") in contents
    for thread in threads:
        thread.join()
    assert not local.exists("a/.b.0.part")
