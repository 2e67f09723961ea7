"""An account is one configured instance of a vendor. Its settings come from its connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, NamedTuple

from include.dsar.model import IdentityKind

NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
MAX_SHARDS = 64


class Shard(NamedTuple):
    """One of the task instances that share the work of an account. `of` is the number of these instances."""

    number: int  # from 1
    of: int

    def __str__(self) -> str:
        return f"shard {self.number} of {self.of}"


WHOLE = Shard(1, 1)


def all_shards(count: int, setting: str) -> list[Shard]:
    """Returns the shards of a stage. Raises ValueError if `count` is not 1 to 64. The error names the
    setting.
    """
    if not 1 <= count <= MAX_SHARDS:
        raise ValueError(f"{setting} must be from 1 to {MAX_SHARDS}")
    return [Shard(number, count) for number in range(1, count + 1)]


@dataclass(frozen=True)
class OutcomeBreaker:
    """The limits for outcomes that are not `completed`. If an account has too many such outcomes, these
    outcomes wait for an operator.

    Outcomes of an account with few earlier outcomes wait if two conditions hold: there are at least
    `min_count` outcomes, and a share of at least `max_share` is not `completed`. For an account with a
    longer history, the usual share of the account replaces `max_share`. Raises ValueError if a number is not
    valid.
    """

    min_count: int = 20
    max_share: float = 0.9

    def __post_init__(self) -> None:
        if self.min_count < 1:
            raise ValueError("min_count must be at least 1")
        if not 0 < self.max_share <= 1:
            raise ValueError("max_share must be above 0 and at most 1")


@dataclass(frozen=True)
class StuckBatches:
    """The limits for batches that do not end. One data subject may keep all other data subjects of a batch
    waiting.

    A batch that is older than `times_usual` times the usual time of the account is sent again in smaller
    batches. `max_hours` limits this age. If a request in the batch is due within `near_due_days`, the usual
    time itself is the limit. `usual_hours` is the usual time of an account without a history. For any other
    account, it is the lower limit of the usual time. Raises ValueError if a number is not valid.
    """

    usual_hours: float = 1
    times_usual: float = 10
    max_hours: float = 20  # so that a daily run finds a batch of the run before
    near_due_days: float = 7

    def __post_init__(self) -> None:
        if not 0 < self.usual_hours <= self.max_hours:
            raise ValueError("usual_hours must be above 0, and max_hours at least usual_hours")
        if self.times_usual < 1 or self.near_due_days < 0:
            raise ValueError("times_usual must be at least 1, and near_due_days at least 0")

    @property
    def usual(self) -> timedelta:
        return timedelta(hours=self.usual_hours)

    @property
    def longest(self) -> timedelta:
        return timedelta(hours=self.max_hours)

    @property
    def near_due(self) -> timedelta:
        return timedelta(days=self.near_due_days)


@dataclass(frozen=True)
class VolumeLimit:
    """The number of new submissions per account, action and UTC day above which an operator must approve
    them. The usual number is the number of the third busiest day of the last 30 days. More than `times`
    the usual number needs an approval. Up to `at_least` submissions never need one. If the account has
    had this action for less than 30 days, up to `without_history` submissions need no approval. A
    question waits `answer_hours` for an answer. Raises ValueError if a number is not valid.
    """

    times: float = 3.0
    at_least: int = 100
    without_history: int = 1000
    answer_hours: float = 12.0

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ValueError("times must be at least 1")
        if not 0 <= self.at_least <= self.without_history:
            raise ValueError("at_least must be at least 0, and at most without_history")
        if not 0 < self.answer_hours <= 20:
            raise ValueError("answer_hours must be above 0 and at most 20")


@dataclass(frozen=True)
class Account:
    """One line of `include/accounts.py`.

    `name` appears in the DAG, in receipts and in the ledger. Do not rename an account that has open
    requests. `identities` are the kinds of identifiers that this account holds. The default is the
    vendor's own list. An account with `()` finishes its open jobs and gets no new jobs.
    `shards` is the number of task instances for each stage of the account. They share the account's
    rate: more shards do not send more calls per second.
    `breaker` says which outcomes are implausible and wait for an operator.
    `stuck_batches` says when a batch that does not end is sent again in smaller batches.
    Raises ValueError if a name or a number is not valid.
    """

    name: str
    vendor: str
    connection: str = ""
    identities: tuple[IdentityKind, ...] | None = None
    shards: int = 1
    breaker: OutcomeBreaker = OutcomeBreaker()
    stuck_batches: StuckBatches = StuckBatches()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"account name {self.name!r}: use lower-case letters, digits and _ only")
        all_shards(self.shards, f"account {self.name}: shards")
        if not self.connection:
            object.__setattr__(self, "connection", f"{self.name}_default")


@dataclass(frozen=True)
class AccountSettings:
    """The settings of an account that a call needs. `vendors.settings()` makes them from the account's
    connection.
    """

    account: str
    vendor: str
    connection: str
    base_url: str = field(repr=False)
    secret: str = field(repr=False)
    requests_per_second: float
    max_concurrency: int
    users_per_call: int
    daily_quota: int | None
    poll_min_seconds: float
    poll_max_seconds: float
    give_up_after_days: float
    on_uncertain: str
    breaker: OutcomeBreaker = OutcomeBreaker()
    stuck_batches: StuckBatches = StuckBatches()
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)  # the vendor's own, by name

    def share(self, shard: Shard) -> AccountSettings:
        """Returns the settings of one shard: its part of the account's rate and concurrency.

        Each shard may make at least one call at a time. If the vendor asks for fewer calls (by a 429 or
        Retry-After), only the shard that got this reply slows down. Each other shard slows down when it
        gets a 429 or Retry-After itself.
        """
        each, left = divmod(self.max_concurrency, shard.of)
        return replace(
            self,
            requests_per_second=self.requests_per_second / shard.of,
            max_concurrency=max(each + (shard.number <= left), 1),
        )
