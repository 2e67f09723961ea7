"""Which task instance did something, told by time and account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from include.dsar.board.tries import TaskInstance, Try, find, windows

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def a_try(task: str, begin: float, end: float | None, *, run: str = "r", index: int = -1) -> Try:
    return Try(run, task, index, at(begin), None if end is None else at(end))


def test_the_accounts_own_task_wins_over_those_that_work_for_all() -> None:
    """A decision falls in intake, all else in the account's group; another account's task is never meant."""
    tries = [a_try("intake", 0, 9), a_try("batch.submit", 0, 9), a_try("besitos.submit", 3, 9)]
    assert find(tries, at(4), "besitos") == TaskInstance("r", "besitos.submit", -1)
    assert find(tries, at(1), "besitos") == TaskInstance("r", "intake", -1)
    assert find(tries, at(4), None) == TaskInstance("r", "intake", -1)


def test_nothing_is_said_where_no_task_was_at_work() -> None:
    """Airflow forgets old runs: a missing link is better than a wrong one."""
    assert find([a_try("intake", 0, 1)], at(2), None) is None
    assert find([], at(2), "besitos") is None
    assert find([a_try("besitos.submit", 0, 9)], at(2), None) is None


def test_a_try_that_is_still_at_work_covers_all_since_it_began() -> None:
    """Its first moment too."""
    tries = [a_try("besitos.submit", 0, None)]
    assert (
        find(tries, at(0), "besitos")
        == find(tries, at(99), "besitos")
        == TaskInstance("r", "besitos.submit", -1)
    )
    assert find(tries, at(-1), "besitos") is None


def test_of_several_mapped_ones_at_the_same_time_none_is_singled_out() -> None:
    """Times cannot tell them apart; alone, one can be named."""
    tries = [a_try("besitos.submit", 0, 9, index=0), a_try("besitos.submit", 5, 9, index=1)]
    assert find(tries, at(1), "besitos") == TaskInstance("r", "besitos.submit", 0)
    assert find(tries, at(6), "besitos") == TaskInstance("r", "besitos.submit", None)


def test_windows_are_merged_where_they_overlap() -> None:
    """So that nothing is counted twice; a gap between two tries stays one."""
    tries = [
        a_try("b.submit", 5, None),
        a_try("intake", 0, 2),
        a_try("a.submit", 1, 3),
        a_try("c.submit", 6, 7),
    ]
    assert windows(tries, at(8)) == [(at(0), at(3)), (at(5), at(8))]
    assert windows([], at(8)) == []
