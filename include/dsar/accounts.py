"""An account: one configured instance of a vendor, and the settings that its connection gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from include.dsar.model import IdentityKind

NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


@dataclass(frozen=True)
class Account:
    """One line of `include/accounts.py`.

    `name` stands in the DAG, in receipts and in the ledger: do not rename an account that has open
    requests. `identities` are the kinds of identifiers that this account holds; by default the
    vendor's own. Raises ValueError where a name does not fit.
    """

    name: str
    vendor: str
    connection: str = ""
    identities: tuple[IdentityKind, ...] | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"account name {self.name!r}: lower-case letters, digits and _ only")
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
