"""The tasks of `dsar_upkeep` as Airflow operators. The stages are imported inside the methods."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from dsar_airflow.operators import Counts
from dsar_airflow.time_limits import says_what_it_waits_for, within_limit

if TYPE_CHECKING:
    from airflow.sdk import Context

PROBE = "probe_contract"


class ProbeContractOperator(BaseOperator):
    """Compares the API of one account with what its vendor's module declares."""

    ui_color = "#e6f4ea"

    def __init__(self, *, account: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.account = account

    @says_what_it_waits_for
    def execute(self, context: Context) -> Counts:
        return asyncio.run(within_limit(self, self._run()))

    async def _run(self) -> Counts:
        from dsar_airflow.connections.account_work import account_work
        from dsar_airflow.connections.ledger import LEDGER, ledger_conninfo
        from dsar_airflow.connections.lookup import aget
        from dsar_airflow.metrics import counting_calls
        from include.dsar.ledger import database
        from include.dsar.stages.contract import probe_contract

        info = ledger_conninfo(await aget(LEDGER))
        with database.without_rows():  # this DAG may run before the first intake of a new version
            await asyncio.to_thread(database.migrate, info)
        async with account_work(self.account) as work:
            with counting_calls(work):
                return asdict(await probe_contract(work))


class UpkeepSummaryOperator(BaseOperator):
    """Says for each account when its API was compared. The task fails if an operator must act."""

    ui_color = "#fef7e0"

    @says_what_it_waits_for
    def execute(self, context: Context) -> Counts:
        from dsar_airflow.connections.ledger import ledger
        from include.accounts import ACCOUNTS
        from include.dsar.errors import OperatorActionRequired
        from include.dsar.ledger.reply_shapes import checks
        from include.dsar.stages.contract import drift_text

        names = [account.name for account in ACCOUNTS]
        connections = {account.name: account.connection for account in ACCOUNTS}
        with ledger() as db:
            found = checks(db, names)
        to_do, drifted = [], set()
        for check in found:
            self.log.info("%s: compared at %s", check.account, f"{check.checked_at:%Y-%m-%d %H:%M} UTC")
            if check.drift and check.checked_at >= context["dag_run"].run_after:
                drifted.add(check.account)
                to_do.append(drift_text(check.account, check.drift, connections[check.account]))
        to_do += _red_tasks(context, names, without=drifted)
        if to_do:
            raise OperatorActionRequired("An operator must act:\n" + "\n".join(f"- {one}" for one in to_do))
        self.log.info("upkeep: nothing needs manual action")
        return {"compared": len(found), "to_do": 0}


def _red_tasks(context: Context, accounts: Sequence[str], *, without: set[str]) -> list[str]:
    """Returns one sentence for each other task instance of this run that failed."""
    ti = context["ti"]
    states: Mapping[str, str] = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
    # Airflow names a mapped task instance `<task>_<map index>`.
    probes = {f"{PROBE}_{index}": account for index, account in enumerate(accounts)}
    red = [name for name, state in sorted(states.items()) if state == "failed" and name != ti.task_id]
    return [
        f"Task {f'{PROBE} of {probes[name]}' if name in probes else name} failed. Fix what its log says, "
        "then clear it."
        for name in red
        if probes.get(name) not in without
    ]
