"""What a case of the benchmark is: a name, a sentence, a comparison, and figures with their targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tests.bench.stand import Stand


@dataclass(frozen=True)
class Figure:
    """One number and what it has to reach; a figure without a target explains the others."""

    name: str
    value: float
    unit: str = "×"
    target: float | None = None
    must_be: Literal["at most", "at least"] = "at most"

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.must_be == "at most" else self.value >= self.target


@dataclass(frozen=True)
class Plot:
    """A drawing, `docs/<file>.svg`: lines of (x, y) over a logarithmic axis across."""

    file: str
    title: str
    across: str
    up: str
    lines: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Outcome:
    """The figures of a case; `detail` holds the single runs, as JSON."""

    figures: list[Figure]
    detail: dict[str, Any] = field(default_factory=dict)
    plots: list[Plot] = field(default_factory=list)


class Case(Protocol):
    """A module of `tests/bench/cases`. `run` prints its progress with `say`."""

    NAME: str
    SENTENCE: str
    COMPARED_WITH: str

    def run(self, stand: Stand) -> Outcome: ...


def say(text: str) -> None:
    print(f"    {text}", flush=True)
