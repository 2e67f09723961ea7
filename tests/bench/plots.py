"""Plots as SVG, drawn from the benchmark's JSON: lines over two logarithmic or linear axes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def draw(results: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Writes the plots whose cases have been run into the folder."""
