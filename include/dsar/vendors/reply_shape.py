"""Declares the part of a vendor's replies that its module relies on, and compares replies with it.

A difference names declared fields only. An undeclared field is never named, because its name may be data: a
reply may use the id of a user as a key. `execution/observed_replies.py` decides which words may be named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any

from include.dsar.model import Action

MAX_ENTRIES = 200  # of a list in a reply; later entries are not compared


class Route(StrEnum):
    CREATE = "create"
    STATUS = "status"
    LIST = "list"


# By name in a path: the keys of which an object needs one, and what is below.
Tree = Mapping[str, tuple[tuple[str, ...], "Tree"]]


@dataclass(frozen=True)
class Needs:
    """Fields that a successful reply must have, with a value that is not null.

    A field is a path: `request.id`, or `data[].id` for each entry of a list. `a|b` at the end of a path
    means at least one of the two. With `given` or `action`, the fields are needed only in a reply with
    these values or about this action.
    """

    fields: tuple[str, ...]
    given: Mapping[str, object] = field(default_factory=dict)
    action: Action | None = None

    @cached_property
    def tree(self) -> Tree:
        return _tree(self.fields)


@dataclass(frozen=True)
class ReplyShape:
    """The declared part of the successful replies of one route. `words` has all values of a state field."""

    needs: tuple[Needs, ...]
    words: Mapping[str, frozenset[object]] = field(default_factory=dict)
    fold: Callable[[str], str] = str  # two words are the same if this function returns the same for them
    is_list: bool = False  # a list, and each of its entries has this shape

    def missing(self, action: Action | None, body: Any) -> set[str]:
        """Returns the declared fields that the reply lacks. If a whole object is absent, returns only the
        name of the object.
        """
        if self.is_list and not isinstance(body, list):
            return {"[]"}
        return {
            f"{self._prefix}{gap}"
            for _, entry in self._entries(body)
            for needs in self.needs
            if needs.action in (None, action) and self._has(entry, needs.given)
            for gap in _gaps(entry, needs.tree)
        }

    def undeclared_words(self, body: Any) -> Iterator[tuple[str, int, object]]:
        """Yields each value of a state field that is not declared: the field, the number of the entry in the
        list, and the value. The value may be data.
        """
        for number, entry in self._entries(body):
            for name, known in self.words.items():
                value = _value(entry, name)
                if value is None:
                    continue
                if isinstance(value, list | dict) or self._folded(value) not in known:
                    yield f"{self._prefix}{name}", number, value

    def declares(self, name: str) -> bool:
        """Returns whether the shape declares this field, or a field below it."""
        fields = [f"{self._prefix}{one}" for needs in self.needs for one in needs.fields]
        return name == "[]" or any(one == name or one.startswith((f"{name}.", f"{name}[]")) for one in fields)

    def knows(self, name: str, word: str) -> bool:
        """Returns whether this word is declared for this field."""
        return self._folded(word) in self.words.get(name.removeprefix(self._prefix), frozenset())

    @property
    def _prefix(self) -> str:
        return "[]." if self.is_list else ""

    def _entries(self, body: Any) -> Iterator[tuple[int, Any]]:
        if not self.is_list:
            return iter([(0, body)])
        return enumerate(body[:MAX_ENTRIES] if isinstance(body, list) else [])

    def _has(self, entry: Any, given: Mapping[str, object]) -> bool:
        return all(self._folded(_value(entry, name)) == value for name, value in given.items())

    def _folded(self, value: Any) -> object:
        return self.fold(value) if isinstance(value, str) else value


def _tree(paths: Sequence[str]) -> Tree:
    """Returns the paths as a tree, so that each object of a reply is looked up once."""
    below: dict[str, list[str]] = {}
    for path in paths:
        name, _, rest = path.partition(".")
        below.setdefault(name, []).extend([rest] if rest else [])
    return {name: (tuple(name.removesuffix("[]").split("|")), _tree(rests)) for name, rests in below.items()}


def _gaps(value: Any, tree: Tree) -> Iterator[str]:
    """Yields each path of the tree that the value lacks, up to the first part that is absent."""
    for name, (keys, below) in tree.items():
        found = None
        if isinstance(value, dict):
            found = next((value[key] for key in keys if value.get(key) is not None), None)
        if found is None:
            yield name.removesuffix("[]")
        elif not below:
            continue
        elif not name.endswith("[]"):
            for gap in _gaps(found, below):
                yield f"{name}.{gap}"
        elif isinstance(found, list):
            for one in found[:MAX_ENTRIES]:
                for gap in _gaps(one, below) if one is not None else ():
                    yield f"{name}.{gap}"
        else:
            yield name


@lru_cache
def _parts(path: str) -> Sequence[str]:
    return path.split(".")


def _value(value: Any, path: str) -> Any:
    for name in _parts(path):
        value = value.get(name) if isinstance(value, dict) else None
    return value
