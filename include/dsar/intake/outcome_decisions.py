"""What an operator decides about the outcomes of an account that wait.

<account> confirm_outcomes <reason>     they are right: their requests may close
<account> discard_outcomes <reason>     they are wrong, and the account is repaired: send again
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from include.dsar.ledger import outcome_breaker
from include.dsar.ledger.database import Database

VERBS = {"confirm_outcomes": outcome_breaker.confirm, "discard_outcomes": outcome_breaker.discard}


@dataclass(frozen=True)
class OutcomeDecision:
    """One line."""

    account: str
    verb: str
    reason: str

    @classmethod
    def parse(cls, text: str) -> OutcomeDecision | None:
        """None if the line has another form."""
        match text.split(maxsplit=2):
            case [account, verb, reason] if verb in VERBS:
                return cls(account, verb, reason.strip())
        return None

    def carry_out(self, db: Database, *, by: str, made_at: datetime, now: datetime) -> int:
        """Returns the number of outcomes that were decided. Later ones than `made_at` still wait."""
        decide = VERBS[self.verb]
        return decide(db, self.account, by=by, reason=self.reason, made_at=made_at, now=now)
