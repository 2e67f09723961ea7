"""The trigger that polls the open jobs of one account, or of one shard of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib import import_module
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from include.dsar.accounts import WHOLE, Shard

ENDED, REFUSED, WAITING = "ended", "refused", "waiting"

# An event within seconds of the deferral can reach a task that is not deferred yet. The task then fails.
SHORTEST = 10.0  # seconds


class PollTrigger(BaseTrigger):
    """Polls the open jobs of an account, or of one shard of it. Fires when the next poll would be due after
    `until`.

    All state is in the ledger, so the trigger can stop anywhere, start again, and even run twice at the
    same time. `request_pks` are ledger ids. Times are ISO 8601.
    """

    def __init__(
        self,
        *,
        account: str,
        since: str,
        until: str,
        request_pks: Sequence[int] | None,
        shard: Sequence[int] = WHOLE,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.account = account
        self.since = since
        self.until = until
        self.request_pks = None if request_pks is None else list(request_pks)
        self.shard = Shard(*shard)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "dsar_airflow.triggers.PollTrigger",
            {
                "account": self.account,
                "since": self.since,
                "until": self.until,
                "request_pks": self.request_pks,
                "shard": list(self.shard),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        clock = asyncio.get_running_loop().time
        soonest = clock() + SHORTEST
        try:
            event = await self._poll()
        except Exception:  # this fails the task, so it counts as an event
            await asyncio.sleep(soonest - clock())
            raise
        await asyncio.sleep(soonest - clock())
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _poll(self) -> dict[str, Any]:
        # In a thread: the first import takes half a second, and all triggers share the event loop.
        await asyncio.to_thread(import_module, "dsar_airflow.connections.account_work")
        from dsar_airflow.connections.account_work import account_work
        from include.dsar.errors import ConfigurationError, OperatorActionRequired
        from include.dsar.stages.poll import poll_open_jobs

        since, until = datetime.fromisoformat(self.since), datetime.fromisoformat(self.until)
        try:
            async with account_work(self.account, shard=self.shard, request_pks=self.request_pks) as work:
                try:
                    event = {"status": ENDED, **asdict(await poll_open_jobs(work, since=since, until=until))}
                except ConfigurationError as error:
                    event = _refused(error)
                except OperatorActionRequired as error:
                    event = {"status": WAITING, "message": str(error)}
                return event | {"calls": work.client.calls, "refused_calls": work.client.refused}
        except ConfigurationError as error:  # before the first call
            return _refused(error)


def _refused(error: Exception) -> dict[str, Any]:
    return {"status": REFUSED, "message": str(error)}
