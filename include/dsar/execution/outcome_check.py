"""Checks the outcomes of an account at the end of a stage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import psycopg

from include.dsar.errors import OperatorActionRequired
from include.dsar.execution.account_work import AccountWork
from include.dsar.ledger.outcome_breaker import MIN_HISTORY, Share, Unconfirmed, hold_implausible
from include.dsar.model import State

WAITING = (
    "{account}: {waiting} wait for an operator, and their requests stay open. Of {total} outcomes of open "
    "requests, {others} are not `completed`. {usual} Check that connection {connection} belongs to the right "
    "app, partner and environment: a wrong but valid key gives such answers to all calls. Then trigger "
    "dsar_daily with one of these decisions: `{account} discard_outcomes <reason>` to send them again, or "
    "`{account} confirm_outcomes <reason>` if they are right."
)


@asynccontextmanager
async def outcomes_checked(work: AccountWork) -> AsyncIterator[None]:
    """Holds implausible outcomes of the account when the block ends, even if the block raises an error.

    Raises OperatorActionRequired if outcomes wait and the block raised no error.
    """
    try:
        yield
    except Exception:
        with suppress(psycopg.Error):  # the error of the block says more
            await _hold(work)
        raise
    for unconfirmed in await _hold(work):
        raise OperatorActionRequired(waiting_text(unconfirmed, work.settings.connection))


async def _hold(work: AccountWork) -> list[Unconfirmed]:
    breakers = {work.account: work.settings.breaker}
    return await work.ledger(hold_implausible, breakers, account=work.account, now=work.clock())


def waiting_text(unconfirmed: Unconfirmed, connection: str) -> str:
    """Returns a text for the operator: the counts, the usual counts, what to check and how to decide."""
    return WAITING.format(
        account=unconfirmed.account,
        connection=connection,
        waiting=_counts(unconfirmed.waiting),
        total=unconfirmed.seen.total,
        others=unconfirmed.seen.others,
        usual=_usual(unconfirmed.usual),
    )


def _usual(usual: Share) -> str:
    if usual.total < MIN_HISTORY:
        return "The account has no history to compare with."
    return f"The usual share is {usual.value:.0%} (of the last {usual.total:,} outcomes)."


def _counts(waiting: Mapping[State, int]) -> str:
    return " and ".join(f"{n:,} outcomes `{state}`" for state, n in waiting.items())
