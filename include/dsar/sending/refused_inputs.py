"""Finds the cause of calls that the vendor refused because of their content.

A refusal ends a submission as rejected only if the account works: the vendor accepted a later call, or
accepts the probe. Many identical refusals in a row have another cause: our partner id, our key, or the
vendor. Then the account is stopped, and no submission is rejected.

A submission that was refused when the account was stopped is a suspect (it has `batch_limit`). The next
attempt does not count suspects, so that a few bad requests at the front do not block other requests.
"""

from __future__ import annotations

from dataclasses import dataclass

from include.dsar.errors import ConfigurationError, VendorUnavailable, describe
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.trust import AccountEvidence
from include.dsar.ledger.transitions import Move
from include.dsar.model import State
from include.dsar.sending.calls import Call
from include.dsar.sending.consequences import Consequence

MAX_IDENTICAL_REFUSALS = 5  # in a row, if the vendor accepted no call of this stage
MAX_REFUSALS_AFTER_ACCEPTED = 20  # in a row, if it accepted one before
MAX_REFUSED_BATCHES = 20  # in a row, if it accepted no call: one bad id is enough to refuse a batch

STOPPED = "{error}: {count} calls in a row were refused like this, so the cause is not this data subject"


@dataclass(frozen=True)
class _Refused:
    call: Call
    error: Exception
    consequence: Consequence


class RefusedInputs:
    """The refusals of one stage since the vendor last accepted a call."""

    def __init__(self, work: AccountWork, evidence: AccountEvidence) -> None:
        self._work, self._evidence = work, evidence
        self._refused: list[_Refused] = []  # of calls for one data subject
        self._in_a_row = self._batches_in_a_row = 0
        self._text = ""
        self._error: Exception | None = None
        self._account_works = False  # `find_cause` has found the evidence
        self.are_too_many = False  # the stage must make no further call

    def add(self, call: Call, error: Exception, consequence: Consequence) -> list[Move]:
        """Returns the moves to record now. A refused batch is sent again in smaller batches."""
        if len(call.claims) > 1:
            self._batches_in_a_row += not self._evidence.has_answered
            self.are_too_many = self.are_too_many or self._batches_in_a_row >= MAX_REFUSED_BATCHES
            if self.are_too_many:
                self._error = self._error or self._stopped(error, self._batches_in_a_row)
            return consequence.moves(call, error, self._work.clock())
        self._account_works = False
        self._refused.append(_Refused(call, error, consequence))
        if not self._is_suspect(call):
            self._in_a_row = self._in_a_row + 1 if describe(error) == self._text else 1
            self._text = describe(error)
        limit = MAX_REFUSALS_AFTER_ACCEPTED if self._evidence.has_answered else MAX_IDENTICAL_REFUSALS
        self.are_too_many = self.are_too_many or self._in_a_row >= limit
        return []

    def accepted(self) -> list[Move]:
        """Records that the vendor accepted a call. So the data subjects are the cause of the earlier
        refusals.

        This call may have been under way when the limit was reached. Then the stage continues. It stops
        only if so many refusals cannot happen at an account that works.
        """
        self._batches_in_a_row = 0
        if self._in_a_row >= MAX_REFUSALS_AFTER_ACCEPTED:
            return []
        self.are_too_many = self._error is not None
        return self._rejections()

    async def find_cause(self) -> None:
        """Decides whether the account or the data subjects are the cause. Call this after the last call."""
        if not self._refused:
            return
        if self._evidence.has_answered and not self.are_too_many:
            self._account_works = True
            return
        work, count, error = self._work, len(self._refused), self._refused[0].error
        if count >= MAX_IDENTICAL_REFUSALS:
            self._error = self._stopped(error, count)
        elif await self._evidence.probe_succeeds():
            self._account_works = True
        else:
            self._error = VendorUnavailable(
                f"{work.account}: the vendor refused {count} calls ({describe(error)}) and did not answer a "
                f"test call. All submissions stay planned. Check connection {work.settings.connection}."
            )

    def moves(self) -> list[Move]:
        """Returns the moves of refused submissions: rejected, or planned if the account may be the cause.

        All of them are planned if the stage was stopped before the cause was found.
        """
        if self._account_works and self._error is None:
            return self._rejections()
        if self._error is None:
            return [
                Move(one.call.subjects[0].submission, State.PLANNED, untried=True) for one in self._refused
            ]
        count, limit = len(self._refused), 1 if self._work.settings.users_per_call == 1 else None
        return [
            Move(
                one.call.subjects[0].submission,
                State.PLANNED,
                STOPPED.format(error=describe(one.error), count=count),
                batch_limit=limit,
                untried=True,
            )
            for one in self._refused
        ]

    def error(self) -> Exception | None:
        """Returns the error that the stage must raise. None if the account was not stopped."""
        return self._error

    def _rejections(self) -> list[Move]:
        now = self._work.clock()
        moves = [move for one in self._refused for move in one.consequence.moves(one.call, one.error, now)]
        self._refused.clear()
        self._in_a_row = 0
        return moves

    def _stopped(self, error: Exception, count: int) -> Exception:
        return ConfigurationError(
            f"the vendor refused {count} calls in a row with the same answer ({describe(error)}). No "
            "submission was rejected: all stay planned. Check that the connection is for the right account"
        )

    def _is_suspect(self, call: Call) -> bool:
        return self._work.settings.users_per_call == 1 and call.claims[0].batch_limit is not None
