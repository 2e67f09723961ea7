"""What a person decides about submissions of which nobody knows whether the vendor took them.

<request_id> <account> send_again         the vendor did not take it
<request_id> <account> taken <job_id>     the vendor took it, as this job
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from include.dsar.errors import ConfigurationError
from include.dsar.ledger import submitting
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import State


@dataclass(frozen=True)
class Decision:
    """One line. `job_id` is None where the submission is to be sent again."""

    request_id: str
    account: str
    job_id: str | None

    @classmethod
    def parse(cls, text: str) -> Decision:
        """Raises ConfigurationError for a line of another form."""
        match text.split():
            case [request_id, account, "send_again"]:
                return cls(request_id, account, None)
            case [request_id, account, "taken", job_id]:
                return cls(request_id, account, job_id)
        raise ConfigurationError(
            "a decision has the form `<request_id> <account> send_again` "
            "or `<request_id> <account> taken <job_id>`"
        )


def decide(db: Database, decisions: Sequence[Decision], *, by: str, now: datetime) -> int:
    """Carries the decisions out, each with `by` on record. Returns how many submissions they settled.

    Raises ConfigurationError where nothing is uncertain at that request and account; the others are
    carried out all the same.
    """
    settled = 0
    vain = []
    for decision in decisions:
        ids = submitting.uncertain(db, decision.request_id, decision.account)
        moved = move(db, [_move(decision, one, by) for one in ids], leave=State.UNCERTAIN, now=now)
        settled += len(moved)
        if not moved:
            vain.append(f"{decision.request_id} at {decision.account}")
    if vain:
        raise ConfigurationError(
            f"nothing is uncertain, so there is nothing to decide, for {', '.join(vain)}"
        )
    return settled


def _move(decision: Decision, submission: int, by: str) -> Move:
    if decision.job_id is None:
        return Move(submission, State.PLANNED, f"decided by {by}: not taken, send again")
    return Move(submission, State.SUBMITTED, f"decided by {by}: taken", job_id=decision.job_id)
