"""Decides what may end a submission. Every stage follows this rule.

A terminal state, a discarded result and an erased identifier are irreversible. They need

(a) a confirmation that the vendor documents,
(b) about this job and this data subject,
(c) from an account that works right now.

Otherwise the submission stays open and visible, and the vendor is asked again.

The readers of `vendors/` check (a) and (b): they raise an error unless a reply is documented and about the
requested job. `AccountEvidence` checks (c). `Endings` waits for this evidence until the end of a stage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import chain

from include.dsar.errors import DsarError
from include.dsar.execution.account_work import AccountWork
from include.dsar.ledger import vendor_jobs
from include.dsar.ledger.transitions import Move
from include.dsar.vendors.vendor import Vendor

RECENT = timedelta(hours=1)  # an account that ended a job since then works


class AccountEvidence:
    """The evidence that an account works, in one run of one stage."""

    def __init__(self, work: AccountWork) -> None:
        self._work = work
        self._probing = asyncio.Lock()
        self._probe: bool | None = None
        self.has_answered = False

    def answered(self) -> None:
        """Records that the vendor accepted a call, or gave a readable answer about a job."""
        self.has_answered = True

    async def works(self) -> bool:
        """Returns whether the vendor has answered in this stage, or answers the probe."""
        return self.has_answered or await self.probe_succeeds()

    async def knows_jobs(self, unknown: Collection[str]) -> bool:
        """Returns whether the vendor can be believed when it replies that these jobs do not exist.

        The vendor is believed if there is evidence that the account works: the vendor answered another call
        in this stage, a probe that asks for no job succeeds, or another job ended within the last hour.
        """
        if self.has_answered:
            return True
        work = self._work
        if type(work.vendor).probe is not Vendor.probe and await self.probe_succeeds():
            return True
        since = work.clock() - RECENT
        self.has_answered = await work.ledger(
            vendor_jobs.has_other_ended, work.account, sorted(unknown), since=since
        )
        return self.has_answered

    async def probe_succeeds(self) -> bool:
        """Calls a route that changes nothing, at most once. Returns whether the answer was usable."""
        work = self._work
        async with self._probing:
            if self._probe is None:
                try:
                    reply = await work.client.send(work.vendor.probe(work.settings))
                    work.vendor.read_probe(work.settings, reply)
                    self._probe = True
                except DsarError:
                    self._probe = False
        return self._probe


class Endings:
    """Jobs that would end without a confirmation by the vendor, and jobs that the vendor does not have.

    The decision about these jobs is made at the end of the stage, because the vendor may report about them
    until then.
    """

    def __init__(self, work: AccountWork, evidence: AccountEvidence) -> None:
        self._work, self._evidence = work, evidence
        self._given_up: dict[str, list[Move]] = {}
        self._forgotten: dict[str, list[Move]] = {}
        self._known: set[str] = set()  # again, after they were unknown
        self.unknown: dict[str, datetime] = {}  # when each job was submitted that the vendor does not have
        self.left_open = 0  # submissions that did not end, because the account does not work

    def is_known(self, job_id: str, unknown_since: datetime | None) -> None:
        """Records that the vendor gave a readable answer about this job."""
        self._evidence.answered()
        self._given_up.pop(job_id, None)
        self._forgotten.pop(job_id, None)
        self.unknown.pop(job_id, None)
        if unknown_since:
            self._known.add(job_id)

    def is_unknown(self, job_id: str, since: datetime) -> None:
        """Records that the vendor does not have this job. `since` is the time when the job was submitted.
        The record counts only if the account works.
        """
        self.unknown[job_id] = since
        self._known.discard(job_id)

    def give_up(self, job_id: str, moves: Sequence[Move]) -> None:
        """Ends these submissions when the stage ends, if the account works. If the job is unknown,
        `knows_jobs` must be true too.
        """
        self._given_up.setdefault(job_id, []).extend(moves)

    def forget(self, job_id: str, moves: Sequence[Move]) -> None:
        """Ends these submissions when the stage ends, if their job is unknown and `knows_jobs` is true."""
        self._forgotten.setdefault(job_id, []).extend(moves)

    async def decide(self) -> list[Move]:
        """Returns the moves to record. Marks in the ledger which jobs are unknown to the vendor."""
        work = self._work
        await work.ledger(vendor_jobs.mark_known, work.account, sorted(self._known))
        moves: list[Move] = []
        if self.unknown and await self._evidence.knows_jobs(self.unknown):
            moves += chain.from_iterable(self._forgotten.values())
            unknown = sorted(self.unknown.keys() - self._forgotten.keys())
            await work.ledger(vendor_jobs.mark_unknown, work.account, unknown, now=work.clock())
        for job_id, given_up in self._given_up.items():
            is_unknown = job_id in self.unknown
            if await (self._evidence.knows_jobs(self.unknown) if is_unknown else self._evidence.works()):
                moves += given_up
        self.left_open = sum(map(len, [*self._forgotten.values(), *self._given_up.values()])) - len(moves)
        return moves


def unknown_for(unknown_since: datetime | None, now: datetime) -> timedelta:
    """Returns for how long the vendor has reported that the job does not exist."""
    return now - unknown_since if unknown_since else timedelta()
