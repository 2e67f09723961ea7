"""Applies an operator's decisions. A decision about uncertain submissions or a lost job has one of three
forms:

<request_id> <account> send_again [<identity>]         the vendor did not accept it
<request_id> <account> taken <job_id> [<identity>]     the vendor accepted it as this job
<request_id> <account> job_lost [<identity>]           the vendor does not have the job that it accepted

`identity` selects one of several submissions. It is a kind, such as `email`. If a request has several
identifiers of this kind, `email#2` selects the second one in the order of the source, because the ledger
shows no values. The other forms are in `outcome_decisions.py` and `item_decisions.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from include.dsar.errors import ConfigurationError
from include.dsar.intake.item_decisions import ItemDecision
from include.dsar.intake.outcome_decisions import OutcomeDecision
from include.dsar.ledger import planning, uncertain
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.ledger.uncertain import Uncertain
from include.dsar.model import State
from include.dsar.vendors import vendor

IDENTITY = re.compile(r"([a-z][a-z0-9_+]*)(?:#([1-9][0-9]*))?")


@dataclass(frozen=True)
class Decision:
    """One decision. If `job_id` is None, the submission is sent again.

    If `is_job_lost` is true, the decision is about submissions whose job has not ended, or whose result was
    not collected.
    """

    request_id: str
    account: str
    job_id: str | None
    identity: str | None = None  # None: all that are uncertain
    number: int | None = None  # None: all of this kind
    is_job_lost: bool = False

    @classmethod
    def parse(cls, text: str) -> AnyDecision:
        """Parses one line. Raises ConfigurationError if the line has another form."""
        if decision := OutcomeDecision.parse(text) or ItemDecision.parse(text):
            return decision
        match text.split():
            case [request_id, account, "send_again", *which] if _is_identity(which):
                return cls(request_id, account, None, *_identity(which))
            case [request_id, account, "taken", job_id, *which] if _is_identity(which):
                return cls(request_id, account, job_id, *_identity(which))
            case [request_id, account, "job_lost", *which] if _is_identity(which):
                return cls(request_id, account, None, *_identity(which), is_job_lost=True)
        raise ConfigurationError(
            "a decision must have the form `<request_id> <account> send_again`, "
            "`<request_id> <account> taken <job_id>` or `<request_id> <account> job_lost`, and may end with "
            "a kind of identity, such as `email` or `email#2`; or the form "
            "`<account> confirm_outcomes <reason>`, `<account> discard_outcomes <reason>` "
            "or `<account> release_volume <reason>`; or the form "
            "`<name> acknowledge <YYYY-MM-DD or always> <reason>`, `<name> dismiss <reason>`, "
            "`<name> answered <reason>` or `<name> retry <reason>`"
        )


AnyDecision = Decision | OutcomeDecision | ItemDecision


def decide(
    db: Database,
    decisions: Sequence[AnyDecision],
    *,
    by: str,
    now: datetime,
    made_at: datetime | None = None,
) -> int:
    """Applies the decisions and records their author `by`. Returns how many submissions and other
    items were decided.

    A decision applies only to items from before `made_at` (default: now): submissions that had ended, had
    become uncertain or had a job by then. The operator did not know about later items, for example if the
    run is cleared later. Raises ConfigurationError if a decision cannot be applied: the request has no
    uncertain submission or no job at the account, no outcome of the account waits, or one job is given for
    several submissions. All other decisions are applied first. The error says what to decide instead.
    """
    reconciled = 0
    impossible = []
    for decision in decisions:
        if isinstance(decision, OutcomeDecision):
            decided = decision.carry_out(db, by=by, made_at=made_at or now, now=now)
            reconciled += decided
            if not decided:
                impossible.append(f"{decision.account} ({decision.nothing_waits})")
            continue
        if isinstance(decision, ItemDecision):
            refused = decision.carry_out(db, by=by, made_at=made_at or now, now=now)
            reconciled += refused is None
            if refused:
                impossible.append(f"{decision.name} {decision.verb} ({refused})")
            continue
        where = f"{decision.request_id} at {decision.account}"
        since = " since before the run" if made_at else ""
        if decision.is_job_lost:
            states = (State.SUBMITTED, State.READY)
            moved = sum(_send_again(db, decision, state, by, now, made_at) for state in states)
            reconciled += moved
            if not moved:
                impossible.append(f"{where} (no submission has a job{since})")
            continue
        held = _held(db, decision, State.UNCERTAIN, made_at)
        if decision.job_id is not None and _is_one_of_several(held):
            which = ", ".join(one.label for one in held)
            impossible.append(
                f"{where} ({len(held)} are uncertain, and one job can belong to only one of them: "
                f"add one of {which})"
            )
            continue
        moves = [_move(decision, one.submission, by) for one in held]
        found = move(db, moves, leave=State.UNCERTAIN, now=now)
        reconciled += len(found)
        if not found:
            impossible.append(f"{where} (no submission is uncertain{since})")
    if impossible:
        raise ConfigurationError(f"these decisions could not be carried out: {', '.join(impossible)}")
    return reconciled


def _held(db: Database, decision: Decision, state: State, made_at: datetime | None) -> list[Uncertain]:
    """Returns the submissions in this state that the decision selects."""
    return uncertain.undecided(
        db,
        decision.request_id,
        decision.account,
        decision.identity,
        number=decision.number,
        until=made_at,
        state=state,
    )


def _send_again(
    db: Database, decision: Decision, state: State, by: str, now: datetime, made_at: datetime | None
) -> int:
    """Plans the submissions of lost jobs again. Returns the number of these submissions."""
    reason = f"decided by {by}: the vendor does not have the job, send again"
    moves = [Move(one.submission, State.PLANNED, reason) for one in _held(db, decision, state, made_at)]
    return len(move(db, moves, leave=state, now=now))


def to_retry(db: Database, decisions: Sequence[AnyDecision], *, made_at: datetime) -> set[str]:
    """Returns the ids of the closed requests that an operator wants to retry. Their identifiers are erased,
    so intake must read their rows again. A request that was closed after `made_at` is left out.
    """
    wanted = [d.name for d in decisions if isinstance(d, ItemDecision) and d.verb == "retry"]
    return planning.closed_until(db, wanted, until=made_at)


def _is_one_of_several(held: Sequence[Uncertain]) -> bool:
    """Returns whether there are several submissions but the vendor accepts only one submission per call.
    Then one job cannot belong to all of them.
    """
    return len(held) > 1 and vendor(held[0].vendor).users_per_call == 1


def _is_identity(words: Sequence[str]) -> bool:
    return not words or (len(words) == 1 and IDENTITY.fullmatch(words[0]) is not None)


def _identity(words: Sequence[str]) -> tuple[str | None, int | None]:
    """Returns the kind and the number that the last word of a decision selects."""
    if not words:
        return None, None
    found = IDENTITY.fullmatch(words[0])
    assert found is not None
    return found[1], int(found[2]) if found[2] else None


def _move(decision: Decision, submission: int, by: str) -> Move:
    if decision.job_id is None:
        return Move(submission, State.PLANNED, f"decided by {by}: the vendor did not accept it, send again")
    return Move(
        submission, State.SUBMITTED, f"decided by {by}: the vendor accepted it", job_id=decision.job_id
    )
