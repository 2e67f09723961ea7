"""The types of a benchmark case: its name, description, baseline, and figures with targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tests.bench.stand import Stand


@dataclass(frozen=True)
class Figure:
    """A measured number and its target. A figure without a target explains other figures."""

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
    """A plot, written to `docs/<file>.svg`, with lines of (x, y). The x axis is logarithmic."""

    file: str
    title: str
    across: str
    up: str
    lines: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Outcome:
    """The figures of a benchmark case. `detail` contains the single runs as JSON."""

    figures: list[Figure]
    detail: dict[str, Any] = field(default_factory=dict)
    plots: list[Plot] = field(default_factory=list)


class Case(Protocol):
    """A benchmark case, a module of `tests/bench/cases`. Its `run` prints progress with `say`."""

    NAME: str
    SENTENCE: str
    COMPARED_WITH: str

    def run(self, stand: Stand) -> Outcome: ...


def say(text: str) -> None:
    print(f"    {text}", flush=True)
