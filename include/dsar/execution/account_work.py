"""The arguments of every stage that works on one account."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from include.dsar.accounts import WHOLE, AccountSettings, Shard
from include.dsar.errors import ConfigurationError, CredentialsRefused
from include.dsar.execution.observed_replies import ObservedReplies
from include.dsar.ledger.database import Database
from include.dsar.vendors.vendor import Vendor

if TYPE_CHECKING:
    from include.dsar.http.client import Client

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class AccountWork:
    """One account, or one shard of it, with its ledger, vendor and client.

    `request_pks` limits the run to the requests with these ledger ids. None means all requests. `settings`
    are the shard's part of the account's settings.
    """

    db: Database
    vendor: Vendor
    settings: AccountSettings
    client: Client
    request_pks: Sequence[int] | None = None
    shard: Shard = WHOLE
    replies: ObservedReplies = field(default_factory=ObservedReplies, repr=False)
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    @property
    def account(self) -> str:
        return self.settings.account

    async def ledger(
        self, function: Callable[Concatenate[Database, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Runs a ledger function in a thread, so that it does not block the event loop."""
        return await asyncio.to_thread(function, self.db, *args, **kwargs)

    @contextmanager
    def naming_the_connection(self) -> Iterator[None]:
        """Adds the name of the connection to a ConfigurationError."""
        try:
            yield
        except CredentialsRefused as error:
            raise CredentialsRefused(
                f"{self.account}: the vendor refused our credentials ({error}). "
                f"Fix the secret in Password of connection {self.settings.connection}, then clear this task."
            ) from None
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{self.account}: {error}. Fix connection {self.settings.connection}, then clear this task."
            ) from None
