"""An operator's decision about a request, a row of the source, or an account that is not asked.

<name> acknowledge <YYYY-MM-DD or always> <reason>   it may stay as it is until then
<name> dismiss <reason>                              this row is not a request
<name> answered <reason>                             a request that no account can serve was answered by hand
<name> retry <reason>                                send again what failed

`name` is a request_id, `#<number>` of a row, or the name of an account: the report shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from include.dsar.errors import ConfigurationError
from include.dsar.ledger import acknowledging, planning
from include.dsar.ledger.acknowledging import Acknowledgement
from include.dsar.ledger.database import Database
from include.dsar.ledger.instructions import Instruction, record, recorded

ALWAYS = "always"
VERBS = ("acknowledge", "dismiss", "answered", "retry")


class About(NamedTuple):
    """The subject of a decision: the ledger id of a request or a row, or an account."""

    request: int | None = None
    unplanned_row: int | None = None
    account: str | None = None


@dataclass(frozen=True)
class ItemDecision:
    """One decision line."""

    name: str
    verb: str
    reason: str
    until: datetime | None = None  # of an acknowledgement; None: for good

    @classmethod
    def parse(cls, text: str) -> ItemDecision | None:
        """Parses one line. Returns None if the line has another form. Raises ConfigurationError if the date
        is wrong, or if there is no reason.
        """
        match text.split(maxsplit=2):
            case [name, "acknowledge", rest]:
                day, _, reason = rest.partition(" ")
                return cls(name, "acknowledge", _required(reason), _end_of(day))
            case [name, verb, *reason] if verb in VERBS:
                return cls(name, verb, _required(" ".join(reason)))
        return None

    def carry_out(self, db: Database, *, by: str, made_at: datetime, now: datetime) -> str | None:
        """Applies the decision and records it. Returns the reason if the decision is refused. None if it is
        carried out.

        The decision covers only events before `made_at`. A decision that is already recorded changes
        nothing.
        """
        request, row = acknowledging.request_of(db, self.name), acknowledging.open_row(db, self.name)
        given = Instruction(
            self.verb,
            self.name,
            by,
            made_at,
            self.reason,
            details={"until": self.until.isoformat() if self.until else None},
        )
        if known := recorded(db, given):
            return known.refused
        with db.transaction():
            about, refused = self._apply(db, request, row, by=by, made_at=made_at, now=now)
            record(db, replace(given, **about._asdict()), now=now, refused=refused)
        return refused

    def _apply(
        self, db: Database, request: int | None, row: int | None, *, by: str, made_at: datetime, now: datetime
    ) -> tuple[About, str | None]:
        """Returns the subject of the decision, and the reason if the decision is refused. The reason is
        None if the decision is carried out.
        """
        match self.verb:
            case "acknowledge":
                return self._acknowledge(
                    db, request, row, Acknowledgement(by, self.reason, made_at, self.until)
                )
            case "dismiss":
                done = row is not None and acknowledging.dismiss_row(db, row, now=now)
                return About(unplanned_row=row), None if done else "no row with this name waits"
            case "answered":
                done = request is not None and acknowledging.answer(db, request, now=now)
                return About(request), None if done else "no request with this name needs an answer"
        planning.retry_open(db, now=now, request_ids=[self.name])
        is_open = request is not None and acknowledging.is_open(db, request)
        why = "the source has no failed or partial row with this name, or the row has changed"
        return About(request), None if is_open else why

    def _acknowledge(
        self, db: Database, request: int | None, row: int | None, given: Acknowledgement
    ) -> tuple[About, str | None]:
        if row is not None:
            acknowledging.acknowledge_row(db, row, given)
            return About(unplanned_row=row), None
        if request is not None:
            waits = acknowledging.acknowledge_request(db, request, given)
            return About(request), None if waits else "nothing about this request waits for an operator"
        if acknowledging.is_left_out(db, self.name):
            acknowledging.acknowledge_account(db, self.name, given)
            return About(account=self.name), None
        return About(), "nothing with this name waits for an operator"


def _required(reason: str) -> str:
    if not reason.strip():
        raise ConfigurationError(f"a decision with {', '.join(VERBS)} must end with a reason")
    return reason.strip()


def _end_of(day: str) -> datetime | None:
    """Returns the end of a day in UTC. None for ALWAYS."""
    if day == ALWAYS:
        return None
    try:
        return datetime.combine(date.fromisoformat(day), time(), UTC) + timedelta(days=1)
    except ValueError:
        raise ConfigurationError(
            f"an acknowledgement must say until when: `<name> acknowledge <YYYY-MM-DD or {ALWAYS}> <reason>`"
        ) from None
