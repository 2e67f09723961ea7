"""What the board has to know of the Airflow that serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from include.dsar.accounts import AccountSettings
from include.dsar.board.tries import TaskInstance
from include.dsar.vendors.vendor import OnUncertain


@dataclass(frozen=True)
class Site:
    """Where pages and tasks are, and which accounts there are."""

    root: str  # the path of the board's own pages, without a slash at its end
    dag: str  # the path of the DAG in Airflow's UI
    now: datetime
    accounts: Sequence[str]
    settings: Callable[[], Mapping[str, AccountSettings]]  # of those accounts that have any
    in_airflow: Callable[[str], str]  # a page of the board as a path of Airflow's UI
    task: Callable[[TaskInstance], str]

    @cached_property
    def held(self) -> list[str]:
        """Accounts whose uncertain submissions wait for a person."""
        return [name for name, one in self._settings.items() if one.on_uncertain == OnUncertain.HOLD]

    @cached_property
    def quotas(self) -> Mapping[str, int | None]:
        """How many submissions a day each account takes."""
        return {name: one.daily_quota for name, one in self._settings.items()}

    @cached_property
    def _settings(self) -> Mapping[str, AccountSettings]:
        return self.settings()
