"""Counts the durable and external steps of a process, and kills the process with SIGKILL at one of them.

The product has no hook for this: `record_steps` wraps the functions that the product calls. A step is

* a statement that writes to the ledger, a COPY, the commit of a transaction, a worker's lock;
* an HTTP call, and each piece of a download or of another file that is written;
* the rename, upload, or removal of a file in storage, the making or removal of a folder;
* an update of the source, and its commit.

The name of a step has the stage, the account and the operation. Steps with the same name are of the same
kind. Reads are not steps: a kill at a read is the same as a kill at the step before or after it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import psycopg
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import Engine, event

from include.dsar.delivery.storage_writer import StorageWriter
from include.dsar.http.client import Client
from include.dsar.intake.source import Source

WRITES = re.compile(
    r"(INSERT INTO|UPDATE|DELETE FROM|CREATE TEMP TABLE|ANALYZE|COPY) (?!OF\b)([\w.]+)|(pg_advisory_lock)"
)
PIECE = 4096  # bytes
OURS = str(Path("include") / "dsar")


@dataclass(frozen=True)
class Kill:
    """A kill right before or right after the n-th step with this name. Without a name, all steps are
    counted. `n` starts at 1.
    """

    name: str | None
    n: int
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.name or 'step'} #{self.n}"


class Steps:
    """The steps of one process. Each step is logged before it begins, so a kill does not lose its name."""

    def __init__(self, log: Path, kill: Kill | None) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._kill = kill
        self._counts: Counter[str | None] = Counter()
        self._lock = Lock()
        self.stage = ""

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        name = f"{self.stage}: {what}"
        with self._lock:
            self._counts.update([name, None])
            here = {(each, self._counts[each]) for each in (name, None)}
            os.write(self._log, f"{name}\n".encode())
        self._perhaps_die(here, after=False)
        try:
            yield
        finally:
            self._perhaps_die(here, after=True)

    def _perhaps_die(self, here: set[tuple[str | None, int]], *, after: bool) -> None:
        kill = self._kill
        if kill and kill.after == after and (kill.name, kill.n) in here:
            os.kill(os.getpid(), signal.SIGKILL)


def record_steps(steps: Steps, engine: Engine) -> None:
    """Count every step of this process from now on."""
    _record_ledger_steps(steps)
    _record_vendors_steps(steps)
    _record_storage_steps(steps)
    _around(steps, Source, "_update", lambda *_: "source update")
    event.listen(engine, "commit", lambda _: _pass(steps, "source commit"))


def _record_ledger_steps(steps: Steps) -> None:
    execute, copy, transaction = (
        psycopg.Connection.execute,
        psycopg.Cursor.copy,
        psycopg.Connection.transaction,
    )

    def execute_step(self: Any, query: Any, params: Any = None, **kwargs: Any) -> Any:
        found = WRITES.search(str(query))
        if not found:
            return execute(self, query, params, **kwargs)
        with steps.step(_statement(found, params)):
            return execute(self, query, params, **kwargs)

    @contextmanager
    def copy_step(self: Any, statement: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        found = WRITES.search(statement)
        assert found
        with steps.step(_statement(found, None)), copy(self, statement, *args, **kwargs) as copying:
            yield copying

    @contextmanager
    def transaction_step(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with ExitStack() as commit, transaction(self, *args, **kwargs) as running:
            yield running
            commit.enter_context(steps.step(f"{_caller()} commit"))

    psycopg.Connection.execute = execute_step
    psycopg.Cursor.copy = copy_step
    psycopg.Connection.transaction = transaction_step


def _statement(found: re.Match[str], params: Any) -> str:
    if isinstance(params, Mapping) and "leave" in params:
        return f"move out of {params['leave']}"  # the ids in one statement differ between runs
    verb, table, lock = found.groups()
    return f"{_caller()} {lock or f'{verb} {table}'}"


def _caller() -> str:
    """Returns the name of the product's function that is running."""
    frame = sys._getframe(1)
    while OURS not in frame.f_code.co_filename:
        assert frame.f_back
        frame = frame.f_back
    return frame.f_code.co_name


def _record_vendors_steps(steps: Steps) -> None:
    for method, name in (("_send", _call), ("download", lambda *_: "download")):
        _around_async(steps, Client, method, name)


def _call(_: Client, request: Any) -> str:
    kind = (
        "create" if request.method == "POST" else "list" if request.path.endswith("/requests") else "status"
    )
    return f"{request.method} {kind}"


def _record_storage_steps(steps: Steps) -> None:
    _around(steps, StorageWriter, "write", _piece)
    _around(steps, os, "replace", lambda _, target: f"rename to {_kind(target)}")
    _around(steps, os, "mkdir", lambda path, *_, **__: f"make {_kind(path)}/")
    _around(steps, os, "rmdir", lambda path, *_, **__: "remove a folder")
    _around(steps, os, "unlink", lambda path, *_, **__: f"remove {_kind(path)}")
    _around(steps, os, "remove", lambda path, *_, **__: f"remove {_kind(path)}")
    _around(steps, LocalFileSystem, "pipe_file", lambda _, path, *__: f"upload {_kind(path)}")


def _piece(file: StorageWriter, data: bytes) -> str | None:
    """Returns the name of the step if the piece is a step: the first piece of a file, and then one piece
    every few kilobytes.

    Other pieces are not steps, because a zip is written in hundreds of pieces.
    """
    is_step = file.bytes == 0 or file.bytes // PIECE < (file.bytes + len(data)) // PIECE
    return "write a piece of a file" if is_step else None


def _kind(path: Any) -> str:
    """Returns a file's name without the parts that are different for each request."""
    return re.sub(r"^\d{4}-\d\d-\d\d|\w+_id_\d+|^[ae]-\d", "*", Path(os.fsdecode(path)).name)


def _around(steps: Steps, owner: Any, name: str, called: Callable[..., str | None]) -> None:
    original = getattr(owner, name)

    def stepped(*args: Any, **kwargs: Any) -> Any:
        what = called(*args, **kwargs)
        with steps.step(what) if what else nullcontext():
            return original(*args, **kwargs)

    setattr(owner, name, stepped)


def _around_async(steps: Steps, owner: Any, name: str, called: Callable[..., str]) -> None:
    original = getattr(owner, name)

    async def stepped(*args: Any, **kwargs: Any) -> Any:
        with steps.step(called(*args, **kwargs)):
            return await original(*args, **kwargs)

    setattr(owner, name, stepped)


def _pass(steps: Steps, what: str) -> None:
    with steps.step(what):
        pass
