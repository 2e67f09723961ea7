"""Makes `receipt.json`: what every account did with a request, and when. It contains no identifiers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from include.dsar.delivery.package_paths import PackagedFile, packaged_files
from include.dsar.model import AccountRecord, RequestRecord, SubmissionRecord


def receipt(request: RequestRecord, closed_at: datetime) -> bytes:
    """Returns the receipt of a closed request as UTF-8 JSON.

    The dates of the request are in its zone. Other times are UTC. `files` lists the data files by their
    paths in the package. An erasure has no files.
    """
    files = packaged_files(request)
    document = {
        "request_id": request.request_id,
        "request_type": request.action.value,
        "regulation": request.regulation,
        "received_at": _local_text(request.received_at, request),
        "due_at": _local_text(request.due_at, request),
        "closed_at": _local_text(closed_at, request),
        "status": request.status.value,
        "accounts": [
            _account(account, [file for file in files if file.account is account])
            for account in request.accounts
        ],
    }
    return json_bytes(document)


def _local_text(moment: datetime, request: RequestRecord) -> str:
    local = moment.astimezone(request.received_at.tzinfo)
    return local.isoformat(timespec="seconds").replace("+00:00", "Z")


def utc_text(moment: datetime) -> str:
    """Formats an aware time like `2026-02-25T15:23:31Z`, without fractions of a second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def json_bytes(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate becomes JSON's own \udXXX


def _account(account: AccountRecord, files: list[PackagedFile]) -> dict[str, Any]:
    return {
        "account": account.account,
        "vendor": account.vendor,
        "outcome": account.outcome.value,
        "reason": account.reason,
        "submissions": [_submission(submission) for submission in account.submissions],
        "files": [{"path": f.path, "sha256": f.file.sha256, "bytes": f.file.bytes} for f in files],
    }


def _submission(submission: SubmissionRecord) -> dict[str, Any]:
    return {
        "identity": submission.identity,
        "outcome": submission.outcome.value,
        "reason": submission.reason,
        "job_id": submission.job_id,
        "submitted_at": submission.submitted_at and utc_text(submission.submitted_at),
        "finished_at": submission.finished_at and utc_text(submission.finished_at),
        "attempts": submission.attempts,
    }
