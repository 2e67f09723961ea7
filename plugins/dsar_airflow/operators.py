"""The stages as Airflow operators. Each operator opens its stage's connections and returns its counts.

The stages are imported inside the methods, so that parsing a DAG loads neither pandas nor an HTTP client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from dsar_airflow.params import RunParams
from dsar_airflow.time_limits import says_what_it_waits_for, within_limit
from include.dsar.accounts import WHOLE, Shard

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.dsar.execution.account_work import AccountWork

Counts = dict[str, Any]


class IntakeOperator(BaseOperator):
    """Reads the pending rows of the source and plans their submissions."""

    ui_color = "#e8f0fe"

    @says_what_it_waits_for
    def execute(self, context: Context) -> Counts:
        from dsar_airflow.connections.ledger import hash_key, ledger
        from dsar_airflow.connections.source import source
        from include.accounts import ACCOUNTS, PHONE_REGION, VOLUME
        from include.dsar.errors import OperatorActionRequired
        from include.dsar.intake.decisions import Decision, decide, to_retry
        from include.dsar.intake.rows import Rules
        from include.dsar.stages.intake import Intake
        from include.regulations import REGULATIONS

        params = RunParams.of(context)
        decisions = [Decision.parse(line) for line in params.decisions]
        made_at = context["dag_run"].run_after
        self.log.info("intake: reading the source with include/sql/pending_requests.sql")
        with ledger(migrate=True) as db, source() as table:
            intake = Intake(
                db,
                table,
                Rules(ACCOUNTS, PHONE_REGION, hash_key(db), REGULATIONS),
                request_ids=params.request_ids,
                dry_run=params.dry_run,
                retry_failed=params.retry_failed,
                volume=VOLUME,
                retry_ids=() if params.dry_run else to_retry(db, decisions, made_at=made_at),
            )
            counts = asdict(intake.run())
            unknown = counts.pop("unknown")
            if not params.dry_run:
                now = datetime.now(UTC)
                counts["decided"] = decide(db, decisions, by=_operator(context), now=now, made_at=made_at)
            elif decisions:
                n = len(decisions)
                self.log.warning(
                    "dry run: %d %s not applied", n, "decision is" if n == 1 else "decisions are"
                )
        wanted = params.accounts or [account.name for account in ACCOUNTS]
        would_send, would_wait = (
            {name: found.get(name, {}) for name in wanted}
            for found in (counts.pop("would_send"), counts.pop("would_wait"))
        )
        if params.dry_run:
            for account, actions in would_send.items():
                self.log.info("dry run: %s would be sent: %s", account, _in_words(actions))
                if held := would_wait[account]:
                    self.log.warning("dry run: %s would be on hold: %s", account, _in_words(held))
        self.log.info("intake: %s", ", ".join(f"{k}: {v}" for k, v in counts.items()))
        if unknown:
            raise OperatorActionRequired(
                "these request_ids are neither pending in the source nor in the ledger: "
                f"{', '.join(unknown)}. The other requests of the run are processed"
            )
        if not params.dry_run:
            would_send = would_wait = {}
        return {**counts, "would_send": would_send, "would_wait": would_wait}


def _in_words(actions: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {action}" for action, n in sorted(actions.items())) or "nothing"


def _operator(context: Context) -> str:
    """Returns who triggered the run, for the event log."""
    run = context["dag_run"]
    return f"{run.triggering_user_name or 'unknown user'} in run {run.run_id}"


class AccountOperator(BaseOperator):
    """Runs a stage on one account, or on one shard of it."""

    ui_color = "#e6f4ea"

    def __init__(self, *, account: str, shard: Sequence[int] = WHOLE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.account, self.shard = account, Shard(*shard)

    @says_what_it_waits_for
    def execute(self, context: Context) -> Counts:
        return asyncio.run(within_limit(self, self._run(context)))

    async def _run(self, context: Context) -> Counts:
        from dsar_airflow.connections.account_work import account_work
        from dsar_airflow.metrics import counting_calls

        params = RunParams.of(context)
        params.skip_unless_wanted(self.account)
        async with account_work(self.account, shard=self.shard, request_ids=params.request_ids) as work:
            with counting_calls(work):
                return asdict(await self.run_stage(work))

    async def run_stage(self, work: AccountWork) -> Any:
        raise NotImplementedError


class SubmitOperator(AccountOperator):
    """Sends the planned submissions."""

    async def run_stage(self, work: AccountWork) -> Any:
        from include.dsar.stages.submit import submit

        return await submit(work)


class CollectOperator(AccountOperator):
    """Downloads the results into storage."""

    async def run_stage(self, work: AccountWork) -> Any:
        from dsar_airflow.connections.storage import storage
        from include.dsar.stages.collect import collect

        return await collect(work, await asyncio.to_thread(storage))


class PackageOperator(BaseOperator):
    """Writes receipts and packages, closes the requests (or those of one shard), and updates the source."""

    ui_color = "#fef7e0"

    def __init__(self, *, shard: Sequence[int] = WHOLE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard = Shard(*shard)

    @says_what_it_waits_for
    def execute(self, context: Context) -> Counts:
        from dsar_airflow.connections.ledger import ledger, only
        from dsar_airflow.connections.seal import seal
        from dsar_airflow.connections.source import source
        from dsar_airflow.connections.storage import storage
        from include.accounts import ACCOUNTS
        from include.dsar.stages.package import Package
        from include.regulations import REGULATIONS

        params = RunParams.of(context)
        params.skip_unless_real()
        with ledger() as db, source() as table:
            place = storage()
            self.log.info("package: writing the packages of ended requests to %s", place.uri("requests"))
            limits = {account.name: account.breaker for account in ACCOUNTS}
            package = Package(
                db,
                table,
                place,
                only(db, params.request_ids),
                seal(db),
                self.shard,
                breakers=limits,
                regulations=REGULATIONS,
            )
            counts = asdict(package.run())
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {"uri": place.uri("requests"), **counts}
        return counts


class ReportOperator(BaseOperator):
    """Writes the register of the day. The task fails if an operator must act."""

    ui_color = "#fef7e0"

    @says_what_it_waits_for
    def execute(self, context: Context) -> Counts:
        from dsar_airflow.connections.accounts import held_accounts
        from dsar_airflow.connections.ledger import ledger
        from dsar_airflow.connections.storage import storage
        from dsar_airflow.metrics import gauge_run
        from include.accounts import ACCOUNTS
        from include.dsar.errors import OperatorActionRequired
        from include.dsar.stages.report import Report

        params = RunParams.of(context)
        if params.dry_run and (red := _red_tasks(context)):
            # A skipped last task would make the run successful.
            raise OperatorActionRequired("\n".join(red))
        params.skip_unless_real()
        since = context["dag_run"].run_after
        accounts = [account.name for account in ACCOUNTS]
        with ledger() as db:
            gauge_run(db, accounts, since=since)
            report = Report(
                db,
                storage(),
                run_after=since,
                accounts=accounts,
                held=held_accounts(),
                connections={account.name: account.connection for account in ACCOUNTS},
            )
            to_do = [*_ended_runs(context), *_red_tasks(context), *_bad_rows(context), *report.run()]
            report.mark_reported()
        if to_do:
            raise OperatorActionRequired(
                "An operator must act:\n" + "\n".join(f"- {sentence}" for sentence in to_do)
            )
        self.log.info("report: nothing needs manual action")
        return {"to_do": 0}


def _red_tasks(context: Context) -> Sequence[str]:
    """Returns one sentence for each task instance of this run that failed."""
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
    red = [name for name, state in states.items() if state == "failed" and name != ti.task_id]
    return [
        f"Task {_with_shard(name, context['dag'].task_dict)} failed. Fix what its log says, then clear it."
        for name in sorted(red)
    ]


def _ended_runs(context: Context) -> Sequence[str]:
    """Returns a sentence for each earlier run that Airflow ended before its report.

    At the time limit of a run, Airflow sets its unfinished tasks to skipped. Unlike a task that skips
    itself, such a task has no duration.
    """
    ti: Any = context["ti"]
    run, found = context["dag_run"], []
    before = ti.get_previous_ti(logical_date=run.logical_date or run.run_after)
    while before and before.state == "skipped":
        if ti.get_dagrun_state(ti.dag_id, before.run_id) == "failed":
            tasks = [
                task["task_id"]
                for task in ti.get_task_breadcrumbs(ti.dag_id, before.run_id)
                if task["state"] == "skipped" and task["duration"] is None
            ]
            found.append(
                f"Run {before.run_id} was ended before its report, by its time limit or by an operator. "
                f"These tasks were unfinished: {', '.join(dict.fromkeys(tasks))}. This run continued their "
                "work. Read their logs to see what they waited for."
            )
        before = ti.get_previous_ti(logical_date=before.logical_date)
    return found


def _with_shard(name: str, tasks: Mapping[str, object]) -> str:
    """Returns the id of a mapped task with its shard: `<task>_<map index>` becomes `<task> (shard 1)`."""
    if name in tasks:
        return name
    task, _, index = name.rpartition("_")
    return f"{task} (shard {int(index) + 1})"


BAD_ROWS = {
    "changed": "The source has {rows} that changed after the request was accepted. The change is ignored. "
    "The log of intake has the ids. If you need the change, add a row with a new request_id.",
    "repeated": "The source has {rows} with the request_id and content of an earlier row. Each request was "
    "accepted once. The log of intake has the ids. Make request_id a unique key.",
}


def _bad_rows(context: Context) -> Sequence[str]:
    counts: Counts = context["ti"].xcom_pull(task_ids="intake") or {}
    return [
        sentence.format(rows=f"{count:,} row{'s' if count > 1 else ''}")
        for kind, sentence in BAD_ROWS.items()
        if (count := counts.get(kind))
    ]
