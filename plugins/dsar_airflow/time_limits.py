"""Says what a task waited for when it reaches its time limit (`execution_timeout`)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from datetime import timedelta
from functools import wraps
from traceback import walk_tb
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk.exceptions import AirflowTaskTimeout

from include.dsar.accounts import WHOLE

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

# An asynchronous stage is stopped a little earlier than by Airflow, so that it can record what it did.
GRACE_SHARE = 0.01

# The innermost of these modules on a stack says what is waited for.
WAITED_FOR = {
    "dsar_airflow/connections/": "Airflow's connections and variables",
    "include/dsar/intake/source.py": "the source (connection dsar_source, or dsar_db if there is none)",
    "include/dsar/delivery/": "the storage (variable dsar_storage_uri)",
    "include/dsar/ledger/": "the ledger (connection dsar_db)",
    "include/dsar/execution/account_work.py": "the ledger (connection dsar_db)",
    "include/dsar/http/": "the vendor's replies and the account's rate",
}

R = TypeVar("R")
Execute = Callable[[Any, "Context"], R]


def says_what_it_waits_for(execute: Execute[R]) -> Execute[R]:
    """Wraps the `execute` of an operator. The error of a time limit then names the task, what it waited for
    and what to do.
    """

    @wraps(execute)
    def limited(self: BaseOperator, context: Context) -> R:
        try:
            return execute(self, context)
        except AirflowTaskTimeout as error:
            stack = [frame for frame, _ in walk_tb(error.__traceback__)]
            raise AirflowTaskTimeout(_sentence(self, [stack])) from None

    return limited


async def within_limit(operator: BaseOperator, stage: Coroutine[Any, Any, R]) -> R:
    """Runs a stage until shortly before the task's time limit. Then cancels the stage, and raises
    AirflowTaskTimeout.
    """
    limit = operator.execution_timeout
    running = asyncio.ensure_future(stage)
    await asyncio.wait([running], timeout=limit.total_seconds() * (1 - GRACE_SHARE) if limit else None)
    if running.done():
        return running.result()
    sentence = _sentence(operator, [list(_awaited(task)) for task in asyncio.all_tasks()])
    running.cancel()
    await asyncio.wait([running])  # it records what it did
    raise AirflowTaskTimeout(sentence)


def _awaited(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """Yields the frames of a suspended task, outermost first."""
    waiting: Any = task.get_coro()
    while frame := getattr(waiting, "cr_frame", None):
        yield frame
        waiting = waiting.cr_await


def _sentence(operator: Any, stacks: Iterable[list[FrameType]]) -> str:
    """Returns the text of the error. A repeated call names what the first call found."""
    found = Counter(filter(None, map(_waited_for, stacks)))
    names = operator.__dict__.setdefault("waited_for", [name for name, _ in found.most_common()])
    shard = getattr(operator, "shard", WHOLE)
    return (
        f"{operator.task_id}{f' ({shard})' if shard.of > 1 else ''} was stopped at its time limit of "
        f"{operator.execution_timeout / timedelta(hours=1):g} hours, while it waited for "
        f"{' and '.join(names) or 'nothing else than its own work'}. The work that it finished is recorded, "
        "and the next run continues. Check what the task waited for, then clear this task. If it only has "
        f"too much work, increase its time limit in dags/{operator.dag_id}.py."
    )


def _waited_for(stack: Iterable[FrameType]) -> str | None:
    for frame in reversed(list(stack)):
        for part, name in WAITED_FOR.items():
            if part in frame.f_code.co_filename:
                return name
    return None
