"""The board finds the task instance of an event by its time and account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from include.dsar.board.runs import Run, TaskInstance, Try, find

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def a_try(task: str, begin: float, end: float | None, *, run: str = "r", index: int = -1) -> Try:
    return Try(run, task, index, at(begin), None if end is None else at(end))


def test_a_task_of_the_account_is_preferred_to_one_for_all_accounts() -> None:
    """A task of another account is never linked."""
    tries = [a_try("intake", 0, 9), a_try("batch.submit", 0, 9), a_try("besitos.submit", 3, 9)]
    assert find(tries, at(4), "besitos") == TaskInstance("r", "besitos.submit", -1)
    assert find(tries, at(1), "besitos") == TaskInstance("r", "intake", -1)
    assert find(tries, at(4), None) == TaskInstance("r", "intake", -1)


def test_no_task_is_found_if_none_was_running() -> None:
    """If no task was running, no task is found. The board then shows no link, because a wrong link would
    mislead.
    """
    assert find([a_try("intake", 0, 1)], at(2), None) is None
    assert find([], at(2), "besitos") is None
    assert find([a_try("besitos.submit", 0, 9)], at(2), None) is None


def test_a_running_try_covers_the_time_since_it_began() -> None:
    """A try that still runs covers all moments since its beginning, including the first moment."""
    tries = [a_try("besitos.submit", 0, None)]
    for minutes in (0, 99):
        assert find(tries, at(minutes), "besitos") == TaskInstance("r", "besitos.submit", -1)
    assert find(tries, at(-1), "besitos") is None


def test_mapped_instances_at_the_same_time_have_no_map_index() -> None:
    """The mapped instances ran at the same time, so the time of an event does not tell which instance made
    it.
    """
    tries = [a_try("besitos.submit", 0, 9, index=0), a_try("besitos.submit", 5, 9, index=1)]
    assert find(tries, at(1), "besitos") == TaskInstance("r", "besitos.submit", 0)
    assert find(tries, at(6), "besitos") == TaskInstance("r", "besitos.submit", None)


def test_overlapping_windows_are_merged() -> None:
    """Merged windows count no event twice. Gaps between tries remain."""
    tries = [
        a_try("b.submit", 5, None),
        a_try("intake", 0, 2),
        a_try("a.submit", 1, 3),
        a_try("c.submit", 6, 7),
    ]
    assert Run("r", tries).windows(at(8)) == [(at(0), at(3)), (at(5), at(8))]
    assert Run("r", []).windows(at(8)) == []
