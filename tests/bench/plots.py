"""Draws the SVG plots of docs/performance.md from the benchmark's JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 40, 52, 50
COLOURS = ("#2563eb", "#b45309", "#059669")


def draw(results: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    for case in results.values():
        for plot in case.get("plots", []):
            text = svg(plot["title"], plot["across"], plot["up"], plot["lines"])
            (folder / f"{plot['file']}.svg").write_text(text)


def svg(title: str, across: str, up: str, lines: Mapping[str, Points]) -> str:
    """Returns an SVG with lines over a logarithmic x axis and a linear y axis that starts at 0."""
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    low, high = math.log10(min(xs)), math.log10(max(xs))
    step = _step(max(ys))
    top = math.ceil(max(ys) / step) * step

    def at(x: float, y: float) -> tuple[float, float]:
        share = (math.log10(x) - low) / (high - low or 1)
        return (LEFT + share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM))

    parts = [
        _text(LEFT, 20, title, "start", bold=True),
        _text(WIDTH / 2, HEIGHT - 10, across),
        _text(LEFT, 40, up, "start"),
    ]
    for number in range(round(top / step) + 1):
        _, y = at(min(xs), number * step)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#d4d4d8"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{number * step:g}", "end"))
    for x in sorted(set(xs)):
        parts.append(_text(at(x, 0)[0], HEIGHT - BOTTOM + 18, f"{x:,.0f}"))
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
            for x, y in (at(*point) for point in points)
        ]
        x = WIDTH - RIGHT - 130 * (len(lines) - number)
        parts.append(f'<rect x="{x}" y="30" width="12" height="3" fill="{colour}"/>')
        parts.append(_text(x + 18, 35, name, "start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _step(highest: float) -> float:
    """Returns the distance of the grid lines: 1, 2 or 5 times a power of ten, for about five lines."""
    rough = highest / 5 or 1
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def _text(x: float, y: float, text: str, anchor: str = "middle", *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#27272a"{weight}>{escape(text)}</text>'
    )
