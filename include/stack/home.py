"""The state directory of a local stack: the generated secrets, and all data kept between starts."""

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
    """The stack cannot start or continue. The text says what to do."""


@dataclass(frozen=True)
class Home:
    """One state directory. Only its owner can read it (0700, files with secrets 0600)."""

    root: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Home:
        """Returns the state directory from `DSAR_HOME`. The default is `.dsar` in the checkout."""
        return cls(Path(environ.get("DSAR_HOME") or PROJECT / ".dsar").expanduser().resolve())

    def path(self, name: str) -> Path:
        return self.directory() / name

    def directory(self, name: str = ".") -> Path:
        """Returns the subdirectory `name`. Creates it if it does not exist."""
        path = self.root / name
        for each in (self.root, path):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def secret(self, name: str, size: int = 32) -> str:
        """Returns a random secret of `size` bytes in URL-safe base64. It is the same at each call."""
        return self._keep(f"secrets/{name}", base64.urlsafe_b64encode(secrets.token_bytes(size)).decode())

    def passwords_file(self) -> Path:
        """Returns the password file of the simple auth manager. Its content is `{"admin": "…"}`."""
        self._keep("secrets/passwords.json", json.dumps({"admin": secrets.token_urlsafe(12)}))
        return self.path("secrets/passwords.json")

    def port(self, name: str, preferred: int = 0) -> int:
        """Returns the port that `name` used last. The first call returns `preferred`, or a free port."""
        return int(self._keep(f"ports/{name}", str(preferred or free_port())))

    def usable_port(self, name: str) -> int:
        """Returns the port of `name`, or another port if that port is in use. Call this before listening."""
        port = self.port(name)
        return port if is_free(port) else self.set_port(name, free_port())

    def set_port(self, name: str, port: int) -> int:
        _write_private(self.directory("ports") / name, str(port))
        return port

    @contextmanager
    def exclusive(self, name: str, *, wait: bool) -> Iterator[None]:
        """Holds the lock `name` during the block. Raises StackError if another process has the lock and
        `wait` is false.

        The kernel releases the lock when the process ends, so a crash needs no cleanup.
        """
        with (self.directory("locks") / name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    f"a stack is running in {self.root}: end it first (Ctrl-C in its terminal), "
                    "or set DSAR_HOME to another directory"
                ) from None
            yield

    def _keep(self, name: str, value: str) -> str:
        """Returns the content of the file `name`. Creates the file with `value` if it does not exist."""
        path = self.root / name
        self.directory(Path(name).parent.name)
        if not path.exists():
            _write_private(path, value)
        return path.read_text()


def _write_private(path: Path, value: str) -> None:
    # Renamed into place, because another command may read the file at the same time.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(value)
    draft.replace(path)


def free_port() -> int:
    """Returns a free TCP port on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: closed connections then do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
