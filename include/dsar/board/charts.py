"""Computes the geometry of bar charts. The style sheet has the colours. The page also shows the figures as
a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 600, 160  # units of the SVG
TOP, BOTTOM, LEFT = 8, 22, 36  # margins
MAX_LABELS = 8  # of the x axis


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    series: int
    title: str


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Groups of bars. Each group has one bar per series."""

    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    bottom: int = HEIGHT - BOTTOM


def bar_chart(groups: Sequence[str], series: Sequence[tuple[str, Sequence[int]]]) -> Chart:
    """Returns a chart. `groups` are the labels of the x axis. Each series has a name and one value per
    group.
    """
    top = nice_ceiling(max((value for _, values in series for value in values), default=0))
    plot = HEIGHT - TOP - BOTTOM
    step = (WIDTH - LEFT) / max(len(groups), 1)
    thick = step * (0.9 if len(groups) < 12 else 0.8) / max(len(series), 1)
    margin = (step - thick * len(series)) / 2
    bars = tuple(
        Bar(
            x=round(LEFT + step * group + margin + thick * which, 2),
            y=round(TOP + plot * (1 - values[group] / top), 2),
            width=round(thick, 2),
            height=round(plot * values[group] / top, 2),
            series=which,
            title=f"{groups[group]}: {values[group]:,} {name}",
        )
        for group in range(len(groups))
        for which, (name, values) in enumerate(series)
    )
    every = -(-len(groups) // MAX_LABELS) or 1
    return Chart(
        bars=bars,
        x_ticks=tuple(
            Tick(round(LEFT + step * (group + 0.5), 2), groups[group])
            for group in range(len(groups))
            if group % every == 0
        ),
        y_ticks=tuple(Tick(round(TOP + plot * (1 - part), 2), short(top * part)) for part in (0.0, 0.5, 1.0)),
    )


def nice_ceiling(value: int) -> int:
    """Returns the smallest of 2, 4, 10, 20, 40, 100 … that is at least `value`. Half of the result is a
    whole number.
    """
    power = 1
    while True:
        for digit in (2, 4, 10):
            if value <= digit * power:
                return digit * power
        power *= 10


def short(value: float) -> str:
    """Returns a number in short form for an axis: 1,500 becomes 1.5k."""
    for limit, unit in ((1_000_000, "M"), (1_000, "k")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"
