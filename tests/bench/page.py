"""Formats the figures as tables and writes them into docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from include.stack.home import PROJECT
from tests.bench import plots

PAGE = PROJECT / "docs/performance.md"
BEGIN, END = "<!-- figures: written by make bench DOCS=1 -->", "<!-- end of figures -->"

Results = Mapping[str, Mapping[str, Any]]


def table(results: Results) -> str:
    """Returns a Markdown table of all figures, and a line about the machine."""
    lines = ["| case | figure | reached | target | |", "|---|---|--:|--:|---|"]
    for name, case in results.items():
        for number, figure in enumerate(case["figures"]):
            first = name if number == 0 else ""
            lines.append(
                f"| {first} | {figure['name']} | {_value(figure['value'], figure['unit'])} "
                f"| {_target(figure)} | {_met(figure)} |"
            )
    lines += ["", *_provenance(results)]
    return "\n".join(lines)


def figure_line(figure: Mapping[str, Any]) -> str:
    line = f"{figure['name']}: {_value(figure['value'], figure['unit'])}"
    return line if figure["target"] is None else f"{line} ({_target(figure)}: {_met(figure)})"


def write(results: Results) -> None:
    """Write the table and the plots into docs/. Figures at another scale than 1 are left out."""
    results = {name: case for name, case in results.items() if case["scale"] == 1}
    text = PAGE.read_text()
    figures = f"{BEGIN}\n\n{table(results)}\n\n{END}"
    PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: figures, text, flags=re.DOTALL))
    plots.draw(results, PAGE.parent)


def _value(value: float, unit: str) -> str:
    if value and abs(value) < 0.1:
        number = f"{value:.3f}"
    elif abs(value) >= 1000:
        number = f"{value:,.0f}"
    else:
        number = f"{value:.2f}" if unit == "×" or abs(value) < 10 else f"{value:.1f}"
    return number + (unit if unit in ("×", "%") else f" {unit}".rstrip())


def _target(figure: Mapping[str, Any]) -> str:
    if figure["target"] is None:
        return ""
    return f"{figure['must_be']} {_value(figure['target'], figure['unit'])}"


def _met(figure: Mapping[str, Any]) -> str:
    return {None: "", True: "met", False: "**missed**"}[figure["met"]]


def _provenance(results: Results) -> list[str]:
    """Returns the date and the machine, one line for each group of figures that were measured together."""
    groups: dict[tuple[str, str, float, int], list[str]] = {}
    for name, case in results.items():
        machine = case["machine"].partition(", load")[0]
        groups.setdefault((case["at"][:10], machine, case["scale"], case["repeats"]), []).append(name)
    return [
        f"Measured on {day}, {machine}; {'single pairs' if repeats == 1 else f'medians of {repeats} pairs'}"
        + ("" if scale == 1 else f", **at scale {scale:g}: for trying only**")
        + ("." if len(groups) == 1 else f": {', '.join(names)}.")
        for (day, machine, scale, repeats), names in groups.items()
    ]
