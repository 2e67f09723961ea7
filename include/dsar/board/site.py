"""The pages need links, accounts and the version. This module gets them from the Airflow that serves the
pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from include.dsar.accounts import AccountSettings
from include.dsar.board.runs import TaskInstance
from include.dsar.vendors.vendor import OnUncertain


class NextStep(StrEnum):
    """The next step towards reconciling an uncertain submission."""

    RUN = "run"  # the next run
    HELD = "held"  # an operator, because the connection has `on_uncertain: hold`
    STUCK = "stuck"  # an operator, because it became uncertain too often
    CONNECTION = "connection"  # an operator must first repair the connection
    ACCOUNT = "account"  # an operator must first list the account in include/accounts.py again


@dataclass(frozen=True)
class Site:
    root: str  # path of the board's pages, without a slash at the end
    dag: str  # path of the DAG in Airflow's UI
    version: str  # of this project
    now: datetime
    connections: Mapping[str, str]  # of each configured account
    regulations: Sequence[str]  # of include/regulations.py
    load_settings: Callable[[], Mapping[str, AccountSettings]]  # of accounts with a usable connection
    in_airflow: Callable[[str], str]  # from a page of the board to its path in Airflow's UI
    task: Callable[[TaskInstance], str]

    @property
    def accounts(self) -> Sequence[str]:
        return list(self.connections)

    def next_step(self, account: str, *, is_stuck: bool = False) -> NextStep:
        """Returns the next step towards reconciling an uncertain submission at this account."""
        if account not in self.connections:
            return NextStep.ACCOUNT
        if account not in self._settings:
            return NextStep.CONNECTION
        if self._settings[account].on_uncertain == OnUncertain.HOLD:
            return NextStep.HELD
        return NextStep.STUCK if is_stuck else NextStep.RUN

    @cached_property
    def quotas(self) -> Mapping[str, int | None]:
        """Returns how many submissions per day each account accepts."""
        return {name: one.daily_quota for name, one in self._settings.items()}

    @cached_property
    def _settings(self) -> Mapping[str, AccountSettings]:
        return self.load_settings()
