"""Charts have the right geometry, and times and durations the right format."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from include.dsar.board import charts, words
from include.dsar.model import State, Status

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_bars_begin_at_the_axis_and_show_their_values() -> None:
    """The height of a bar is proportional to its value, and bars do not overlap."""
    chart = charts.bar_chart(["a", "b"], [("in", [0, 10]), ("out", [5, 2])])
    heights = {bar.title: bar.height for bar in chart.bars}
    assert heights["a: 0 in"] == 0
    assert heights["a: 5 out"] * 2 == heights["b: 10 in"]
    assert {round(bar.y + bar.height, 1) for bar in chart.bars} == {float(chart.bottom)}
    edges = [edge for bar in sorted(chart.bars, key=lambda bar: bar.x) for edge in (bar.x, bar.x + bar.width)]
    assert edges == sorted(edges)
    assert edges[0] >= chart.left
    assert edges[-1] <= chart.width


@pytest.mark.parametrize(
    ("value", "top"), [(0, 2), (1, 2), (3, 4), (5, 10), (11, 20), (41, 100), (1001, 2000)]
)
def test_an_axis_ends_at_an_even_round_number(value: int, top: int) -> None:
    """An axis ends at an even round number that is not below the largest value."""
    assert charts.nice_ceiling(value) == top


def test_an_axis_has_at_most_eight_labels() -> None:
    """A period of 90 days has 90 bars, but at most eight labels."""
    chart = charts.bar_chart([f"day {n}" for n in range(90)], [("in", [1] * 90)])
    assert len(chart.x_ticks) <= 8
    assert len(chart.bars) == 90
    assert charts.bar_chart([], [("in", [])]).bars == ()


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (None, "–"),
        (timedelta(), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=1), "1 min"),
        (timedelta(hours=25), "1 d 1 h"),
        (timedelta(days=3, minutes=5), "3 d"),
        (-timedelta(hours=2, minutes=1), "2 h 1 min"),
    ],
)
def test_a_duration_has_its_two_largest_units(length: timedelta | None, text: str) -> None:
    """A duration has its two largest units. A unit that is zero is left out."""
    assert words.span(length) == text


@pytest.mark.parametrize(
    ("hours", "text", "style"),
    [(0, "overdue by 0 s", "overdue"), (-49, "overdue by 2 d 1 h", "overdue"), (1, "1 h", "urgent"),
     (72, "3 days", "urgent"), (73, "3 days", "soon"), (240, "10 days", "soon"), (241, "10 days", "calm")],
)  # fmt: skip
def test_the_time_left_has_the_steps_of_the_overview(hours: float, text: str, style: str) -> None:
    """The time left has three steps: up to three days, up to ten days, and more than ten days."""
    assert words.left(NOW + timedelta(hours=hours), NOW) == text
    assert words.urgency(NOW + timedelta(hours=hours), NOW) == style


def test_every_state_and_status_has_a_meaning_and_a_colour() -> None:
    css = (Path(charts.__file__).parent / "static/board.css").read_text()
    for state in [*State, Status.IN_PROGRESS, Status.PARTIAL]:
        assert words.MEANINGS[state]
        assert f".is-{state}" in css, state
