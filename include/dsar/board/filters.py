"""What a person may ask of the board, checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from include.dsar.board import words
from include.dsar.model import Action, Regulation, State

Status = Literal["open", "completed", "partial", "failed", "any"]
Left = Literal["overdue", "under_3", "under_10", "more"]

# How far the due date lies ahead, in days: more than the first, at most the second.
LEFT_DAYS: Mapping[str, tuple[int | None, int | None]] = {
    "overdue": (None, 0),
    "under_3": (0, 3),
    "under_10": (3, 10),
    "more": (10, None),
}
PERIODS = ("7", "30", "90")  # days

# What a form offers for each field, and what it calls that.
CHOICES: Mapping[str, Mapping[str, str]] = {
    "status": {
        "open": "open",
        "completed": "completed",
        "partial": "partial",
        "failed": "failed",
        "any": "any status",
    },
    "action": {"": "any type", **{action: action for action in Action}},
    "regulation": {"": "any regulation", **{law: law for law in Regulation}},
    "left": {
        "": "any days left",
        "overdue": "overdue",
        "under_3": "under 3 days",
        "under_10": "3 to 10 days",
        "more": "more than 10 days",
    },
    "state": {"": "any state", **{state: words.label(state) for state in State}},
}


class BadFilter(ValueError):
    """A filter that the board does not know; the text is for the person who sent it."""


class _Query(BaseModel):
    """Blank fields, as a form sends them, count as absent; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, given: Any) -> Any:
        return {name: text.strip() for name, text in dict(given).items() if text.strip()}

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Raises BadFilter, which names the field and what it takes, never what it was given."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            if first["type"] == "extra_forbidden":
                known = ", ".join(cls.model_fields)
                raise BadFilter(
                    f"There is a filter that this page does not know. It knows: {known}."
                ) from None
            raise BadFilter(f"The filter “{first['loc'][0]}” cannot be used: {first['msg']}.") from None


Id = Annotated[int, Field(ge=0, lt=2**63)]
RequestIdPrefix = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Name = Annotated[str, Field(max_length=48, pattern=r"^[a-z][a-z0-9_]*$")]


class RequestFilter(_Query):
    """Which requests a list shows, and from where on."""

    status: Status = "open"
    action: Action | None = None
    regulation: Regulation | None = None
    account: Name | None = None
    state: State | None = None  # of a submission, at `account` where that is given
    left: Left | None = None
    id: RequestIdPrefix | None = None
    order: Literal["soonest", "latest"] | None = None
    after: Id | None = None  # the ledger's id of the last request of the page before
    before: Id | None = None

    @property
    def falls(self) -> bool:
        """Open requests begin with the most urgent one, all others with the latest."""
        return self.order == "latest" if self.order else self.status != "open"

    def due_between(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        above, upto = LEFT_DAYS[self.left] if self.left else (None, None)
        return (
            None if above is None else now + timedelta(days=above),
            None if upto is None else now + timedelta(days=upto),
        )

    def query(self, **other: object) -> str:
        """The query string of this filter with some fields replaced; those that are None are left out."""
        fields = self.model_dump(mode="json", exclude_defaults=True) | other
        return urlencode({name: value for name, value in fields.items() if value is not None})


class PeriodFilter(_Query):
    """Of how many days up to now the figures are."""

    name: Name | None = None  # of an account
    days: Literal["7", "30", "90"] = "30"

    @property
    def length(self) -> int:
        return int(self.days)


class RequestQuery(_Query):
    """One request."""

    id: Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]


class RunQuery(_Query):
    """One run of the DAG."""

    run_id: Annotated[str, Field(max_length=250, pattern=r"^[^\x00]*$")]
    dag_id: Annotated[str, Field(max_length=250)] | None = None
    after: Id = 0
