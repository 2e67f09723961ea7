"""Opens everything that a stage needs for an account: its settings, its HTTP client and the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from dsar_airflow.connections.accounts import account_of, account_settings
from dsar_airflow.connections.ledger import LEDGER, ledger_conninfo
from dsar_airflow.connections.lookup import aget
from include.dsar.accounts import WHOLE, Shard
from include.dsar.errors import VendorUnavailable
from include.dsar.execution.account_work import AccountWork
from include.dsar.http.client import client
from include.dsar.ledger import database, planning
from include.dsar.ledger.database import Database
from include.dsar.vendors import vendor


@asynccontextmanager
async def account_work(
    name: str,
    *,
    shard: Shard = WHOLE,
    request_ids: Sequence[str] = (),
    request_pks: Sequence[int] | None = None,
) -> AsyncIterator[AccountWork]:
    """Opens the work on an account or one of its shards. Each connection is looked up once.

    A run can be limited to some requests, by their request ids or by their ledger ids.
    """
    account = account_of(name)
    resolved = account_settings(account, await aget(account.connection)).share(shard)
    info = ledger_conninfo(await aget(LEDGER))
    try:
        async with _session(info) as db, client(resolved) as http:
            with database.without_rows():
                if request_ids:
                    request_pks = await asyncio.to_thread(planning.request_pks_of, db, request_ids)
                yield AccountWork(db, vendor(account.vendor), resolved, http, request_pks, shard)
    except VendorUnavailable as error:
        raise VendorUnavailable(
            f"{error} If this continues, check Host, Port and Schema of connection {account.connection}, "
            "and whether the vendor has an outage."
        ) from None


@asynccontextmanager
async def _session(info: str) -> AsyncIterator[Database]:
    connecting = asyncio.ensure_future(asyncio.to_thread(database.connect, info))
    try:
        yield await asyncio.shield(connecting)
    finally:
        await asyncio.wait([connecting])  # a trigger may be cancelled while it connects
        if not connecting.exception():
            await asyncio.to_thread(connecting.result().close)
