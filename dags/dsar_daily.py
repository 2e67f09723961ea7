"""The daily run: intake, then each account on its own, then packages and the report."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    BaseOperator,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    TaskGroup,
    TriggerRule,
    chain,
)

from dsar_airflow.operators import (
    CollectOperator,
    IntakeOperator,
    PackageOperator,
    ReportOperator,
    SubmitOperator,
)
from dsar_airflow.sensors import PollSensor
from include.accounts import ACCOUNTS
from include.dsar.accounts import Account

# Vendors that return no data have nothing to collect. (A constant, since importing the vendors'
# modules would cost every parse of this file; a test holds the two together.)
RETURN_DATA = {"besitos", "batch"}

# For lineage, and for DAGs that shall run after this one: `schedule=Asset("dsar_storage")`.
SOURCE = Asset("dsar_source", group="privacy")  # the table of pending requests
STORAGE = Asset("dsar_storage", group="privacy")  # receipts, packages, the register

ACCOUNT_NAMES = [account.name for account in ACCOUNTS]

PARAMS = {
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description="Send nothing: the log of intake, and Privacy requests on the run, tell for each account "
        "how many would be sent.",
    ),
    "request_ids": Param(
        [],
        type=["array", "null"],
        items={"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"},
        title="Only these requests",
        description="Values of request_id, one a line. Empty: all that are pending or open.",
    ),
    "accounts": Param(
        [],
        type=["array", "null"],
        items={"type": "string", "enum": ACCOUNT_NAMES},
        examples=ACCOUNT_NAMES,
        title="Only these accounts",
        description="Empty: all. What is planned for the others waits for a later run.",
    ),
    "await_minutes": Param(
        60,
        type="integer",
        minimum=0,
        maximum=1380,
        title="Minutes to wait for vendors",
        description="What is unfinished by then is carried over to the next run. 0: do not wait.",
    ),
    "retry_failed": Param(
        False,
        type="boolean",
        title="Try failed requests again",
        description="Take up requests that ended failed or partial, and send what failed of them once more.",
    ),
    "decisions": Param(
        [],
        type=["array", "null"],
        items={
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127} [a-z][a-z0-9_]* "
            "(send_again|taken \\S{1,200})( [a-z][a-z0-9_+]*)?$",
        },
        title="Decisions on uncertain submissions",
        description="One a line, once you have asked the vendor: <request_id> <account> send_again, or "
        "<request_id> <account> taken <job id>. Add the kind of identity, such as email, to mean only one.",
    ),
}

DOCS = {
    "intake": """Reads `include/sql/pending_requests.sql`, checks every row, and plans what each account has
to be sent. A bad row becomes `invalid` with its reason and stops no other.

**Red:** the source or the ledger could not be read, or `dsar_hash_key` is not what it was. The log names the
SQL file, the connection or the variable to mend; then clear this task.""",
    "submit": """Sends what is planned for {account} ({vendor}, connection `{connection}`), due soonest first.

**Red:** the vendor refused the credentials, or gave no usable answer for long. Nothing is lost: what was not
sent stays planned. Mend the connection that the log names, then clear this task with what is downstream.
Where the log names requests that were refused alone, look at the identifiers that they hold.""",
    "await_completion": """Watches the open jobs of {account} from the triggerer, for `await_minutes` at most.
Jobs that go on are carried over to the next run.

**Red:** no poll brought a usable answer, or the credentials were refused. The jobs go on at the vendor. Mend
connection `{connection}`, then clear this task with what is downstream.""",
    "collect": """Fetches the results of {account} that are ready into storage.

**Red:** a result could not be fetched. Clear this task soon, with what is downstream: results expire.""",
    "package": """Closes requests whose submissions have all ended: writes `receipt.json`, for access
`package.zip` too, and tells the source.

**Red:** a request could not be written, or packages were sealed and `dsar_age_recipient` is not given any
more. The log names which; mend the storage or the variable, then clear this task.""",
    "report": """Writes the day's register, and a summary into the log.

**Red:** a person has to act. The log has a sentence for each thing to do; nothing has to be cleared.""",
}


def task(operator: type[BaseOperator], account: Account, stage: str) -> Any:
    """One task; where the account has shards, an instance of it for each."""
    arguments: dict[str, Any] = {
        "task_id": stage,
        "account": account.name,
        # Each goes on whatever became of the one before: open jobs of earlier days do not wait for
        # today's submissions, and none of them waits for another account.
        "trigger_rule": TriggerRule.ALL_DONE,
        "doc_md": DOCS[stage].format(
            account=account.name, vendor=account.vendor, connection=account.connection
        ),
    }
    if account.shards == 1:
        return operator(**arguments)
    shards = [[number, account.shards] for number in range(1, account.shards + 1)]
    return operator.partial(map_index_template="{{ task.shard }}", **arguments).expand(shard=shards)


with DAG(
    "dsar_daily",
    description="Passes privacy requests (access, erasure) on to every vendor, and delivers what comes back",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    # No backfill: a run takes what is pending now, whatever its date.
    allowed_run_types=["scheduled", "manual", "operator_triggered"],
    doc_md=Path(__file__).with_suffix(".md").read_text(),
    params=PARAMS,
    tags=["privacy", "GDPR", "CCPA"],
    default_args={
        "owner": "privacy",
        "retries": 3,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=10),
        "retry_policy": ExceptionRetryPolicy(
            [
                RetryRule(f"include.dsar.errors.{name}", RetryAction.FAIL, reason=reason)
                for name, reason in {
                    "ConfigurationError": "a person has to mend it",
                    "OperatorActionRequired": "a person has to act",
                }.items()
            ]
        ),
    },
) as dag:
    intake = IntakeOperator(task_id="intake", inlets=[SOURCE], doc_md=DOCS["intake"])
    package = PackageOperator(
        task_id="package",
        trigger_rule=TriggerRule.ALL_DONE,
        outlets=[STORAGE],
        doc_md=DOCS["package"],
    )
    report = ReportOperator(task_id="report", trigger_rule=TriggerRule.ALL_DONE, doc_md=DOCS["report"])
    for account in ACCOUNTS:
        stages: dict[str, type[BaseOperator]] = {
            "submit": SubmitOperator,
            "await_completion": PollSensor,
        }
        if account.vendor in RETURN_DATA:
            stages["collect"] = CollectOperator
        with TaskGroup(account.name, tooltip=f"{account.vendor}, connection {account.connection}"):
            steps = [task(operator, account, stage) for stage, operator in stages.items()]
        chain(intake, *steps, package)
    chain(package, report)
