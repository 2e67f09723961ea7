"""Finds the cause of calls that the vendor refused because of our credentials or the route.

The account is the cause if the vendor answers no call. A request is the cause if the vendor answers other
calls, or accepts our credentials on another route. For example, a firewall answers 403 to a call that looks
like an attack. Then the submissions of this call stay planned. Each retry sends these submissions in
smaller calls, in the end one by one, so that they block no other submission. A submission that may only be
sent in a smaller call is a suspect. Refused suspects do not count against the account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from include.dsar.errors import CredentialsRefused, RequestsRefused
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.batch_size import smaller_batch
from include.dsar.execution.consecutive_errors import MAX_REFUSALS_IN_A_ROW, ConsecutiveErrors
from include.dsar.execution.trust import AccountEvidence
from include.dsar.ledger.transitions import Move
from include.dsar.model import State, Subject
from include.dsar.sending.calls import Call

MAX_SUSPECTS_IN_A_ROW = 20  # after that the others wait for the retry: the account may be the cause after all
MAX_NAMED_REQUESTS = 20  # in an error text


@dataclass(frozen=True)
class _Refused:
    call: Call
    status: int
    error: Exception


class RefusedCalls:
    """The refused calls of one stage. These calls are not sent again in this stage, and do not count as
    attempts.
    """

    def __init__(self, work: AccountWork, evidence: AccountEvidence) -> None:
        self._work, self._evidence = work, evidence
        self._refused: list[_Refused] = []
        self._postponed: list[Subject] = []
        self._in_a_row = ConsecutiveErrors(MAX_REFUSALS_IN_A_ROW)
        self._suspects_in_a_row = ConsecutiveErrors(MAX_SUSPECTS_IN_A_ROW)
        self._others_answered = self._requests_are_the_cause = False
        self.are_too_many = False  # the stage must make no further call

    def add(self, call: Call, status: int, error: Exception) -> None:
        self._refused.append(_Refused(call, status, error))
        if _is_suspect(call):
            self._suspects_in_a_row.add(error)
        else:
            self._in_a_row.add(error)
            self.are_too_many = self.are_too_many or self._in_a_row.limit_reached

    def answered(self) -> None:
        """Records that the vendor accepted a call."""
        self._others_answered = True
        self._suspects_in_a_row.reset()
        self._in_a_row.reset()

    def postpones(self, call: Call) -> bool:
        """Returns whether this call must wait for the retry, because too many suspects were refused in a
        row.
        """
        if not (self._suspects_in_a_row.limit_reached and _is_suspect(call)):
            return False
        self._postponed += call.subjects
        return True

    async def find_cause(self) -> None:
        """Decides whether the account or the requests are the cause. Call this after all other calls were
        made.
        """
        if not self._refused:
            return
        if self._others_answered and not self.are_too_many:
            self._requests_are_the_cause = True
        elif all(isinstance(one.error, CredentialsRefused) for one in self._refused):
            self._requests_are_the_cause = await self._evidence.probe_succeeds()

    def moves(self) -> Iterator[Move]:
        """Returns the moves that plan all these submissions again."""
        for subject in self._postponed:
            yield Move(subject.submission, State.PLANNED, untried=True)
        for one in self._refused:
            reason, limit = None, None
            if self._requests_are_the_cause:
                reason = f"HTTP {one.status}, but the vendor {self._proof}"
                limit = smaller_batch(len(one.call.subjects))
            for subject in one.call.subjects:
                yield Move(subject.submission, State.PLANNED, reason, batch_limit=limit, untried=True)

    def error(self) -> Exception | None:
        """Returns the error that the stage must raise. None if the vendor refused no call."""
        if not self._refused:
            return None
        if self._requests_are_the_cause and self._retry_helps:
            return RequestsRefused(" ".join(self._sentences()))
        return self._refused[0].error

    def _sentences(self) -> Iterator[str]:
        work = self._work
        counts = Counter(f"HTTP {one.status}" for one in self._refused for _ in one.call.subjects)
        total = sum(counts.values())
        by_status = ", ".join(f"{status}: {n:,}" for status, n in sorted(counts.items()))
        submissions = f"{total:,} submission{'s' if total > 1 else ''} ({by_status})"
        yield f"{work.account}: the vendor refused {submissions}, but it {self._proof}."
        yield "They stay planned. The next attempts send smaller calls, in the end one submission per call."
        alone = {one.call.subjects[0].request_id for one in self._refused if len(one.call.subjects) == 1}
        if alone:
            more = f" and {len(alone) - MAX_NAMED_REQUESTS:,} more" if len(alone) > MAX_NAMED_REQUESTS else ""
            yield f"Refused alone: {', '.join(sorted(alone)[:MAX_NAMED_REQUESTS])}{more}."
        if not self._others_answered:
            yield f"If this continues, connection {work.settings.connection} lacks the right to this route."

    @property
    def _proof(self) -> str:
        return "took others" if self._others_answered else "accepts our credentials"

    @property
    def _retry_helps(self) -> bool:
        """Returns whether Airflow should retry the task. False if the vendor answered no other call, and
        every refused call contained a single submission that is not a suspect.

        Then the account may be the cause, so an operator must see the error at once. The next attempt sends
        the submissions as suspects.
        """
        return (
            self._others_answered
            or self.are_too_many
            or any(len(one.call.subjects) > 1 or _is_suspect(one.call) for one in self._refused)
        )


def _is_suspect(call: Call) -> bool:
    return all(claim.batch_limit is not None for claim in call.claims)
