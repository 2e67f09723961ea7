"""Attentive, SMS and e-mail: erasure only, one subscriber in a call. It has no failed state.

Source: https://docs.attentivemobile.com (privacy request), and
https://docs.attentivemobile.com/pages/api-rate-limits/ for the rate headers.
Its pages describe the errors but show no body: ``message`` is this sandbox's own, and so are the fields
of ``/v1/me``. The reply to a creation is the record or only its id; here the id's last digit decides.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from aiohttp import web

from include.sandbox.book import Entry
from include.sandbox.call import Call, Refused, Route, VendorApi, json_response
from include.sandbox.decision import decide

NAME = "attentive"
SUBJECTS = ("subjectEmail", "subjectPhone", "clientUserId")
STARTS_AFTER = 0.5
"""Share of a job's time after which ``processingStartDateTime`` appears."""
MESSAGES = {
    400: "Invalid request body",
    401: "Unauthorized",
    403: "Access Denied",
    404: "The specified resource was not found",
    429: "The user has sent too many requests in a given amount of time",
    500: "Internal Server Error",
}


def create(call: Call) -> web.Response:
    """``POST /v1/privacy/delete-request``"""
    _authorise(call)
    body = call.json_object()
    if body is None:
        raise Refused(error(400))
    identifiers = [(field, body[field]) for field in SUBJECTS if field in body]
    values = [value for _, value in identifiers if isinstance(value, str) and value]
    if not values or len(values) < len(identifiers):
        raise Refused(error(400))
    if decide(NAME, "erasure", values).outcome == "refused":
        raise Refused(error(400))
    details = {"requestMsg": str(body["requestMsg"])} if body.get("requestMsg") else {}
    entry = call.book.take(
        NAME,
        call.account,
        "erasure",
        [(field, str(value)) for field, value in identifiers],
        uuid.uuid4().hex[:24],
        details=details,
    )
    if int(entry.job_id[-1], 16) % 2:
        return json_response({"id": entry.job_id})
    return json_response(_record(entry, call.book.now(), masked=False))


def status(call: Call) -> web.Response:
    """``GET /v1/privacy/delete-request/{id}``"""
    _authorise(call)
    entry = call.book.find(NAME, call.account, call.job_id)
    if entry is None:
        raise Refused(error(404))
    return json_response(_record(entry, call.book.now(), masked=True))


def me(call: Call) -> web.Response:
    """``GET /v1/me``: whom the token belongs to."""
    _authorise(call)
    return json_response({"applicationName": "Sandbox", "companyName": "Sandbox", "companyId": "sandbox"})


def error(status: int) -> web.Response:
    return json_response({"message": MESSAGES.get(status, "Error")}, status)


API = VendorApi(
    NAME,
    (
        Route("POST", "/v1/privacy/delete-request", "create", create),
        Route("GET", "/v1/privacy/delete-request/{job_id}", "status", status),
        Route("GET", "/v1/me", "me", me),
    ),
    error,
    tells_rate=True,
)


def _authorise(call: Call) -> None:
    if not call.has_bearer_secret():
        raise Refused(error(401))


def _record(entry: Entry, now: float, *, masked: bool) -> dict[str, object]:
    subjects = {s.kind: _mask(s.kind, s.value) if masked else s.value for s in entry.subjects}
    record: dict[str, object] = {
        "id": entry.job_id,
        "processed": now >= entry.ends_at,
        "type": "DELETE",
        **subjects,
        **entry.details,
        "requestDateTime": _time(entry.created_at),
    }
    if entry.seconds is not None:
        starts_at = entry.created_at + entry.seconds * STARTS_AFTER
        if masked and now >= starts_at:
            record["processingStartDateTime"] = _time(starts_at)
        if masked and now >= entry.ends_at:
            record["processingEndDateTime"] = _time(entry.ends_at)
    return record


def _mask(kind: str, value: str) -> str:
    if kind == "subjectPhone":
        return f"+*****{value[-4:]}"
    name, at, domain = value.partition("@")
    return f"{name[:1]}**{at}{domain}"


def _time(at: float) -> str:
    """Milliseconds and a zone without a colon, as the page's samples."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"
