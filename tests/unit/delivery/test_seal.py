"""A stream is encrypted with age when a package is sealed."""

from __future__ import annotations

import io
import os

import pyrage
import pytest

from include.dsar.delivery.seal import Seal

KEY = pyrage.x25519.Identity.generate()
CONTENT = os.urandom(3_000_000)


def sealed(seal: Seal, *parts: bytes) -> bytes:
    target = io.BytesIO()
    with seal.sealing(target) as out:
        for part in parts:
            out.write(part)
    return target.getvalue()


def test_only_the_key_opens_the_sealed_content() -> None:
    closed = sealed(Seal(str(KEY.to_public())), CONTENT[:10], CONTENT[10:])
    assert pyrage.decrypt(closed, [KEY]) == CONTENT
    assert CONTENT[:64] not in closed
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(closed, [pyrage.x25519.Identity.generate()])


def test_an_ssh_key_can_seal() -> None:
    public = (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFGK1KUrGcTAsl+xr+AGSRIXGP+t3eMWCKJEZzGQvLQD jane@example.com"
    )
    assert sealed(Seal(public), b"x").startswith(b"age-encryption.org/v1\n-> ssh-ed25519 ")


@pytest.mark.parametrize(
    "text", ["", "age1", "nonsense", "ssh-ed25519 AAAA", str(KEY), str(KEY.to_public())[:-1] + "b"]
)
def test_a_text_that_is_not_a_public_key_is_refused(text: str) -> None:
    """The error does not contain the text, because it may be a private key."""
    with pytest.raises(ValueError, match="neither an age recipient nor an SSH public key") as raised:
        Seal(text)
    assert len(text) < 10 or text not in str(raised.value)


def test_an_error_of_the_target_is_raised() -> None:
    """If the target raises an error, the caller gets this error. The caller does not get the later error of
    the pipe.
    """

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(28, "no space left")

    with pytest.raises(OSError, match="no space left"), Seal(str(KEY.to_public())).sealing(Full()) as out:
        out.write(CONTENT)


def test_an_exception_in_the_block_is_raised() -> None:
    with pytest.raises(KeyError), Seal(str(KEY.to_public())).sealing(io.BytesIO()) as out:
        out.write(CONTENT)
        raise KeyError
