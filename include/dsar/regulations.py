"""Regulations: the laws that requests are made under, and their periods.

`include/regulations.py` lists the regulations of a deployment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import holidays
from dateutil.relativedelta import relativedelta

from include.dsar.model import Action

MAX_WORKING_DAYS = 400  # a longer period is a mistake
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,31}")


@dataclass(frozen=True)
class Period:
    """A legal period: calendar months, calendar days, or working days. Only one of the three is set."""

    months: int = 0
    days: int = 0
    working_days: int = 0

    def __post_init__(self) -> None:
        lengths = (self.months, self.days, self.working_days)
        if min(lengths) < 0 or sum(length > 0 for length in lengths) != 1:
            raise ValueError("a period has months, days or working days: give exactly one of these, above 0")
        if self.working_days > MAX_WORKING_DAYS:
            raise ValueError(f"a period has at most {MAX_WORKING_DAYS} working days")


class LastDay(StrEnum):
    """What happens when a period ends on a day that is not a working day."""

    STAYS = "stays"
    MOVES = "moves to the next working day"


@dataclass(frozen=True)
class Regulation:
    """A law, with its periods for a request. All periods begin when the request is received."""

    name: str  # as in the source's column `regulation`, in capitals
    title: str  # what the data subject reads
    response: Period | Mapping[Action, Period]
    cites: str  # the articles that the periods come from
    aliases: tuple[str, ...] = ()
    rights: Mapping[Action, str] = field(default_factory=dict)  # what the data subject reads after the title
    extension: Period | None = None  # allowed once, after the response period
    acknowledgement: Period | None = None  # by when the receipt of a request must be confirmed
    check_stops_clock: bool = False  # the time of an identity check does not count
    last_day: LastDay = LastDay.STAYS
    holidays: str | None = None  # a country, or country and subdivision, such as "DE" or "DE-BE"
    id5_jurisdiction: str | None = None  # "GDPR" or "CCPA"; None: ID5 has none for this law

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r}: a name has at most 32 characters: capital letters, digits and _"
            )
        if isinstance(self.response, Mapping) and set(self.response) != set(Action):
            raise ValueError(f"{self.name}: give a response period for each of {', '.join(Action)}")
        if self.holidays is not None:
            try:
                len(self._holidays)
            except NotImplementedError:
                raise ValueError(f"{self.name}: no holidays are known for {self.holidays}") from None

    def due_at(self, action: Action, received_at: datetime) -> datetime:
        """Returns the legal due date, in the zone of `received_at` and with its time of day.

        Days are counted in that zone: 28 February, 21:30 in New York is 1 March in UTC. The date is never
        later than the law allows. Raises OverflowError or ValueError if the date is out of range.
        """
        return self._ends(received_at, [self._response(action)])

    def extended_due_at(self, action: Action, received_at: datetime) -> datetime | None:
        """Returns the last due date that an extension allows. None if the law has no extension."""
        if self.extension is None:
            return None
        return self._ends(received_at, [self._response(action), self.extension])

    def ack_due_at(self, received_at: datetime) -> datetime | None:
        """Returns the latest time for the confirmation that a request was received. None if the law demands
        none.
        """
        return self._ends(received_at, [self.acknowledgement]) if self.acknowledgement else None

    def law(self, action: Action) -> str:
        """Returns the text that names the law and the right to the data subject."""
        right = self.rights.get(action)
        return f"{self.title}, {right}" if right else self.title

    def _response(self, action: Action) -> Period:
        return self.response[action] if isinstance(self.response, Mapping) else self.response

    def _ends(self, start: datetime, periods: list[Period]) -> datetime:
        """Returns the end of successive periods.

        A month ends on the same date of the next month, or on its last day if there is no such date:
        Regulation (EEC, Euratom) 1182/71, Article 3(2)(c).
        """
        end = start + relativedelta(
            months=sum(period.months for period in periods), days=sum(period.days for period in periods)
        )
        for _ in range(sum(period.working_days for period in periods)):
            end = self._to_working_day(end + timedelta(days=1))
        return self._to_working_day(end) if self.last_day is LastDay.MOVES else end

    def _to_working_day(self, day: datetime) -> datetime:
        while day.weekday() >= 5 or day.date() in self._holidays:
            day += timedelta(days=1)
        return day

    @cached_property
    def _holidays(self) -> Mapping[Any, str]:
        if self.holidays is None:
            return {}
        country, _, subdivision = self.holidays.partition("-")
        return holidays.country_holidays(country, subdiv=subdivision or None)


class Regulations(Mapping[str, Regulation]):
    """The regulations of a deployment by name.

    `zone` is the time zone of times that the source gives without a zone. `id5_jurisdiction` is for the
    regulations that have none. Raises ValueError if two regulations share a name or an alias.
    """

    def __init__(
        self, regulations: Sequence[Regulation], zone: str = "UTC", id5_jurisdiction: str | None = None
    ) -> None:
        self.zone = ZoneInfo(zone)
        self._id5_jurisdiction = id5_jurisdiction
        self._by_name = {regulation.name: regulation for regulation in regulations}
        self._by_word: dict[str, Regulation] = {}
        for regulation in regulations:
            for word in (regulation.name, *regulation.aliases):
                if self._by_word.setdefault(_key(word), regulation) is not regulation:
                    raise ValueError(f"two regulations are called {word}")
        if not self._by_name:
            raise ValueError("include/regulations.py lists no regulation")

    def __getitem__(self, name: str) -> Regulation:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, text: str) -> Regulation | None:
        """Returns the regulation with this name or alias. Ignores case, blanks, and the signs - . _"""
        return self._by_word.get(_key(text))

    def id5_jurisdiction(self, regulation: Regulation) -> str | None:
        """Returns the jurisdiction that is sent to ID5. None means that no request under this law is sent
        to ID5.
        """
        return regulation.id5_jurisdiction or self._id5_jurisdiction


def _key(word: str) -> str:
    return re.sub(r"[\s._-]+", "", word).upper()
