"""Says what to do if the vendor has none of our jobs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from include.dsar.execution.account_work import AccountWork
from include.dsar.ledger import vendor_jobs
from include.dsar.model import State

NONE_FOUND = "no poll found any of our jobs: the vendor does not have {count} jobs{foreign}"
OLDEST = (
    ". The oldest was submitted {age:.0f} hours ago, for request {request_id}. Our jobs stay open until the "
    "vendor answers about one of our jobs. If the account's connection is right, send the request again: "
    "trigger dsar_daily with the decision `{request_id} {account} job_lost`. Otherwise, check Host and the "
    "other fields"
)
STAY_OPEN = ". Our jobs stay open. Check Host, and check that the account's connection is right"


async def none_found(work: AccountWork, unknown: Mapping[str, datetime], foreign: Exception | None) -> str:
    """Returns a sentence for the operator. `unknown` maps each job id to the time when the job was
    submitted. `foreign` is an error reply that is not the vendor's own.
    """
    text = NONE_FOUND.format(count=len(unknown), foreign=f", and replied {foreign}" if foreign else "")
    if not unknown:
        return text + STAY_OPEN
    job_id, since = min(unknown.items(), key=lambda one: one[1])
    found = await work.ledger(vendor_jobs.members, work.account, [job_id], state=State.SUBMITTED)
    if not found[job_id]:
        return text + STAY_OPEN
    return text + OLDEST.format(
        age=(work.clock() - since) / timedelta(hours=1),
        request_id=found[job_id][0].request_id,
        account=work.account,
    )
