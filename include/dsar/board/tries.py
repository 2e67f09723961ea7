"""Tries of task instances, as far as the board needs them: which task worked when.

The ledger knows no runs: a stage does the same whoever started it. Only one run of the DAG is active at
a time (max_active_runs=1), and each task works for one stage of one account; so the time of an event,
and its account, say in which task instance it happened. That needs no write of ours on the way of a
request, holds for all that the ledger has ever recorded, and ends where Airflow's own history ends
(`airflow db clean`): then a link is missing, and never wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Try:
    """One try of a task instance. `map_index` is -1 where the task is not mapped."""

    run_id: str
    task_id: str
    map_index: int
    began: datetime
    ended: datetime | None  # None: it is still at work

    def covers(self, at: datetime) -> bool:
        return self.began <= at and (self.ended is None or at <= self.ended)

    def works_for(self, account: str | None) -> bool:
        """Whether it may have done something for an account; None: for the request itself."""
        group, _, stage = self.task_id.rpartition(".")
        return not stage or not group if account is None else group in (account, "")


@dataclass(frozen=True)
class TaskInstance:
    """Where something happened; without a map index it is one of several that worked at the same time."""

    run_id: str
    task_id: str
    map_index: int | None


def find(tries: Sequence[Try], at: datetime, account: str | None) -> TaskInstance | None:
    """The task instance in which something happened, as exactly as times tell."""
    fitting = [each for each in tries if each.covers(at) and each.works_for(account)]
    if not fitting:
        return None
    # Account's own tasks say more than those that work for all: they come first.
    fitting.sort(key=lambda each: "." not in each.task_id)
    first = fitting[0]
    several = {each.map_index for each in fitting if each.task_id == first.task_id}
    return TaskInstance(first.run_id, first.task_id, first.map_index if len(several) == 1 else None)


def windows(tries: Sequence[Try], now: datetime) -> list[tuple[datetime, datetime]]:
    """When any of these tries was at work: times that neither overlap nor touch, in their order."""
    merged: list[tuple[datetime, datetime]] = []
    for began, ended in sorted((each.began, each.ended or now) for each in tries):
        if merged and began <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], ended))
        else:
            merged.append((began, ended))
    return merged
