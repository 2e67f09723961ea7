"""Makes the text that the demo prints at its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import psycopg

from include.dsar.model import State
from include.stack.stack import DAG_ID, Stack

COLUMNS = (*(state.value for state in State if state.is_terminal), "open")

OUTCOMES = """
SELECT submission.account,
       CASE WHEN dsar.is_open(submission.state) THEN 'open' ELSE submission.state END,
       count(*)
  FROM dsar.submission AS submission JOIN dsar.request AS request ON request.id = submission.request
 WHERE request.request_id LIKE %s
 GROUP BY 1, 2 ORDER BY 1
"""
STATUSES = "SELECT status, count(*) FROM public.dsar_requests WHERE request_id LIKE %s GROUP BY 1 ORDER BY 1"

# Tasks that fail on purpose, to make the operator look.
EXPECTED_RED = {
    "report": (
        "failed on purpose, because the sandbox refused some identifiers and let some jobs fail. "
        "The task's log names the requests and says what to do"
    )
}


def text(stack: Stack, prefix: str, run_id: str) -> str:
    """Returns the outcomes of the run's tasks, and of requests with ids that begin with `prefix`."""
    with psycopg.connect(stack.dsn) as connection:
        outcomes = connection.execute(OUTCOMES, [f"{prefix}%"]).fetchall()
        statuses = connection.execute(STATUSES, [f"{prefix}%"]).fetchall()
    counts = {(account, state): count for account, state, count in outcomes}
    accounts = sorted({account for account, _ in counts})
    red = [name for name, state in stack.api.task_states(DAG_ID, run_id).items() if state == "failed"]
    return "\n".join(
        [
            "\nSubmissions per account (one for each identifier that the account holds):\n",
            *_table(
                ["account", *COLUMNS],
                (
                    [account, *(str(counts.get((account, each), 0)) for each in COLUMNS)]
                    for account in accounts
                ),
            ),
            "\nRequests by status:\n",
            *_table(["status", "requests"], ([status, str(count)] for status, count in statuses)),
            "\nOpen submissions are slow, or were in a batch that failed. The next run continues with them."
            "\n",
            *(f"Task `{name}`: {EXPECTED_RED.get(name, 'failed, see its log')}." for name in red),
            "",
            f"  package  {_first(stack.storage, prefix, 'package.zip')}",
            f"  receipt  {_first(stack.storage, prefix, 'receipt.json')}",
            f"  logs     {stack.logs}",
            "",
        ]
    )


def next_steps(stack: Stack, *, good: bool) -> str:
    if not good:
        return f"\nThe demo did not end as expected. The logs are in {stack.logs}"
    return (
        "\nAll outcomes agree with the sandbox's decisions. All processes have ended.\n"
        "Next: `make up` starts the stack again and shows this run in Airflow's UI."
    )


def _first(storage: Path | str, prefix: str, name: str) -> Path | str:
    if isinstance(storage, str):
        return f"{storage}/requests/{prefix}…/{name}"
    return next(iter(sorted(storage.glob(f"requests/{prefix}*/{name}"))), "none")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    table = [head, *rows]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    return [
        "  "
        + row[0].ljust(widths[0])
        + "".join(f"  {cell.rjust(width)}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in table
    ]
