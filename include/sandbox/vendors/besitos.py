"""Besitos, an offer wall: access and erasure, many users per call.

Source: https://help.besitoscorp.com/en/articles/13862017-export-user-data-api (export),
https://help.besitoscorp.com/en/articles/13179812-delete-users-api (delete),
https://help.besitoscorp.com/en/articles/13862031-data-request-status-api (status). The documentation shows
no error reply and no failed job, so we invented them. We also invented the empty reply after
``expires_at``.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime

from aiohttp import web

from include.sandbox.decision import has_keyword
from include.sandbox.jobs import DAY, Job
from include.sandbox.vendor import WRONG_ACCOUNT, Call, Refused, Route, SandboxVendor, json_response
from include.sandbox.vendors.besitos_records import export_json

EXPIRES_AFTER = 7 * DAY
MESSAGES = {
    400: "Bad request",
    401: "Unauthenticated.",
    403: "This partner is not yours.",
    404: "Request not found.",
    422: "The given data was invalid.",
    429: "Too Many Attempts.",
    500: "Server Error",
}


def create_export(call: Call) -> web.Response:
    """``POST /data/partner/export/{partner_id}/users``"""
    job = _add_job(call, "access")
    accepted = _accepted(job, "Export request queued for processing")
    return json_response({**accepted, "format": "json", "data": None})


def create_delete(call: Call) -> web.Response:
    """``POST /data/partner/delete/{partner_id}/users``"""
    job = _add_job(call, "erasure")
    # As in the documentation: three ids for two users, and none of the submitted ids.
    processed = [_opaque(value, 24) for value in [*job.values, "one more"]]
    return json_response(
        {**_accepted(job, "Deletion request queued for processing"), "processed_user_ids": processed}
    )


def status(call: Call) -> web.Response:
    """``GET /data/partner/gdpr/{partner_id}/{request_id}``"""
    _authorise(call)
    job = call.find_job(call.job_id)
    if job is None:
        raise Refused(error(404))
    now = call.now()
    ended = now >= job.ends_at
    failed = ended and job.outcome == "failed"
    completed = ended and not failed
    expires_at = job.ends_at + EXPIRES_AFTER if completed and job.action == "access" else None
    body = {
        "success": not failed,
        "request": {
            "id": job.job_id,
            "action": "export" if job.action == "access" else "delete",
            "status": "failed" if failed else "completed" if completed else "pending",
            "partner_id": job.account,
            "partner_user_ids": job.values,
            "format": "json",
            "requested_at": _time(job.created_at),
            "processed_at": _time(job.ends_at) if ended else None,
            "completed_at": _time(job.ends_at) if completed else None,
            "expires_at": _time(expires_at) if expires_at else None,
            "error_message": _error_message(job) if failed else None,
            "progress": _progress(job, ended),
        },
        "data": None,
    }
    if not completed or (expires_at is not None and now >= expires_at):
        return json_response(body)
    if job.action == "access":
        return web.Response(text=export_json(body, job), content_type="application/json")
    return json_response({**body, "data": {"data": _deletion(job)}})


def error(status: int) -> web.Response:
    return json_response({"success": False, "message": MESSAGES.get(status, "Error")}, status)


VENDOR = SandboxVendor(
    name="besitos",
    actions=frozenset({"access", "erasure"}),
    extra={"partner_id": "demo"},
    users_per_call=10,  # few, so that one slow user delays only nine others
    routes=(
        Route("POST", "/data/partner/export/{account}/users", "create", create_export),
        Route("POST", "/data/partner/delete/{account}/users", "create", create_delete),
        Route("GET", "/data/partner/gdpr/{account}/{job_id}", "status", status),
    ),
    error=error,
)


def _authorise(call: Call) -> None:
    if not call.has_bearer_secret():
        raise Refused(error(401))
    if call.account == WRONG_ACCOUNT:
        raise Refused(error(403))


def _add_job(call: Call, action: str) -> Job:
    _authorise(call)
    body = call.json_object()
    if body is None:
        raise Refused(error(400))
    user_ids = body.get("user_ids")
    if not isinstance(user_ids, list) or not user_ids:
        raise Refused(_invalid({"user_ids": ["The user_ids field is required."]}))
    errors = {
        f"user_ids.{position}": [f"The user id {user_id} is invalid."]
        for position, user_id in enumerate(user_ids)
        if not isinstance(user_id, str) or not user_id or call.decide(action, [user_id]).outcome == "refused"
    }
    if errors:
        raise Refused(_invalid(errors))
    return call.add_job(action, [("user_id", value) for value in user_ids], str(uuid.uuid4()))


def _invalid(errors: dict[str, list[str]]) -> web.Response:
    return json_response({"success": False, "message": MESSAGES[422], "errors": errors}, 422)


def _accepted(job: Job, message: str) -> dict[str, object]:
    return {"success": True, "message": message, "request_id": job.job_id, "status": "pending"}


def _progress(job: Job, ended: bool) -> dict[str, int]:
    total = len(job.subjects)
    completed = sum(subject.outcome == "completed" for subject in job.subjects) if ended else 0
    return {
        "total": total,
        "completed": completed,
        "failed": total - completed if ended else 0,
        "pending": 0 if ended else total,
        "percentage": 100 if ended else 0,
    }


def _error_message(job: Job) -> str:
    culprit = next(value for value in job.values if has_keyword(value, "jobfails"))
    return f"PROCESSING_ERROR: user {culprit} could not be processed"


def _deletion(job: Job) -> dict[str, object]:
    found = [subject.value for subject in job.subjects if subject.outcome == "completed"]
    missing = [subject.value for subject in job.subjects if subject.outcome != "completed"]
    message = (
        f"Successfully processed {len(found)} subscriber deletion requests"
        f" from {len(job.subjects)} partner user IDs."
    )
    if missing:
        message += f" Note: {len(missing)} partner user IDs were not found."
    return {
        "verification": {
            "deletion_completed": True,
            "total_processed": len(found),
            "verification_note": "Data deletion completed and verified",
        },
        "summary": {
            "message": message,
            "success": True,
            "subscriber_ids": [f"b-{_opaque(value, 18)}" for value in found],
            "processed_count": len(found),
            "found_partner_user_ids": found,
            "provided_partner_user_ids": job.values,
            "not_found_partner_user_ids": missing,
        },
    }


def _opaque(value: str, length: int) -> str:
    return hashlib.sha256(f"besitos {value}".encode()).hexdigest()[:length]


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
