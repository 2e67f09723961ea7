"""The weekly run: it compares the API of each account with the declaration in this version."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, TriggerRule

from dsar_airflow.task_defaults import TASK_DEFAULTS
from dsar_airflow.upkeep_operators import PROBE, ProbeContractOperator, UpkeepSummaryOperator
from include.accounts import ACCOUNTS

DOCS = {
    PROBE: """Asks the vendor of one account for a job that does not exist, for its list of jobs if there is
one, and for what its API supports. Compares these replies, and the real replies of the last week, with what
this version expects.

**Red:** the API has changed, or the account cannot be asked. The log names the account, the connection, and
each route and field. Compare this with the vendor's documentation. Then upgrade this project, or report the
difference to its maintainers. If the log names only the connection, fix it, then clear this task.""",
    "summary": """Says for each account when its API was compared, and what was found.

**Red:** an operator must act. The log has a sentence for each thing to do. You do not need to clear this
task.""",
}

with DAG(
    "dsar_upkeep",
    description="Notices changed APIs of the vendors, without the data of any data subject",
    schedule="0 12 * * 0",  # at noon: the daily run begins at midnight
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(days=1),
    allowed_run_types=["scheduled", "manual", "operator_triggered"],  # type: ignore[list-item]
    doc_md=Path(__file__).with_suffix(".md").read_text(),
    tags=["privacy", "GDPR", "CCPA"],
    default_args=TASK_DEFAULTS,
) as dag:
    probe = ProbeContractOperator.partial(
        task_id=PROBE,
        execution_timeout=timedelta(hours=1),
        map_index_template="{{ task.account }}",
        doc_md=DOCS[PROBE],
    ).expand(account=[account.name for account in ACCOUNTS])
    summary = UpkeepSummaryOperator(
        task_id="summary",
        trigger_rule=TriggerRule.ALL_DONE,
        execution_timeout=timedelta(hours=1),
        doc_md=DOCS["summary"],
    )
    probe >> summary
