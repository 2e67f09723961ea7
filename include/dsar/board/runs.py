"""Runs of the DAG and their task instances, from Airflow's database.

The ledger does not record runs. But only one run is active at a time (max_active_runs=1), and each task
works for one stage of one account. So the time and the account of an event identify the task instance. If
Airflow's history has been cleaned (`airflow db clean`), some links are missing, but no link is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Try:
    """One try of a task instance. `map_index` is -1 if the task is not mapped."""

    run_id: str
    task_id: str
    map_index: int
    began: datetime
    ended: datetime | None  # None: still running

    def covers(self, at: datetime) -> bool:
        return self.began <= at and (self.ended is None or at <= self.ended)

    def works_for(self, account: str | None) -> bool:
        """Returns whether the task may work for this account. If `account` is None, returns whether the
        task may work on the request itself.
        """
        group, _, stage = self.task_id.rpartition(".")
        return not stage or not group if account is None else group in (account, "")


@dataclass(frozen=True)
class TaskInstance:
    """`map_index` is None if several mapped instances ran at the same time."""

    run_id: str
    task_id: str
    map_index: int | None


@dataclass(frozen=True)
class Run:
    """`would_send` is the result of a dry run: the number of submissions for each account and action."""

    run_id: str
    tries: Sequence[Try]
    dry_run: bool = False
    request_ids: Sequence[str] = ()
    accounts: Sequence[str] = ()
    would_send: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    would_wait: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # an unusual number

    def windows(self, now: datetime) -> list[tuple[datetime, datetime]]:
        """Returns the time windows in which any task ran, in order and without overlaps."""
        merged: list[tuple[datetime, datetime]] = []
        for began, ended in sorted((each.began, each.ended or now) for each in self.tries):
            if merged and began <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], ended))
            else:
                merged.append((began, ended))
        return merged


def find(tries: Sequence[Try], at: datetime, account: str | None) -> TaskInstance | None:
    """Returns the task instance that worked on the account at this time. None if no task instance is
    found.
    """
    fitting = [each for each in tries if each.covers(at) and each.works_for(account)]
    if not fitting:
        return None
    # A task of the account is more likely than one that works for all accounts.
    first = min(fitting, key=lambda each: "." not in each.task_id)
    indexes = {each.map_index for each in fitting if each.task_id == first.task_id}
    return TaskInstance(first.run_id, first.task_id, first.map_index if len(indexes) == 1 else None)
