"""An operator's decision about the waiting outcomes of an account.

<account> confirm_outcomes <reason>     the outcomes are right: the requests may close
<account> discard_outcomes <reason>     the outcomes are wrong, and the account is repaired: send again
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from include.dsar.ledger import outcome_breaker
from include.dsar.ledger.database import Database

VERBS = {"confirm_outcomes": outcome_breaker.confirm, "discard_outcomes": outcome_breaker.discard}


@dataclass(frozen=True)
class OutcomeDecision:
    """One decision line."""

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

    def carry_out(self, db: Database, *, by: str, made_at: datetime, now: datetime) -> int:
        """Applies the decision. Returns how many outcomes it decided. Outcomes that ended after `made_at`
        continue to wait.
        """
        decide = VERBS[self.verb]
        return decide(db, self.account, by=by, reason=self.reason, made_at=made_at, now=now)
