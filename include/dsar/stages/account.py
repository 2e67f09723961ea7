"""What every stage that works on one account is given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from include.dsar.accounts import WHOLE, AccountSettings, Shard
from include.dsar.errors import ConfigurationError, CredentialsRefused
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move
from include.dsar.vendors.vendor import Vendor

if TYPE_CHECKING:
    from include.dsar.client import Client

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class AccountWork:
    """One account or a shard of it, the ledger, and which requests this run is limited to (ledger ids;
    None: all). `settings` are the shard's share."""

    db: Database
    vendor: Vendor
    settings: AccountSettings
    client: Client
    requests: Sequence[int] | None = None
    shard: Shard = WHOLE
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    @property
    def account(self) -> str:
        return self.settings.account

    async def ledger(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a statement of the ledger without holding up the event loop."""
        return await asyncio.to_thread(function, *args, **kwargs)

    @contextmanager
    def naming_the_connection(self) -> Iterator[None]:
        """Refused credentials become a sentence that says which connection to mend."""
        try:
            yield
        except CredentialsRefused as error:
            raise CredentialsRefused(
                f"{self.account}: the vendor refused our credentials ({error}). "
                f"Mend the secret in Password of connection {self.settings.connection}, then clear this task."
            ) from None
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{self.account}: {error}. Mend connection {self.settings.connection}, then clear this task."
            ) from None


class Refusals:
    """Calls that the vendor refused for our credentials or the route.

    Several in a row are the account's trouble. Fewer may be one request's own (a firewall before the
    vendor's API answers 403 to what it takes for an attack), which must not stop the others.
    """

    IN_A_ROW = 3

    def __init__(self) -> None:
        self.first: ConfigurationError | None = None  # what the stage ends with
        self._in_a_row = 0

    def add(self, error: ConfigurationError) -> None:
        """Raises the error where no further call shall be made."""
        self.first = self.first or error
        self._in_a_row += 1
        if self._in_a_row >= self.IN_A_ROW:
            raise error

    def answered(self) -> None:
        """A call went through: whatever was refused, it was not the account."""
        self._in_a_row = 0


class Recorder:
    """Writes moves to the ledger in batches, soon after they are known.

    A task of its own writes, so that nothing is broken off with whoever added it.
    """

    SIZE = 200
    DELAY = 0.25  # seconds that a move waits for others at most

    def __init__(self, write: Callable[[list[Move]], Awaitable[None]]) -> None:
        self._write = write
        self._moves: list[Move] = []
        self._enough = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def add(self, moves: Sequence[Move]) -> None:
        """Takes moves to be written within DELAY. Raises what an earlier write has raised."""
        self._moves += moves
        if len(self._moves) >= self.SIZE:
            self._enough.set()
        if self._writer and self._writer.done():
            self._writer.result()
            self._writer = None
        if self._moves and self._writer is None:
            self._writer = asyncio.create_task(self._write_soon())

    async def close(self) -> None:
        """Returns when all that was added is in the ledger; what could not be written is tried once more."""
        self._enough.set()
        if self._writer:
            await asyncio.gather(self._writer, return_exceptions=True)
        await self._write_known()

    async def _write_soon(self) -> None:
        while self._moves:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._enough.wait(), self.DELAY)
            self._enough.clear()
            await self._write_known()

    async def _write_known(self) -> None:
        """What is there by now: what is added meanwhile waits for others again, else each write would
        take along only the few that came during the one before."""
        left = len(self._moves)
        while left > 0:
            batch = self._moves[: min(left, self.SIZE)]
            await self._write(batch)
            del self._moves[: len(batch)]
            left -= len(batch)
