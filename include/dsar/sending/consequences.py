"""One table from error class to consequence, for errors when a call is submitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from include.dsar.errors import (
    AccountQuota,
    AlreadyRunning,
    ConfigurationError,
    IdentifierQuota,
    NotTaken,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    VendorBusy,
)
from include.dsar.execution.batch_size import smaller_batch
from include.dsar.ledger.claiming import Claim
from include.dsar.ledger.transitions import Move
from include.dsar.model import State
from include.dsar.sending.calls import Call, next_utc_day

MIN_RETRY_DELAY = timedelta(seconds=5)  # if the vendor names no time
OTHER_JOB_DELAY = timedelta(hours=1)

# Templates of reasons: {error} is the text of the error, {kind} its type.
PROBABLY_TAKEN = "{error}: the vendor already got this identifier today, probably in a call with a lost reply"
OTHER_JOB = "{error}: the vendor has a job for this data subject that is not ours: sent again later"
NO_CALL = "we cannot build a call for this submission ({kind})"


def _after_pause(now: datetime, error: Exception) -> datetime:
    """Returns the time after the vendor's `Retry-After`, or after MIN_RETRY_DELAY if that is longer."""
    named = error.retry_after if isinstance(error, NotTaken) else None
    return now + max(timedelta(seconds=named or 0), MIN_RETRY_DELAY)


def _next_utc_day(now: datetime, error: Exception) -> datetime:
    return next_utc_day(now)


@dataclass(frozen=True)
class Consequence:
    """The consequence of an error for the submissions in the call, and for the account."""

    state: State
    reason: str = "{error}"
    not_before: Callable[[datetime, Exception], datetime] | None = None  # when it may be sent again
    splits_batch: bool = False  # a batch goes back to planned, in smaller calls; `state` is for a single one
    strikes: int = 0  # the stage stops calling the account after too many in a row
    ends_strikes: bool = False  # the vendor works: it gave a usable answer
    uses_up_quota: bool = False  # the account may send nothing more today
    suspects_credentials: bool = False  # see refused_calls.py
    suspects_input: bool = False  # see refused_inputs.py
    # Where a submission goes instead (state, reason, not_before) if an earlier attempt of it is uncertain.
    after_uncertain: Consequence | None = None
    after_same: Consequence | None = None  # only if that attempt met the same error

    def moves(self, call: Call, error: Exception, now: datetime) -> list[Move]:
        """Returns the move of each submission in the call."""
        reason, size = self._reason(error), len(call.claims)
        if self.splits_batch and size > 1:
            split, limit = f"the vendor refused the batch: {reason}", smaller_batch(size)
            return [Move(s.submission, State.PLANNED, split, batch_limit=limit) for s in call.subjects]
        return [self._move(claim, error, now) for claim in call.claims]

    def _move(self, claim: Claim, error: Exception, now: datetime) -> Move:
        then = self
        if self.after_uncertain and claim.uncertain_reason:
            then = self.after_uncertain
        elif self.after_same and claim.uncertain_reason == self._reason(error):
            then = self.after_same
        not_before = then.not_before(now, error) if then.not_before else None
        return Move(claim.subject.submission, then.state, then._reason(error), not_before=not_before)

    def _reason(self, error: Exception) -> str:
        return self.reason.format(error=error, kind=type(error).__name__)


CONSEQUENCES: Mapping[type[Exception], Consequence] = {
    ConfigurationError: Consequence(State.PLANNED, suspects_credentials=True),
    Refused: Consequence(State.REJECTED, splits_batch=True, ends_strikes=True, suspects_input=True),
    IdentifierQuota: Consequence(
        State.PLANNED,
        not_before=_next_utc_day,
        ends_strikes=True,
        # Only a job with an id proves that the lost call was accepted.
        after_uncertain=Consequence(State.UNCERTAIN, PROBABLY_TAKEN),
    ),
    AccountQuota: Consequence(State.PLANNED, not_before=_next_utc_day, ends_strikes=True, uses_up_quota=True),
    VendorBusy: Consequence(State.PLANNED, not_before=_after_pause, strikes=1),
    NotTaken: Consequence(State.PLANNED, not_before=_after_pause, strikes=5),
    AlreadyRunning: Consequence(
        State.UNCERTAIN,  # the running job may be ours: reconcile asks the vendor
        ends_strikes=True,
        # Reconcile did not find our job, so the vendor is working on another one.
        after_same=Consequence(State.PLANNED, OTHER_JOB, not_before=lambda now, _: now + OTHER_JOB_DELAY),
    ),
    OutcomeUnknown: Consequence(State.UNCERTAIN, strikes=5),
    ProtocolError: Consequence(State.UNCERTAIN, strikes=5),
    # A fault in our own reader. The vendor may have accepted the call.
    Exception: Consequence(State.UNCERTAIN, "the vendor's reply could not be read ({kind})"),
}

# The vendor module cannot build a call for these submissions.
UNSENDABLE = Consequence(State.REJECTED, NO_CALL, splits_batch=True, suspects_input=True)


def consequence_of(error: Exception) -> Consequence:
    """Returns the consequence of the error's class. If the table lacks this class, returns the consequence
    of the nearest base class.
    """
    return next(CONSEQUENCES[kind] for kind in type(error).__mro__ if kind in CONSEQUENCES)
