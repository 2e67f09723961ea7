"""Attentive, SMS and e-mail: erasure only, one subscriber per call. A job has no failed state.

Source: https://docs.attentivemobile.com (privacy request) and
https://docs.attentivemobile.com/pages/api-rate-limits/ (rate headers).
The documentation describes errors but shows no body, so we invented the field ``message`` and the fields of
``/v1/me``. The real API returns the whole record or only its id. In the sandbox, the last digit of the id
decides which of these two is returned.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from aiohttp import web

from include.sandbox.jobs import Job
from include.sandbox.vendor import Call, Refused, Route, SandboxVendor, json_response

SUBJECTS = ("subjectEmail", "subjectPhone", "clientUserId")
STARTS_AFTER = 0.5
"""Share of a job's duration after which ``processingStartDateTime`` appears."""
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
    if call.decide("erasure", values).outcome == "refused":
        raise Refused(error(400))
    details = {"requestMsg": str(body["requestMsg"])} if body.get("requestMsg") else {}
    job = call.add_job(
        "erasure",
        [(field, str(value)) for field, value in identifiers],
        uuid.uuid4().hex[:24],
        details=details,
    )
    if int(job.job_id[-1], 16) % 2:
        return json_response({"id": job.job_id})
    return json_response(_record(job, call.now(), masked=False))


def status(call: Call) -> web.Response:
    """``GET /v1/privacy/delete-request/{id}``"""
    _authorise(call)
    job = call.find_job(call.job_id)
    if job is None:
        raise Refused(error(404))
    return json_response(_record(job, call.now(), masked=True))


def me(call: Call) -> web.Response:
    """``GET /v1/me`` describes the owner of the token."""
    _authorise(call)
    return json_response({"applicationName": "Sandbox", "companyName": "Sandbox", "companyId": "sandbox"})


def error(status: int) -> web.Response:
    return json_response({"message": MESSAGES.get(status, "Error")}, status)


VENDOR = SandboxVendor(
    name="attentive",
    actions=frozenset({"erasure"}),
    decisions={"jobfails": "never"},  # it can report neither a failure nor an unknown subscriber
    routes=(
        Route("POST", "/v1/privacy/delete-request", "create", create),
        Route("GET", "/v1/privacy/delete-request/{job_id}", "status", status),
        Route("GET", "/v1/me", "me", me),
    ),
    error=error,
    sends_rate_headers=True,
)


def _authorise(call: Call) -> None:
    if not call.has_bearer_secret():
        raise Refused(error(401))


def _record(job: Job, now: float, *, masked: bool) -> dict[str, object]:
    subjects = {s.kind: _mask(s.kind, s.value) if masked else s.value for s in job.subjects}
    record: dict[str, object] = {
        "id": job.job_id,
        "processed": now >= job.ends_at,
        "type": "DELETE",
        **subjects,
        **job.details,
        "requestDateTime": _time(job.created_at),
    }
    if job.seconds is not None:
        starts_at = job.created_at + job.seconds * STARTS_AFTER
        if masked and now >= starts_at:
            record["processingStartDateTime"] = _time(starts_at)
        if masked and now >= job.ends_at:
            record["processingEndDateTime"] = _time(job.ends_at)
    return record


def _mask(kind: str, value: str) -> str:
    if kind == "subjectPhone":
        return f"+*****{value[-4:]}"
    name, at, domain = value.partition("@")
    return f"{name[:1]}**{at}{domain}"


def _time(at: float) -> str:
    """Formats a time with milliseconds and a zone without a colon, as in the documentation."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"
