"""Parses and checks the query strings of the pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from include.dsar.board import words
from include.dsar.ledger.board.request_list import Criteria
from include.dsar.model import Action, State, Status

# Days until the due date: more than the first, at most the second.
LEFT_DAYS: Mapping[str, tuple[int | None, int | None]] = {
    "overdue": (None, 0),
    "under_3": (0, 3),
    "under_10": (3, 10),
    "more": (10, None),
}
PERIODS = ("7", "30", "90")  # days

# The options of each field of the form, by value.
CHOICES: Mapping[str, Mapping[str, str]] = {
    "status": {name: name for name in ("open", "unresolved", "completed", "partial", "failed")}
    | {"any": "any status"},
    "action": {"": "any type"} | {action: action for action in Action},
    "left": {
        "": "any days left",
        "overdue": "overdue",
        "under_3": "under 3 days",
        "under_10": "3 to 10 days",
        "more": "more than 10 days",
    },
    "state": {"": "any state"} | {state: words.label(state) for state in State},
}


class BadFilter(ValueError):
    """The query string is not valid. The error text gives the reason, but not the value."""


class _Query(BaseModel):
    """The base of all filters. A blank field counts as absent, because forms send blank fields. An unknown
    field is an error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, given: Any) -> Any:
        return {name: text.strip() for name, text in dict(given).items() if text.strip()}

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Parses a query string. Raises BadFilter. Its text names the field and the accepted values, but
        does not repeat the wrong value.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            if first["type"] == "extra_forbidden":
                known = ", ".join(cls.model_fields)
                raise BadFilter(
                    f"The address has an unknown filter. Known filters: {known}. Remove it."
                ) from None
            raise BadFilter(
                f"The filter “{first['loc'][0]}” has a wrong value. {first['msg']}. Correct it."
            ) from None


Id = Annotated[int, Field(ge=0, lt=2**63)]
RequestIdPrefix = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
RegulationName = Annotated[str, Field(max_length=32, pattern=r"^[A-Z][A-Z0-9_]*$")]
Name = Annotated[str, Field(max_length=48, pattern=r"^[a-z][a-z0-9_]*$")]


class RequestFilter(_Query):
    """The conditions for the list of requests, and the place of the page: before or after a given request."""

    status: Literal["open", "unresolved", "completed", "partial", "failed", "any"] = "open"
    action: Action | None = None
    regulation: RegulationName | None = None
    account: Name | None = None
    state: State | None = None  # of a submission, at `account` if that is given
    left: Literal["overdue", "under_3", "under_10", "more"] | None = None
    id: RequestIdPrefix | None = None
    order: Literal["soonest", "latest"] | None = None
    after: Id | None = None  # ledger id of the last request on the previous page
    before: Id | None = None  # ledger id of the first request on the next page

    @property
    def latest_first(self) -> bool:
        """Returns whether the request with the latest due date comes first. By default, it comes last in a
        list of open requests, and first in any other list.
        """
        return self.order == "latest" if self.order else self.status not in ("open", "unresolved")

    def criteria(self, now: datetime) -> Criteria:
        above, until = LEFT_DAYS[self.left] if self.left else (None, None)
        statuses = {"open": Status.IN_PROGRESS, "unresolved": None, "any": None}
        return Criteria(
            status=statuses[self.status] if self.status in statuses else Status(self.status),
            action=self.action,
            regulation=self.regulation,
            account=self.account,
            state=self.state,
            due_after=None if above is None else now + timedelta(days=above),
            due_until=None if until is None else now + timedelta(days=until),
            id_prefix=self.id,
            is_unresolved=self.status == "unresolved",
        )

    def query(self, **other: object) -> str:
        """Returns the query string of this filter, with some fields replaced by `other`. A field that is
        None in `other` is removed.
        """
        fields = self.model_dump(mode="json", exclude_defaults=True) | other
        return urlencode({name: value for name, value in fields.items() if value is not None})


class PeriodFilter(_Query):
    """The number of days that the figures cover. Today is the last day."""

    name: Name | None = None  # of the account
    days: Literal["7", "30", "90"] = "30"

    def begins(self, now: datetime) -> datetime:
        """Returns midnight UTC at the start of the first day."""
        return midnight(now) - timedelta(days=int(self.days) - 1)


class RequestQuery(_Query):
    id: Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]


class RunQuery(_Query):
    run_id: Annotated[str, Field(max_length=250, pattern=r"^[^\x00]*$")]
    dag_id: Annotated[str, Field(max_length=250)] | None = None
    after: Id = 0


def midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
