"""Sealing: age, as a stream."""

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


def test_the_key_opens_what_was_sealed() -> None:
    """What comes out is what went in, whole, and only the key's owner sees it."""
    closed = sealed(Seal(str(KEY.to_public())), CONTENT[:10], CONTENT[10:])
    assert pyrage.decrypt(closed, [KEY]) == CONTENT
    assert CONTENT[:64] not in closed
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(closed, [pyrage.x25519.Identity.generate()])


def test_an_ssh_key_will_do() -> None:
    """A person may give the public half of the SSH key that they have already."""
    public = (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFGK1KUrGcTAsl+xr+AGSRIXGP+t3eMWCKJEZzGQvLQD person@example.com"
    )
    assert sealed(Seal(public), b"x").startswith(b"age-encryption.org/v1\n-> ssh-ed25519 ")


@pytest.mark.parametrize(
    "text", ["", "age1", "nonsense", "ssh-ed25519 AAAA", str(KEY), str(KEY.to_public())[:-1] + "b"]
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    """A mistyped key, or the secret half, is an error that does not hold it."""
    with pytest.raises(ValueError, match="neither an age recipient nor an SSH public key") as raised:
        Seal(text)
    assert len(text) < 10 or text not in str(raised.value)


def test_a_target_that_refuses_says_why() -> None:
    """A full disk ends the writing with its own error, not with the pipe's."""

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(28, "no space left")

    with (
        pytest.raises(OSError, match="no space left"),
        Seal(str(KEY.to_public())).sealing(Full()) as out,
    ):
        out.write(CONTENT)


def test_an_exception_in_the_block_comes_through() -> None:
    """Whoever writes the content hears of their own error, and no thread stays behind."""
    with pytest.raises(KeyError), Seal(str(KEY.to_public())).sealing(io.BytesIO()) as out:
        out.write(CONTENT)
        raise KeyError
