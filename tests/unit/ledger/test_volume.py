"""The limit for new submissions in a day follows from the usual number."""

from __future__ import annotations

import pytest

from include.dsar.accounts import VolumeLimit
from include.dsar.ledger.volume import Usual, usual

LIMIT = VolumeLimit(times=3, at_least=100, without_history=1000)


@pytest.mark.parametrize(
    ("earlier", "has_history", "expected"),
    [
        ([], False, Usual(0, 1000)),
        ([], True, Usual(0, 100)),
        ([900, 900], True, Usual(0, 100)),  # two exceptional days are not usual
        ([900, 900, 900], True, Usual(900, 2700)),
        ([900, 7, 800, 40], True, Usual(40, 120)),
        ([50, 20, 33], True, Usual(20, 100)),
        ([50, 20, 34], True, Usual(20, 100)),
        ([50, 34, 34], True, Usual(34, 102)),
        ([400, 500, 600], False, Usual(400, 1200)),
        ([300, 300, 300], False, Usual(300, 1000)),
        ([0, 0, 0], True, Usual(0, 100)),
    ],
)
def test_the_limit_is_a_multiple_of_the_third_busiest_day(
    earlier: list[int], has_history: bool, expected: Usual
) -> None:
    assert usual(earlier, has_history=has_history, limit=LIMIT) == expected


def test_a_weekly_import_is_usual() -> None:
    """An import on each Monday is usual, because at least four of the last 30 days are Mondays."""
    days = [700, 0, 0, 2, 0, 1, 0] * 4
    assert usual(days, has_history=True, limit=LIMIT).count == 700


@pytest.mark.parametrize(
    "wrong", [{"times": 0.5}, {"at_least": -1}, {"at_least": 2000}, {"answer_hours": 0}, {"answer_hours": 21}]
)
def test_a_limit_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VolumeLimit(**wrong)
