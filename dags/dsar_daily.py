"""The daily run: intake, then a group of tasks for each account, then packages and the report."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    BaseOperator,
    Param,
    TaskGroup,
    TriggerRule,
    chain,
)

from dsar_airflow.approval import ApproveVolumeOperator
from dsar_airflow.operators import (
    CollectOperator,
    IntakeOperator,
    PackageOperator,
    ReportOperator,
    SubmitOperator,
)
from dsar_airflow.sensors import PollSensor
from dsar_airflow.task_defaults import TASK_DEFAULTS
from include.accounts import ACCOUNTS, PACKAGE_SHARDS, VOLUME
from include.dsar.accounts import Account, VolumeLimit, all_shards
from include.dsar.vendors import vendor

# For lineage, and for DAGs that run after this one: `schedule=Asset("dsar_storage")`.
SOURCE = Asset("dsar_source", group="privacy")  # the table of pending requests
STORAGE = Asset("dsar_storage", group="privacy")  # receipts, packages, the register

# How long a task may work before it fails, without the time that it is deferred. The next run continues where
# it stopped. Their sum and the longest window are less than RUN_LIMIT, so a run in which tasks hang still
# writes its report.
HOUR = timedelta(hours=1)
TIME_LIMITS = {
    "intake": 4 * HOUR,
    "approve_volume": HOUR,
    "submit": 8 * HOUR,
    "await_completion": HOUR,
    "collect": 8 * HOUR,
    "package": 8 * HOUR,
    "report": 4 * HOUR,
}
RUN_LIMIT = timedelta(days=3)  # after it the run fails, and the next one starts

ACCOUNT_NAMES = [account.name for account in ACCOUNTS]

PARAMS = {
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description="Send nothing. The log of intake shows how many submissions each account would get. "
        "The tab Privacy requests of the run shows the same.",
    ),
    "request_ids": Param(
        [],
        type=["array", "null"],
        items={"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"},
        title="Only these requests",
        description="Values of request_id, one per line. Empty: all requests that are pending or open.",
    ),
    "accounts": Param(
        [],
        type=["array", "null"],
        items={"type": "string", "enum": ACCOUNT_NAMES},
        examples=ACCOUNT_NAMES,
        title="Only these accounts",
        description="Empty: all accounts. Submissions to accounts that are not listed here wait for a later "
        "run.",
    ),
    "await_minutes": Param(
        60,
        type="integer",
        minimum=0,
        maximum=1380,
        title="Minutes to wait for vendors",
        description="The next run continues with jobs that are still open after this time. 0: do not wait.",
    ),
    "retry_failed": Param(
        False,
        type="boolean",
        title="Try failed requests again",
        description="Reopens requests that ended as failed or partial, and sends their failed submissions "
        "again.",
    ),
    "decisions": Param(
        [],
        type=["array", "null"],
        items={
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127} [a-z][a-z0-9_]* "
            "(send_again|job_lost|taken \\S{1,200})( [a-z][a-z0-9_+]*(#[1-9][0-9]{0,3})?)?$"
            "|^[a-z][a-z0-9_]{0,47} (confirm_outcomes|discard_outcomes|release_volume) \\S.{0,300}$"
            "|^[A-Za-z0-9#][A-Za-z0-9._-]{0,127} (dismiss|answered|retry) \\S.{0,300}$"
            "|^[A-Za-z0-9#][A-Za-z0-9._-]{0,127} acknowledge (always|[0-9-]{10}) \\S.{0,300}$",
        },
        title="Decisions on what waits for an operator",
        description="Ask the vendor first. Then enter one decision per line: "
        "<request_id> <account> send_again, or <request_id> <account> taken <job id>. "
        "To choose one identity, add its kind, such as email, or email#2 for the second one. "
        "For outcomes that wait: "
        "<account> confirm_outcomes <reason>, or, after the repair, <account> discard_outcomes <reason>. "
        "For submissions on hold that you want to send: <account> release_volume <reason>. "
        "For what the report lists: <name> acknowledge <YYYY-MM-DD or always> <reason>, <name> dismiss "
        "<reason>, <name> answered <reason>, or <name> retry <reason>.",
    ),
}

DOCS = {
    "intake": """Reads the source with `include/sql/pending_requests.sql`, checks every row, and plans the
submissions to each account. An invalid row is marked `invalid` with a reason. It does not stop other rows.

**Red:** the source or the ledger could not be read, or `dsar_hash_key` has changed. The log names the SQL
file, the connection or the variable. Fix it, then clear this task.""",
    "approve_volume": """Asks an operator if an unusual number of submissions is about to be sent. Skipped on
ordinary days. Answer under **Required Actions**. Until then these submissions are on hold. Nothing else
waits for the answer. If you approve, a new run sends them.

**Red:** nobody has answered in time. The next run asks again. To be asked now, clear this task.""",
    "submit": """Sends the planned submissions to {account} ({vendor}, connection `{connection}`), in the
order of their due dates. Polls the open jobs while it waits for postponed submissions.

**Red:** the vendor refused the credentials, or gave no usable answer for a long time. Nothing is lost: the
other submissions stay planned. Fix the connection that the log names, then clear this task **with
downstream**. If the log names single requests, check their identifiers.""",
    "await_completion": """Polls the open jobs of {account} from the triggerer, for up to `await_minutes`. The
next run continues with the jobs that are still open then.

**Red:** no poll got a usable answer, or the vendor refused the credentials. The vendor still works on the
jobs. Fix connection `{connection}`, then clear this task **with downstream**.""",
    "collect": """Downloads the results of {account} into storage.

**Red:** a result could not be downloaded. Results expire, so clear this task **with downstream** soon.""",
    "package": """Closes requests when all their submissions have ended. Writes `receipt.json`,
and `package.zip` for an access request, then updates the source.

**Red:** a request could not be written, or `dsar_age_recipient` is gone although packages were sealed
before. The log names the request or the variable. Fix the storage or the variable, then clear this task.""",
    "report": """Writes the register of the day, and a summary to the log.

**Red:** an operator must act. The log has a sentence for each thing to do. You do not need to clear this
task.""",
}


def account_task(operator: type[BaseOperator], account: Account, stage: str) -> Any:
    # Each stage runs whatever the result of the stage before: the open jobs of earlier days do not wait
    # for today's submissions, and no account waits for another.
    return task(
        operator,
        account.shards,
        task_id=stage,
        account=account.name,
        trigger_rule=TriggerRule.ALL_DONE,
        execution_timeout=TIME_LIMITS[stage],
        doc_md=DOCS[stage].format(account=account.name, vendor=account.vendor, connection=account.connection),
    )


def task(operator: type[BaseOperator], shards: int, **arguments: Any) -> Any:
    """Returns one task. It is mapped if there are several shards: each shard is a task instance."""
    if shards == 1:
        return operator(**arguments)
    every = [list(shard) for shard in all_shards(shards, "PACKAGE_SHARDS")]
    return operator.partial(map_index_template="{{ task.shard }}", **arguments).expand(shard=every)


with DAG(
    "dsar_daily",
    description="Sends privacy requests (access, erasure) to every vendor, and delivers their answers",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=RUN_LIMIT,
    # No backfill: every run takes the requests that are pending now, whatever its date.
    # Airflow converts the names.
    allowed_run_types=["scheduled", "manual", "operator_triggered"],  # type: ignore[list-item]
    doc_md=Path(__file__).with_suffix(".md").read_text(),
    params=PARAMS,
    tags=["privacy", "GDPR", "CCPA"],
    default_args=TASK_DEFAULTS,
) as dag:
    intake = IntakeOperator(
        task_id="intake", inlets=[SOURCE], execution_timeout=TIME_LIMITS["intake"], doc_md=DOCS["intake"]
    )
    # No task waits for the answer, so that all other submissions are sent.
    approve_volume = ApproveVolumeOperator(
        task_id="approve_volume",
        answer_within=timedelta(hours=(VOLUME or VolumeLimit()).answer_hours),
        trigger_rule=TriggerRule.ALL_DONE,
        execution_timeout=TIME_LIMITS["approve_volume"],
        doc_md=DOCS["approve_volume"],
    )
    package = task(
        PackageOperator,
        PACKAGE_SHARDS,
        task_id="package",
        trigger_rule=TriggerRule.ALL_DONE,
        outlets=[STORAGE],
        execution_timeout=TIME_LIMITS["package"],
        doc_md=DOCS["package"],
    )
    report = ReportOperator(
        task_id="report",
        trigger_rule=TriggerRule.ALL_DONE,
        execution_timeout=TIME_LIMITS["report"],
        doc_md=DOCS["report"],
    )
    for account in ACCOUNTS:
        stages: dict[str, type[BaseOperator]] = {
            "submit": SubmitOperator,
            "await_completion": PollSensor,
        }
        if vendor(account.vendor).returns_data:
            stages["collect"] = CollectOperator
        with TaskGroup(account.name, tooltip=f"{account.vendor}, connection {account.connection}"):
            steps = [account_task(operator, account, stage) for stage, operator in stages.items()]
        chain(intake, *steps, package)
    chain(intake, approve_volume)
    chain(package, report)
