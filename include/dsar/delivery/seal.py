"""Packages sealed for the person: encrypted with age (https://age-encryption.org) while they are written.

Nothing of the plain package touches a disk: it goes through a pipe to the thread that encrypts it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO, Protocol

import pyrage

SUFFIX = ".age"


class Target(Protocol):
    """What the sealed bytes are written to."""

    def write(self, data: bytes, /) -> object: ...


class Seal:
    """A public key: only who has the other half reads what is sealed with it.

    Takes an age recipient (`age1…`) or an SSH public key (`ssh-ed25519 …`, `ssh-rsa …`). Raises
    ValueError, without the text, for anything else.
    """

    def __init__(self, recipient: str) -> None:
        self._text = text = recipient.strip()
        kind = pyrage.ssh.Recipient if text.startswith("ssh-") else pyrage.x25519.Recipient
        try:
            self._recipient = kind.from_str(text)
        except pyrage.RecipientError:
            raise ValueError("neither an age recipient nor an SSH public key") from None

    def __reduce__(self) -> tuple[type[Seal], tuple[str]]:
        """A public key goes to another process as its text: pyrage's own objects do not."""
        return Seal, (self._text,)

    @contextmanager
    def sealing(self, target: Target) -> Iterator[BinaryIO]:
        """A stream whose content reaches `target` sealed.

        After an exception, the block's own or what `target` raised, the target holds a part to be
        thrown away.
        """
        read, write = os.pipe()
        sealed = _Sealed(target)
        with ThreadPoolExecutor(1, "seal") as thread:
            encryption = thread.submit(self._encrypt, read, sealed)
            try:
                with os.fdopen(write, "wb") as plain:
                    yield plain
            except BrokenPipeError:
                encryption.exception()
                raise sealed.error or encryption.exception() or BrokenPipeError from None
            if failure := encryption.exception():
                raise sealed.error or failure from None

    def _encrypt(self, read: int, sealed: _Sealed) -> None:
        with os.fdopen(read, "rb") as plain:
            pyrage.encrypt_io(plain, sealed, [self._recipient])


class _Sealed:
    """The target, and what it raised: pyrage would keep no more of that than its text."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.error: Exception | None = None

    def write(self, data: bytes) -> int:
        try:
            self._target.write(data)
        except Exception as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        pass
