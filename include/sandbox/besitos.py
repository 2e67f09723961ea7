"""Besitos, an offer wall: access and erasure, many users in one call.

Source: https://help.besitoscorp.com/en/articles/13862017-export-user-data-api (export),
https://help.besitoscorp.com/en/articles/13179812-delete-users-api (delete),
https://help.besitoscorp.com/en/articles/13862031-data-request-status-api (status).
Its pages show no error replies and no failed job: those bodies, and the emptiness after ``expires_at``,
are this sandbox's own.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime

from aiohttp import web

from include.sandbox.besitos_records import export_json
from include.sandbox.book import DAY, Entry
from include.sandbox.call import WRONG_ACCOUNT, Call, Refused, Route, VendorApi, json_response
from include.sandbox.decision import decide, is_marked

NAME = "besitos"
VERBS = {"export": "access", "delete": "erasure"}
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
    entry = _take(call, "access")
    accepted = _accepted(entry, "Export request queued for processing")
    return json_response({**accepted, "format": "json", "data": None})


def create_delete(call: Call) -> web.Response:
    """``POST /data/partner/delete/{partner_id}/users``"""
    entry = _take(call, "erasure")
    # As on its page: three ids for two users, none of them one that was submitted.
    processed = [_opaque(value, 24) for value in [*entry.values, "one more"]]
    return json_response(
        {**_accepted(entry, "Deletion request queued for processing"), "processed_user_ids": processed}
    )


def status(call: Call) -> web.Response:
    """``GET /data/partner/gdpr/{partner_id}/{request_id}``"""
    _authorise(call)
    entry = call.book.find(NAME, call.account, call.job_id)
    if entry is None:
        raise Refused(error(404))
    now = call.book.now()
    ended = now >= entry.ends_at
    failed = ended and entry.outcome == "failed"
    completed = ended and not failed
    expires_at = entry.ends_at + EXPIRES_AFTER if completed and entry.action == "access" else None
    body = {
        "success": not failed,
        "request": {
            "id": entry.job_id,
            "action": "export" if entry.action == "access" else "delete",
            "status": "failed" if failed else "completed" if completed else "pending",
            "partner_id": entry.account,
            "partner_user_ids": entry.values,
            "format": "json",
            "requested_at": _time(entry.created_at),
            "processed_at": _time(entry.ends_at) if ended else None,
            "completed_at": _time(entry.ends_at) if completed else None,
            "expires_at": _time(expires_at) if expires_at else None,
            "error_message": _error_message(entry) if failed else None,
            "progress": _progress(entry, ended),
        },
        "data": None,
    }
    if not completed or (expires_at is not None and now >= expires_at):
        return json_response(body)
    if entry.action == "access":
        return web.Response(text=export_json(body, entry), content_type="application/json")
    return json_response({**body, "data": {"data": _deletion(entry)}})


def error(status: int) -> web.Response:
    return json_response({"success": False, "message": MESSAGES.get(status, "Error")}, status)


API = VendorApi(
    NAME,
    (
        Route("POST", "/data/partner/export/{account}/users", "create", create_export),
        Route("POST", "/data/partner/delete/{account}/users", "create", create_delete),
        Route("GET", "/data/partner/gdpr/{account}/{job_id}", "status", status),
    ),
    error,
)


def _authorise(call: Call) -> None:
    if not call.has_bearer_secret():
        raise Refused(error(401))
    if call.account == WRONG_ACCOUNT:
        raise Refused(error(403))


def _take(call: Call, action: str) -> Entry:
    _authorise(call)
    body = call.json_object()
    if body is None:
        raise Refused(error(400))
    user_ids = body.get("user_ids")
    if not isinstance(user_ids, list) or not user_ids:
        raise Refused(_invalid({"user_ids": ["The user_ids field is required."]}))
    faults = {
        f"user_ids.{position}": [f"The user id {user_id} is invalid."]
        for position, user_id in enumerate(user_ids)
        if not isinstance(user_id, str) or not user_id or _is_refused(user_id, action)
    }
    if faults:
        raise Refused(_invalid(faults))
    return call.book.take(NAME, call.account, action, [("user_id", v) for v in user_ids], str(uuid.uuid4()))


def _is_refused(user_id: str, action: str) -> bool:
    return decide(NAME, action, [user_id]).outcome == "refused"


def _invalid(errors: dict[str, list[str]]) -> web.Response:
    return json_response({"success": False, "message": MESSAGES[422], "errors": errors}, 422)


def _accepted(entry: Entry, message: str) -> dict[str, object]:
    return {"success": True, "message": message, "request_id": entry.job_id, "status": "pending"}


def _progress(entry: Entry, ended: bool) -> dict[str, int]:
    total = len(entry.subjects)
    completed = sum(subject.outcome == "completed" for subject in entry.subjects) if ended else 0
    return {
        "total": total,
        "completed": completed,
        "failed": total - completed if ended else 0,
        "pending": 0 if ended else total,
        "percentage": 100 if ended else 0,
    }


def _error_message(entry: Entry) -> str:
    culprit = next(value for value in entry.values if is_marked(value, "jobfails"))
    return f"PROCESSING_ERROR: user {culprit} could not be processed"


def _deletion(entry: Entry) -> dict[str, object]:
    found = [subject.value for subject in entry.subjects if subject.outcome == "completed"]
    missing = [subject.value for subject in entry.subjects if subject.outcome != "completed"]
    message = (
        f"Successfully processed {len(found)} subscriber deletion requests"
        f" from {len(entry.subjects)} partner user IDs."
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
            "provided_partner_user_ids": entry.values,
            "not_found_partner_user_ids": missing,
        },
    }


def _opaque(value: str, length: int) -> str:
    return hashlib.sha256(f"besitos {value}".encode()).hexdigest()[:length]


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
