"""Markers: values that exist nowhere else, and the search for them in any of the ways they may be written."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

# Every marker that is free text holds it, so that one needle finds them all. No vowels: no marker can
# hold one of the words by which the sandbox decides.
STEM = "".join(random.SystemRandom().choices("bcdfghjklmnpqrstvwxz", k=12))
CONTEXT = 80  # bytes shown around a find


def secret(name: str) -> str:
    """A secret with characters that a URL, a DSN and a log each write in a way of their own."""
    return f"{STEM}/{name}+=&%"


@dataclass
class Person:
    """Identifiers of every kind, each a marker; `word` makes the sandbox decide."""

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
        """What the stem does not find: numbers, and hashes of e-mails as ID5 asks for them."""
        plain, gmail = self.email
        (phone,) = self.phone
        (advertising_id,) = self.advertising_id
        yield from (phone, phone.replace(" ", "").removeprefix("+49"))
        yield from (advertising_id, advertising_id.replace("-", ""))
        for address in (plain, gmail, f"{STEM}{self.name}@gmail.com"):
            yield hashlib.sha256(address.encode()).hexdigest()


class Search:
    """Looks for markers; everything but base64 in any case of letters."""

    def __init__(self, people: Iterable[Person], others: Iterable[str] = ()) -> None:
        self._exact = set(_base64(STEM))
        self._folded = {STEM.encode(), STEM.encode().hex().encode()}
        for text in [*others, *(text for person in people for text in person.without_stem())]:
            self._folded.add(text.lower().encode())

    @property
    def needles(self) -> int:
        return len(self._exact) + len(self._folded)

    def finds(self, places: Mapping[str, bytes]) -> list[str]:
        """One line for each place and needle that is found in it: what stands around the first one."""
        found = []
        for place, content in places.items():
            folded = content.lower()
            hits = [(content, needle) for needle in self._exact if needle in content]
            hits += [(folded, needle) for needle in self._folded if needle in folded]
            for text, needle in hits:
                at = text.index(needle)
                found.append(f"{place}: …{content[max(at - CONTEXT, 0) : at + CONTEXT]!r}…")
        return found


def _base64(text: str) -> Iterable[bytes]:
    """What base64 makes of a text wherever it stands in what is encoded, in both alphabets."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + text.encode())
        whole = encoded[(0, 2, 3)[before] : len(encoded) - (0, 3, 2)[(before + len(text)) % 3]]
        yield from (whole, whole.translate(bytes.maketrans(b"+/", b"-_")))
