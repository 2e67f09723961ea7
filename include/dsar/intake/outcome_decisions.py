"""An operator's decision about implausible outcomes or an unusual volume of an account.

<account> confirm_outcomes <reason>     the outcomes are right: the requests may close
<account> discard_outcomes <reason>     the outcomes are wrong, and the account is repaired: send again
<account> release_volume <reason>       the submissions on hold are right: send them
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from include.dsar.ledger import approvals, outcome_breaker
from include.dsar.ledger.database import Database

VERBS = {
    "confirm_outcomes": outcome_breaker.confirm,
    "discard_outcomes": outcome_breaker.discard,
    "release_volume": approvals.release,
}


@dataclass(frozen=True)
class OutcomeDecision:
    account: str
    verb: str
    reason: str

    @classmethod
    def parse(cls, text: str) -> OutcomeDecision | None:
        """Parses one line. Returns None if the line has another form."""
        match text.split(maxsplit=2):
            case [account, verb, reason] if verb in VERBS:
                return cls(account, verb, reason.strip())
        return None

    @property
    def nothing_waits(self) -> str:
        """Returns the reason why the decision could not be carried out."""
        if self.verb == "release_volume":
            return "no volume has been on hold since before the run, or the run added submissions to it"
        return "no outcome waits for an operator"

    def carry_out(self, db: Database, *, by: str, made_at: datetime, now: datetime) -> int:
        """Applies the decision. Returns how many outcomes or submissions it decided. The decision does not
        apply to outcomes and submissions that began to wait after `made_at`.
        """
        decide = VERBS[self.verb]
        return decide(db, self.account, by=by, reason=self.reason, made_at=made_at, now=now)
