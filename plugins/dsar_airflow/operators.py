"""The stages as operators: each gets what its stage needs, runs it, and returns counts.

The stages are imported where they run, so that parsing a DAG loads neither pandas nor a client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseAsyncOperator, BaseOperator

from dsar_airflow.params import RunParams
from include.dsar.accounts import WHOLE, Shard

if TYPE_CHECKING:
    from airflow.sdk import Context

Counts = dict[str, Any]


class IntakeOperator(BaseOperator):
    """Takes in the pending rows of the source and plans their submissions."""

    ui_color = "#e8f0fe"

    def execute(self, context: Context) -> Counts:
        from dsar_airflow.connections import hash_key, ledger, source
        from include.accounts import ACCOUNTS, PHONE_REGION
        from include.dsar.intake.decisions import Decision, decide
        from include.dsar.intake.rows import Rules
        from include.dsar.stages.intake import Intake

        params = RunParams.of(context)
        decisions = [Decision.parse(line) for line in params.decisions]
        self.log.info("intake: reading the source with include/sql/pending_requests.sql")
        with ledger(migrate=True) as db, source() as table:
            intake = Intake(
                db,
                table,
                Rules(ACCOUNTS, PHONE_REGION, hash_key(db)),
                request_ids=params.request_ids,
                dry_run=params.dry_run,
                retry_failed=params.retry_failed,
            )
            counts = asdict(intake.run())
            if not params.dry_run:
                counts["decided"] = decide(db, decisions, by=_person(context), now=datetime.now(UTC))
            elif decisions:
                self.log.warning("dry run: of the decisions (%d), none is carried out", len(decisions))
        wanted = params.accounts or [account.name for account in ACCOUNTS]
        would_send = {name: counts["would_send"].get(name, {}) for name in wanted}
        if params.dry_run:
            for account, actions in would_send.items():
                told = ", ".join(f"{n:,} {action}" for action, n in sorted(actions.items())) or "nothing"
                self.log.info("dry run: %s would be sent: %s", account, told)
        self.log.info("intake: %s", ", ".join(f"{k}: {v}" for k, v in counts.items() if k != "would_send"))
        return {**counts, "would_send": would_send if params.dry_run else {}}


def _person(context: Context) -> str:
    """Who triggered the run, for the record."""
    run = context["dag_run"]
    return f"{run.triggering_user_name or 'somebody'} in run {run.run_id}"


class SubmitOperator(BaseAsyncOperator):
    """Submits what is planned for one account, or a shard's share of it."""

    ui_color = "#e6f4ea"

    def __init__(self, *, account: str, shard: Sequence[int] = WHOLE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.account, self.shard = account, Shard(*shard)

    async def aexecute(self, context: Context) -> Counts:
        from dsar_airflow.connections import account_work
        from dsar_airflow.metrics import counting_calls
        from include.dsar.stages.submit import submit

        params = RunParams.of(context)
        params.skip_unless_wanted(self.account)
        async with account_work(self.account, shard=self.shard, request_ids=params.request_ids) as work:
            with counting_calls(work):
                return asdict(await submit(work))


class CollectOperator(BaseAsyncOperator):
    """Fetches one account's results that are ready, or a shard's share of them, into storage."""

    ui_color = "#e6f4ea"

    def __init__(self, *, account: str, shard: Sequence[int] = WHOLE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.account, self.shard = account, Shard(*shard)

    async def aexecute(self, context: Context) -> Counts:
        from dsar_airflow.connections import account_work, storage
        from dsar_airflow.metrics import counting_calls
        from include.dsar.stages.collect import collect

        params = RunParams.of(context)
        params.skip_unless_wanted(self.account)
        async with account_work(self.account, shard=self.shard, request_ids=params.request_ids) as work:
            with counting_calls(work):
                return asdict(await collect(work, await asyncio.to_thread(storage)))


class PackageOperator(BaseOperator):
    """Writes receipts and packages, closes their requests, and tells the source."""

    ui_color = "#fef7e0"

    def execute(self, context: Context) -> Counts:
        from dsar_airflow.connections import ledger, only, seal, source, storage
        from include.dsar.stages.package import Package

        params = RunParams.of(context)
        params.skip_unless_real()
        with ledger() as db, source() as table:
            place = storage()
            self.log.info("package: closing what has ended, into %s", place.uri("requests"))
            counts = asdict(Package(db, table, place, only(db, params.request_ids), seal(db)).run())
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {"uri": place.uri("requests"), **counts}
        return counts


class ReportOperator(BaseOperator):
    """Writes the day's register, and fails where a person has to act."""

    ui_color = "#fef7e0"

    def execute(self, context: Context) -> Counts:
        from dsar_airflow.connections import held_accounts, ledger, storage
        from dsar_airflow.metrics import gauge_run
        from include.accounts import ACCOUNTS
        from include.dsar.errors import OperatorActionRequired
        from include.dsar.stages.report import Report

        RunParams.of(context).skip_unless_real()
        since = context["dag_run"].run_after
        accounts = [account.name for account in ACCOUNTS]
        with ledger() as db:
            gauge_run(db, accounts, since=since)
            report = Report(db, storage(), run_after=since, accounts=accounts, held=held_accounts())
            todo = [*_red_tasks(context), *_bad_rows(context), *report.run()]
            report.told()
        if todo:
            raise OperatorActionRequired(
                "A person has to act:\n" + "\n".join(f"- {sentence}" for sentence in todo)
            )
        self.log.info("Nothing to do for a person.")
        return {"to_do": 0}


def _red_tasks(context: Context) -> Sequence[str]:
    """Squares of this run that failed."""
    ti = context["ti"]
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
    red = [square for square, state in states.items() if state == "failed" and square != ti.task_id]
    return [
        f"{_square(name, context['dag'].task_dict)} is red: its log says what to mend; then clear it."
        for name in sorted(red)
    ]


def _square(name: str, tasks: Mapping[str, object]) -> str:
    """A task's id, with the number of its shard where it is mapped: Airflow calls the first `<task>_0`."""
    if name in tasks:
        return name
    task, _, index = name.rpartition("_")
    return f"{task} (shard {int(index) + 1})"


def _bad_rows(context: Context) -> Sequence[str]:
    counts: Counts = context["ti"].xcom_pull(task_ids="intake") or {}
    found = []
    if invalid := counts.get("invalid"):
        found.append(
            f"{_rows(invalid)} invalid: status_reason says why. "
            "Correct what is wrong there and set status back to pending."
        )
    if changed := counts.get("changed"):
        found.append(
            f"{_rows(changed)} different from when the request was accepted, or bad by now: intake's log has "
            "the ids, and such a row is left as it is. What is new needs a row with a request_id of its own."
        )
    if repeated := counts.get("repeated"):
        found.append(
            f"{_rows(repeated)} there more than once, each time the same: intake's log has the ids. "
            "Each request was taken in once; a request_id must be unique, so give the source a key."
        )
    return found


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count > 1 else ''} of the source {'are' if count > 1 else 'is'}"
