"""Defines markers (values that exist nowhere else) and searches for them in every usual encoding."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

# Every free-text marker contains the stem, so that one search finds all markers. The stem has no vowels, so
# that it contains no word that the sandbox reacts to.
STEM = "".join(random.SystemRandom().choices("bcdfghjklmnpqrstvwxz", k=12))
CONTEXT_BYTES = 80  # shown around a hit


def secret(name: str) -> str:
    """Returns a secret with characters that a URL, a DSN and a log encode differently."""
    return f"{STEM}/{name}+=&%"


@dataclass
class MarkedSubject:
    """A data subject with a marker for each kind of identifier. `word` decides the outcome in the sandbox."""

    name: str
    word: str = "x"
    email: list[str] = field(init=False)
    phone: list[str] = field(init=False)
    user_id: list[str] = field(init=False)
    advertising_id: list[str] = field(init=False)
    install_id: list[str] = field(init=False)
    id5_id: list[str] = field(init=False)

    def __post_init__(self) -> None:
        digits = f"{random.SystemRandom().randrange(10**8):08}"
        self.email = [f"{STEM}.{self.name}.{self.word}@example.com", f"{STEM}.{self.name}+tag@gmail.com"]
        self.phone = [f"+49 151 {digits[:4]} {digits[4:]}"]
        self.user_id = [f"u-{STEM}-{self.name}-{self.word}"]
        self.advertising_id = [str(uuid4())]
        self.install_id = [f"{STEM}-install-{self.name}-{self.word}"]
        self.id5_id = [f"ID5*{STEM}{self.name}"]

    @property
    def identifiers(self) -> dict[str, list[str]]:
        return {name: value for name, value in vars(self).items() if name not in ("name", "word")}

    def without_stem(self) -> Iterable[str]:
        """Returns the markers that do not contain STEM: numbers, and hashes of e-mail addresses as ID5
        receives them.
        """
        plain, gmail = self.email
        (phone,) = self.phone
        (advertising_id,) = self.advertising_id
        yield from (phone, phone.replace(" ", "").removeprefix("+49"))
        yield from (advertising_id, advertising_id.replace("-", ""))
        for address in (plain, gmail, f"{STEM}{self.name}@gmail.com"):
            yield hashlib.sha256(address.encode()).hexdigest()


class Search:
    """Searches for markers. Only the search for base64 is case-sensitive."""

    def __init__(self, subjects: Iterable[MarkedSubject], others: Iterable[str] = ()) -> None:
        self._exact = set(_base64(STEM))
        self._folded = {STEM.encode(), STEM.encode().hex().encode()}
        for text in [*others, *(text for subject in subjects for text in subject.without_stem())]:
            self._folded.add(text.lower().encode())

    @property
    def needles(self) -> int:
        return len(self._exact) + len(self._folded)

    def finds(self, places: Mapping[str, bytes]) -> list[str]:
        """Returns a line for each place and search text, with the text around the first hit."""
        found = []
        for place, content in places.items():
            folded = content.lower()
            hits = [(content, needle) for needle in self._exact if needle in content]
            hits += [(folded, needle) for needle in self._folded if needle in folded]
            for text, needle in hits:
                at = text.index(needle)
                found.append(f"{place}: …{content[max(at - CONTEXT_BYTES, 0) : at + CONTEXT_BYTES]!r}…")
        return found


def _base64(text: str) -> Iterable[bytes]:
    """Returns the base64 forms of a text at any offset of the encoded bytes, in both alphabets."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + text.encode())
        whole = encoded[(0, 2, 3)[before] : len(encoded) - (0, 3, 2)[(before + len(text)) % 3]]
        yield from (whole, whole.translate(bytes.maketrans(b"+/", b"-_")))
