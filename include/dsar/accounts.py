"""An account: one configured instance of a vendor, and the settings that its connection gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from include.dsar.model import IdentityKind

NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
MOST_SHARDS = 64


class Shard(NamedTuple):
    """One of the task instances over which the work of an account is spread. They share its rate."""

    number: int  # from 1
    of: int

    def __str__(self) -> str:
        return f"shard {self.number} of {self.of}"


WHOLE = Shard(1, 1)


def all_shards(count: int, setting: str) -> list[Shard]:
    """The shards of a stage. Raises ValueError, which names the setting, if the count is not 1 to 64."""
    if not 1 <= count <= MOST_SHARDS:
        raise ValueError(f"{setting} must be from 1 to {MOST_SHARDS}")
    return [Shard(number, count) for number in range(1, count + 1)]


@dataclass(frozen=True)
class Account:
    """One line of `include/accounts.py`.

    `name` stands in the DAG, in receipts and in the ledger: do not rename an account that has open
    requests. `identities` are the kinds of identifiers that this account holds; by default the
    vendor's own; with `()` it only ends what it has. `shards` is the number of task instances over
    which each of its stages is spread; they share the account's rate, so more of them make no account
    faster than its vendor allows.
    Raises ValueError where a name or a number does not fit.
    """

    name: str
    vendor: str
    connection: str = ""
    identities: tuple[IdentityKind, ...] | None = None
    shards: int = 1

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"account name {self.name!r}: lower-case letters, digits and _ only")
        all_shards(self.shards, f"account {self.name}: shards")
        if not self.connection:
            object.__setattr__(self, "connection", f"{self.name}_default")


Seconds = Annotated[float, Field(gt=0, le=30 * 86_400)]


class AccountSettings(BaseModel):
    """What a call to an account needs, resolved from its connection.

    Everything after `secret` stands in the connection's Extra; None means the vendor's own value.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False)

    account: str
    vendor: str
    connection: str
    base_url: str = Field(repr=False)
    secret: SecretStr
    partner_id: str | None = Field(default=None, repr=False)
    api_key: SecretStr | None = None
    reply_to_email: str | None = Field(default=None, repr=False)
    requests_per_second: Annotated[float, Field(gt=0, le=1000)]
    max_concurrency: Annotated[int, Field(ge=1, le=256)]
    users_per_call: Annotated[int, Field(ge=1, le=10_000)]
    daily_quota: Annotated[int, Field(ge=1)] | None
    poll_min_seconds: Seconds
    poll_max_seconds: Seconds
    give_up_after_days: Annotated[float, Field(gt=0, le=3650)]
    on_uncertain: str

    def share(self, shard: Shard) -> AccountSettings:
        """What one shard may do, so that all together keep the account's rate and concurrency.

        At least one call at a time each. What a vendor asks for (429, Retry-After) slows down the shard
        that it was told; the others are told with their own next calls.
        """
        each, left = divmod(self.max_concurrency, shard.of)
        return self.model_copy(
            update={
                "requests_per_second": self.requests_per_second / shard.of,
                "max_concurrency": max(each + (shard.number <= left), 1),
            }
        )
