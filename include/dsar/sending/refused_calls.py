"""Calls that the vendor refused for our credentials or the route, and whose trouble that is.

The account's where the vendor answers nobody. Some requests' own where it takes other calls or, when
asked by another route, our credentials: a firewall before the vendor's API answers 403 to what it takes
for an attack. What such a call held stays planned and goes in a tenth of it at the next try, in the end
alone, so that it stops nobody else. Whoever goes in such a small call is a suspect, and the refusal of
suspects says nothing against the account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from include.dsar.errors import ConfigurationError, CredentialsRefused, DsarError, RequestsRefused
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.refusals import Refusals
from include.dsar.ledger.transitions import Move
from include.dsar.model import State, Subject
from include.dsar.sending.calls import Call

BATCH_SHRINKS_BY = 10
SUSPECTS_IN_A_ROW = 20  # then the others wait for the next try: it may be the account after all
MOST_NAMED = 20  # request ids in one sentence


@dataclass(frozen=True)
class _Refused:
    call: Call
    status: int
    error: ConfigurationError

    @property
    def alone(self) -> tuple[Subject, ...]:
        return self.call.subjects if len(self.call.subjects) == 1 else ()


class RefusedCalls:
    """Those of one stage. Nothing of them is sent again in it, and none counts as a try."""

    def __init__(self, work: AccountWork) -> None:
        self._work = work
        self._refusals = Refusals()
        self._refused: list[_Refused] = []
        self._put_off: list[Subject] = []
        self._suspects = 0  # refused in a row
        self._answered = self._is_theirs = False
        self.are_too_many = False  # no further call shall be made

    def add(self, call: Call, status: int, error: ConfigurationError) -> None:
        self._refused.append(_Refused(call, status, error))
        if _is_suspect(call):
            self._suspects += 1
            return
        try:
            self._refusals.add(error)
        except ConfigurationError:
            self.are_too_many = True

    def answered(self) -> None:
        """A call was taken."""
        self._answered = True
        self._suspects = 0
        self._refusals.answered()

    def puts_off(self, call: Call) -> bool:
        """Whether the call shall not be made, since too many suspects have been refused in a row."""
        if self._suspects < SUSPECTS_IN_A_ROW or not _is_suspect(call):
            return False
        self._put_off += call.subjects
        return True

    async def find_out(self) -> None:
        """Whose trouble it is, once the other calls have been made."""
        if not self._refused:
            return
        if self._answered and not self.are_too_many:
            self._is_theirs = True
        elif all(isinstance(one.error, CredentialsRefused) for one in self._refused):
            self._is_theirs = await self._takes_our_credentials()

    def moves(self) -> Iterator[Move]:
        """All of them are planned again."""
        for subject in self._put_off:
            yield Move(subject.submission, State.PLANNED, untried=True)
        for one in self._refused:
            smaller = max(len(one.call.subjects) // BATCH_SHRINKS_BY, 1)
            for subject in one.call.subjects:
                yield Move(
                    subject.submission,
                    State.PLANNED,
                    f"HTTP {one.status}, though the vendor {self._takes}" if self._is_theirs else None,
                    batch_limit=smaller if self._is_theirs else None,
                    untried=True,
                )

    def error(self) -> Exception | None:
        """What the stage ends with; None where nothing was refused."""
        if not self._refused:
            return None
        if not self._is_theirs or not self._helps_to_try_again:
            return self._refused[0].error
        work = self._work
        counts = Counter(f"HTTP {one.status}" for one in self._refused for _ in one.call.subjects)
        total = sum(counts.values())
        told = [
            f"{work.account}: {total:,} submission{'s were' if total > 1 else ' was'} refused",
            f"({', '.join(f'{status}: {n:,}' for status, n in sorted(counts.items()))}), though the vendor",
            f"{self._takes}. They stay planned, and go in smaller calls at the next try, in the end alone.",
        ]
        if alone := sorted({s.request_id for one in self._refused for s in one.alone}):
            more = f" and {len(alone) - MOST_NAMED:,} more" if len(alone) > MOST_NAMED else ""
            told.append(f"Refused alone: {', '.join(alone[:MOST_NAMED])}{more}.")
        if not self._answered:
            told.append(
                f"If all are refused, connection {work.settings.connection} lacks a right to the route."
            )
        return RequestsRefused(" ".join(told))

    @property
    def _takes(self) -> str:
        return "took others" if self._answered else "takes our credentials"

    @property
    def _helps_to_try_again(self) -> bool:
        """Not where a few went alone for the first time and nobody else: they may as well be all, of
        whom a person should hear at once. As suspects they are told from the account by the next try."""
        return (
            self._answered
            or self.are_too_many
            or any(len(one.call.subjects) > 1 or _is_suspect(one.call) for one in self._refused)
        )

    async def _takes_our_credentials(self) -> bool:
        """Asked by a route that changes nothing. No usable answer is none."""
        work = self._work
        try:
            work.vendor.read_probe(await work.client.send(work.vendor.probe(work.settings)))
        except DsarError:
            return False
        return True


def _is_suspect(call: Call) -> bool:
    return all(claim.batch_limit is not None for claim in call.claims)
