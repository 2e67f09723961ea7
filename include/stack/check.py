"""Compares the ledger and the source table with the jobs and decisions of the sandbox."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from include.accounts import ACCOUNTS
from include.sandbox import VENDORS
from include.sandbox.decision import has_keyword

IDENTIFIERS = ("email", "phone", "user_id", "advertising_id", "install_id", "id5_id")
OPEN = {"planned", "submitting", "uncertain", "submitted", "ready"}
STATES = {"completed": "completed", "no_data": "no_data", "failed": "failed"}

REQUESTS = """
SELECT source.*, ledger.status AS ledger_status
  FROM public.dsar_requests AS source
  LEFT JOIN dsar.request AS ledger USING (request_id)
 WHERE source.request_id LIKE %s
"""
SUBMISSIONS = """
SELECT request.request_id, submission.account, submission.vendor, submission.state, submission.job_id
  FROM dsar.submission AS submission JOIN dsar.request AS request ON request.id = submission.request
 WHERE request.request_id LIKE %s
"""


def disagreements(
    dsn: str, prefix: str, expected_invalid: set[str], sandbox_jobs: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Returns one line for each disagreement about requests with ids that begin with `prefix`.

    `sandbox_jobs` is the reply of the sandbox's `/_sandbox/jobs` after the run.
    """
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        rows = {row["request_id"]: row for row in connection.execute(REQUESTS, [f"{prefix}%"])}
        submissions = connection.execute(SUBMISSIONS, [f"{prefix}%"]).fetchall()
    jobs = {(job["vendor"], job["job_id"]): job for job in sandbox_jobs}
    failed = {s["value"] for job in sandbox_jobs if job["outcome"] == "failed" for s in job["subjects"]}
    wrong = [line for row in rows.values() if (line := _wrong_status(row, expected_invalid))]
    wrong += _missing(rows.values(), submissions)
    for submission in submissions:
        reason = _wrong_state(submission, rows[submission["request_id"]], jobs, failed)
        if reason:
            wrong.append(f"{submission['request_id']} at {submission['account']}: {reason}")
    return wrong


def _wrong_status(row: Mapping[str, Any], expected_invalid: set[str]) -> str | None:
    """Returns a line if the source does not have the ledger's status, or if an invalid row is in the
    ledger.
    """
    expected = "invalid" if row["request_id"] in expected_invalid else row["ledger_status"]
    if row["status"] == expected and (expected == "invalid") == (row["ledger_status"] is None):
        return None
    return f"{row['request_id']}: {row['status']} in the source, {expected} expected"


def _missing(rows: Iterable[Mapping[str, Any]], submissions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a line for each account without a submission of a request. Each account must have at least
    one, even if it is not_applicable.
    """
    there = {(submission["request_id"], submission["account"]) for submission in submissions}
    wanted = (
        (row["request_id"], account)
        for row in rows
        if row["ledger_status"]
        for account in row["accounts"] or [account.name for account in ACCOUNTS]
    )
    return [
        f"{request_id} was not planned at {account}"
        for request_id, account in wanted
        if (request_id, account) not in there
    ]


def _wrong_state(
    submission: Mapping[str, Any],
    row: Mapping[str, Any],
    jobs: Mapping[tuple[str, str], Mapping[str, Any]],
    failed: set[str],
) -> str | None:
    """Returns a line if the state differs from the sandbox's decision about this data subject in this job."""
    state, job_id = submission["state"], submission["job_id"]
    values = [value for kind in IDENTIFIERS for value in row[kind] or ()]
    if state == "not_applicable":
        return None
    if state == "rejected":
        return None if any(has_keyword(value, "refused") for value in values) else "rejected, but not refused"
    if state == "planned" and failed & set(values):
        return None  # its batch failed; the next run sends it again in a smaller batch
    if job_id is None:
        return f"{state} without a job id"
    job = jobs.get((submission["vendor"], job_id))
    if job is None:
        return f"{state}, but the sandbox has no such job"
    ended = job["seconds"] is not None and job["created_at"] + job["seconds"] < time.time()
    if not ended:
        return None if state in OPEN else f"{state}, but the sandbox has not finished"
    outcome = _outcome(job, values)
    return None if state == STATES.get(outcome) else f"{state}, but the sandbox decided {outcome}"


def _outcome(job: Mapping[str, Any], values: Sequence[str]) -> str:
    """Returns the outcome of the data subject with these identifiers."""
    if VENDORS[job["vendor"]].users_per_call > 1:
        mine = [subject["outcome"] for subject in job["subjects"] if subject["value"] in values]
        return str(mine[0]) if mine else "not in this job"
    return str(job["outcome"])
