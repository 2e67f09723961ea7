"""The decisions that an operator can make about the uncertain submissions of a request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from include.dsar.board.site import NextStep, Site
from include.dsar.ledger.board.one_request import Submission
from include.dsar.model import State
from include.dsar.vendors import vendor


@dataclass(frozen=True)
class UncertainKind:
    """Uncertain submissions that share one decision: a single submission, or all submissions of one kind."""

    identity: str  # such as `email`, or `email#2` for the second of several
    submissions: int

    @property
    def is_numbered(self) -> bool:
        return "#" in self.identity


@dataclass(frozen=True)
class UncertainAccount:
    """The uncertain submissions of a request at one account."""

    account: str
    next_step: NextStep
    kinds: Sequence[UncertainKind] = ()  # only if an operator can decide now

    @property
    def submissions(self) -> int:
        return sum(kind.submissions for kind in self.kinds)


def uncertain_accounts(site: Site, submissions: Sequence[Submission]) -> list[UncertainAccount]:
    """Returns the accounts of a request that have uncertain submissions, sorted by name."""
    found: dict[str, list[Submission]] = {}
    for each in submissions:
        if each.state == State.UNCERTAIN:
            found.setdefault(each.account, []).append(each)
    return [_account(site, account, uncertain) for account, uncertain in sorted(found.items())]


def _account(site: Site, account: str, uncertain: Sequence[Submission]) -> UncertainAccount:
    next_step = site.next_step(account, is_stuck=any(each.is_stuck for each in uncertain))
    if next_step not in (NextStep.HELD, NextStep.STUCK):
        return UncertainAccount(account, next_step)
    # If a vendor accepts one submission per call, each has a job of its own.
    together = vendor(uncertain[0].vendor).users_per_call > 1
    counts = Counter(each.identity if together else each.label for each in uncertain)
    kinds = [UncertainKind(kind, n) for kind, n in sorted(counts.items())]
    return UncertainAccount(account, next_step, kinds)
