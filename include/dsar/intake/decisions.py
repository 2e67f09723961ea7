"""What a person decides about submissions of which nobody knows whether the vendor took them.

<request_id> <account> send_again [<identity>]         the vendor did not take it
<request_id> <account> taken <job_id> [<identity>]     the vendor took it, as this job

`identity` is the kind, such as `email`, where only one of several submissions is meant. Of two of one
kind nobody here can say which one a job is (the ledger shows no values): those are sent again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from include.dsar.errors import ConfigurationError
from include.dsar.ledger import uncertain
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.ledger.uncertain import Uncertain
from include.dsar.model import State
from include.dsar.vendors import vendor


@dataclass(frozen=True)
class Decision:
    """One line. `job_id` is None where the submission is to be sent again."""

    request_id: str
    account: str
    job_id: str | None
    identity: str | None = None  # None: all that are uncertain

    @classmethod
    def parse(cls, text: str) -> Decision:
        """Raises ConfigurationError for a line of another form."""
        match text.split():
            case [request_id, account, "send_again", *identity] if len(identity) < 2:
                return cls(request_id, account, None, *identity)
            case [request_id, account, "taken", job_id, *identity] if len(identity) < 2:
                return cls(request_id, account, job_id, *identity)
        raise ConfigurationError(
            "a decision has the form `<request_id> <account> send_again` "
            "or `<request_id> <account> taken <job_id>`, and may end with a kind of identity"
        )


def decide(db: Database, decisions: Sequence[Decision], *, by: str, now: datetime) -> int:
    """Carries the decisions out, each with `by` on record. Returns how many submissions they settled.

    Raises ConfigurationError, which says what to decide instead, where nothing is uncertain at that
    request and account, or where one job is said to be that of several submissions; the others are
    carried out all the same.
    """
    settled = 0
    vain = []
    for decision in decisions:
        held = uncertain.undecided(db, decision.request_id, decision.account, decision.identity)
        where = f"{decision.request_id} at {decision.account}"
        if decision.job_id is not None and _is_one_of_several(held):
            vain.append(f"{where} ({len(held)} are uncertain, of {_instead(decision, held)})")
            continue
        moves = [_move(decision, one.submission, by) for one in held]
        moved = move(db, moves, leave=State.UNCERTAIN, now=now)
        settled += len(moved)
        if not moved:
            vain.append(f"{where} (nothing is uncertain)")
    if vain:
        raise ConfigurationError(f"these decisions could not be carried out: {', '.join(vain)}")
    return settled


def _is_one_of_several(held: Sequence[Uncertain]) -> bool:
    """Where a vendor takes one submission in a call, a job of one must not end the others."""
    return len(held) > 1 and vendor(held[0].vendor).users_per_call == 1


def _instead(decision: Decision, held: Sequence[Uncertain]) -> str:
    """Of which kinds they are, and what can be decided about them."""
    kinds = Counter(one.identity for one in held)
    told = [f"{', '.join(sorted(kinds))}: one job is one of them"]
    if single := sorted(kind for kind, n in kinds.items() if n == 1):
        told.append(f"add which: {' or '.join(single)}")
    for kind in sorted(kind for kind, n in kinds.items() if n > 1):
        again = f"{decision.request_id} {decision.account} send_again {kind}"
        told.append(f"of {kind} there are {kinds[kind]}, and nobody can say which: decide `{again}`")
    return "; ".join(told)


def _move(decision: Decision, submission: int, by: str) -> Move:
    if decision.job_id is None:
        return Move(submission, State.PLANNED, f"decided by {by}: not taken, send again")
    return Move(submission, State.SUBMITTED, f"decided by {by}: taken", job_id=decision.job_id)
