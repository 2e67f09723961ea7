"""Encrypts packages with age (https://age-encryption.org) while they are written. This is called sealing.

The plain package is never on a disk. It goes through a pipe to the thread that encrypts it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

import pyrage

from include.dsar.delivery.storage_writer import Target

SUFFIX = ".age"


class Seal:
    """A public key for sealing. Only the owner of its private key can read a sealed package.

    Accepts an age recipient (`age1…`) or an SSH public key (`ssh-ed25519 …`, `ssh-rsa …`). Raises
    ValueError for any other text. The message does not contain the text.
    """

    def __init__(self, recipient: str) -> None:
        text = recipient.strip()
        kind = pyrage.ssh.Recipient if text.startswith("ssh-") else pyrage.x25519.Recipient
        try:
            self._recipient = kind.from_str(text)
        except pyrage.RecipientError:
            raise ValueError("the text is neither an age recipient nor an SSH public key") from None

    @contextmanager
    def sealing(self, target: Target) -> Iterator[BinaryIO]:
        """Opens a stream that encrypts its data and writes it to `target`.

        After an exception, `target` has an incomplete package, which the caller must discard.
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
    """Writes to the target, and keeps an exception of the target. pyrage would keep only the text of the
    exception.
    """

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
