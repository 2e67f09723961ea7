"""The state directory of a local stack: what is kept between two starts, and the generated secrets."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


class StackError(Exception):
    """The stack cannot start or go on; the text says what a person has to do."""


@dataclass(frozen=True)
class Home:
    """One state directory. Everything in it is private to its owner (0700, files with secrets 0600)."""

    root: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Home:
        """`DSAR_HOME`, or `.dsar` in the checkout."""
        return cls(Path(environ.get("DSAR_HOME") or PROJECT / ".dsar").expanduser().resolve())

    def path(self, name: str) -> Path:
        return self.directory() / name

    def directory(self, name: str = ".") -> Path:
        """That directory inside, made where it is missing."""
        path = self.root / name
        for each in (self.root, path):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def secret(self, name: str, size: int = 32) -> str:
        """A random secret that stays the same: `size` bytes, URL-safe (32 of them are Fernet's form)."""
        return self._keep(f"secrets/{name}", base64.urlsafe_b64encode(secrets.token_bytes(size)).decode())

    def passwords_file(self) -> Path:
        """The file that the simple auth manager reads: `{"admin": "…"}`."""
        self._keep("secrets/passwords.json", json.dumps({"admin": secrets.token_urlsafe(12)}))
        return self.path("secrets/passwords.json")

    def port(self, name: str, preferred: int = 0) -> int:
        """The port that `name` used last; before that `preferred`, or a free one."""
        return int(self._keep(f"ports/{name}", str(preferred or free_port())))

    def usable_port(self, name: str) -> int:
        """As `port`, but another one where that is taken by now: for whoever is about to listen."""
        port = self.port(name)
        return port if is_free(port) else self.set_port(name, free_port())

    def set_port(self, name: str, port: int) -> int:
        _write_private(self.directory("ports") / name, str(port))
        return port

    @contextmanager
    def exclusive(self, name: str, *, wait: bool) -> Iterator[None]:
        """Hold the lock `name`. Raises StackError where another process has it and `wait` is off.

        The kernel drops the lock with its process, so a crash leaves nothing to clean up.
        """
        with (self.directory("locks") / name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    f"a stack is running in {self.root} already: end it first (Ctrl-C in its terminal), "
                    "or set DSAR_HOME to another directory"
                ) from None
            yield

    def _keep(self, name: str, value: str) -> str:
        """What the file `name` holds, which is `value` where there is no such file yet."""
        path = self.root / name
        self.directory(Path(name).parent.name)
        if not path.exists():
            _write_private(path, value)
        return path.read_text()


def _write_private(path: Path, value: str) -> None:
    # Renamed into place: another command of this project may read it at this moment.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(value)
    draft.replace(path)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # What a server does too: connections that have ended do not keep a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
