"""Lies of a vendor: replies that look like an answer, and are not true.

Nothing irreversible may follow from a lie alone. The only exceptions are lies that a wrong but valid key
tells, and only if they are too few for the outcome breaker (`docs/faults.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tests.model.virtual_time import Clock

LIES = (
    "404_html",  # every call: a proxy's page
    "404",  # every call: the vendor's own "not found"
    "other_account",  # the key is another company's: our jobs are not there, and nobody is known
    "nobody",  # every job that has ended: "user not found"
    "refuses",  # every POST: our input is refused
    "contradicts",  # every status: the job is done, but the reply itself denies it
    "other_job",  # every status: another job, which is done
    "other_list",  # the list has another shape
)


@dataclass
class Lie:
    kind: str
    after: int  # so many calls are answered truly before: a run may begin well
    until: datetime


class Lies:
    """The lies that the accounts tell, and the record of which job or data subject each lie was about."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now: dict[str, Lie] = {}
        self.no_data: set[str] = set()  # ids of jobs that were reported without data
        self.no_job: set[str] = set()  # ids of jobs that the account denied to have
        self.refused: set[tuple[str, str]] = set()  # account and key

    def tell(self, account: str, lie: Lie) -> None:
        self._now[account] = lie

    def next(self, account: str) -> str | None:
        """Returns the lie that the next call to this account gets, or None."""
        lie = self._now.get(account)
        if lie is None or lie.until <= self._clock():
            return None
        if lie.after > 0:
            lie.after -= 1
            return None
        return lie.kind

    def end(self) -> None:
        self._now.clear()
