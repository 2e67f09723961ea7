"""What may end a submission: the one rule that every stage follows.

A terminal state, a discarded result and an erased identifier are irreversible. They need

(a) the vendor's documented word,
(b) about this job and this data subject,
(c) from an account that demonstrably works right now.

Anything else leaves the submission open and visible, and the vendor is asked again.

The readers of `vendors/` hold (a) and (b): they raise an error unless a reply is documented and about the
job that was asked for. `AccountEvidence` is (c).
"""

from __future__ import annotations

import asyncio

from include.dsar.errors import DsarError
from include.dsar.execution.account_work import AccountWork


class AccountEvidence:
    """Whether an account works, in one run of one stage."""

    def __init__(self, work: AccountWork) -> None:
        self._work = work
        self._probing = asyncio.Lock()
        self._probe: bool | None = None
        self.has_answered = False

    def answered(self) -> None:
        """The vendor accepted a call, or gave a readable answer about a job."""
        self.has_answered = True

    async def works(self) -> bool:
        """Whether the vendor has answered, or else answers the probe."""
        return self.has_answered or await self.probe_succeeds()

    async def probe_succeeds(self) -> bool:
        """Asks on a route that changes nothing, at most once."""
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
