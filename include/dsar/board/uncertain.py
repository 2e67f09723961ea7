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
    """The uncertain submissions of one kind of identity."""

    identity: str
    submissions: int
    one_job: bool  # whether an operator can name the job that stands for all of them


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
    counts = Counter(each.identity for each in uncertain)
    # If a vendor accepts one submission per call, a decision cannot tell which of several a job is for.
    together = vendor(uncertain[0].vendor).users_per_call > 1
    kinds = [UncertainKind(kind, n, one_job=n == 1 or together) for kind, n in sorted(counts.items())]
    return UncertainAccount(account, next_step, kinds)
