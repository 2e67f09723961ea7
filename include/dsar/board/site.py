"""What the board has to know of the Airflow that serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from include.dsar.accounts import AccountSettings
from include.dsar.board.tries import TaskInstance
from include.dsar.vendors.vendor import OnUncertain


class Doubts(StrEnum):
    """What becomes of an account's uncertain submissions."""

    SETTLED = "settled"  # the next run does it by itself
    HELD = "held"  # a person decides: `on_uncertain: hold`
    BROKEN = "broken"  # nothing, and nobody can say whose they are: its connection cannot be used
    GONE = "gone"  # nothing: include/accounts.py does not list it any more


@dataclass(frozen=True)
class Site:
    """Where pages and tasks are, and which accounts there are."""

    root: str  # the path of the board's own pages, without a slash at its end
    dag: str  # the path of the DAG in Airflow's UI
    now: datetime
    connections: Mapping[str, str]  # of each account
    settings: Callable[[], Mapping[str, AccountSettings]]  # of those accounts that have any
    in_airflow: Callable[[str], str]  # a page of the board as a path of Airflow's UI
    task: Callable[[TaskInstance], str]

    @property
    def accounts(self) -> Sequence[str]:
        """Those of this deployment."""
        return list(self.connections)

    def doubts(self, account: str) -> Doubts:
        """What becomes of what is uncertain there."""
        if account not in self.connections:
            return Doubts.GONE
        if account not in self._settings:
            return Doubts.BROKEN
        held = self._settings[account].on_uncertain == OnUncertain.HOLD
        return Doubts.HELD if held else Doubts.SETTLED

    @cached_property
    def quotas(self) -> Mapping[str, int | None]:
        """How many submissions a day each account takes."""
        return {name: one.daily_quota for name, one in self._settings.items()}

    @cached_property
    def _settings(self) -> Mapping[str, AccountSettings]:
        return self.settings()
