"""ID5, identity: erasure only. The token is in the URL. A call over a limit gets 403.

Source: https://wiki.id5.io/docs/dsar-data-deletion-api, including the misspelled error codes. The page
shows no message for a rejected e-mail or partnerUid, so ours imitate its message for a maid.
"""

from __future__ import annotations

import re
import uuid

from aiohttp import web

from include.sandbox.decision import Outcome
from include.sandbox.jobs import Job, utc_day
from include.sandbox.vendor import WRONG_ACCOUNT, Call, Refused, Route, SandboxVendor, json_response

FIELDS = ("email", "id5id", "maid", "partnerUid")
JURISDICTIONS = ("GDPR", "CCPA")
STARTS_AFTER = 0.5
"""Share of a job's duration after which CREATED becomes STARTED."""
RESULTS: dict[Outcome, str] = {"completed": "DELETE_DELETED", "no_data": "DELETE_NO_DATA"}
BOUNCING = "bounces"
"""A ``replyToEmail`` that contains this word gives SEND_FAILED."""
TYPES = {
    "api_token_invalid": "authentication_error",
    "partiner_id_invalid": "authentication_error",
    "api_token_not_authorized": "authentication_error",
    "request_format_invalid": "invalid_request_error",
    "user_objects_invalid": "validation_error",
    "user_object_invalid": "validation_error",
    "api_rate_limit_error": "rate_limit_error",
    "internal_id5_error": "api_error",
}
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
_SHAPES = {
    "email": re.compile(r"[^@\s]+@[^@\s]+|[0-9a-f]{64}", re.IGNORECASE),
    "id5id": re.compile(r"ID5[*-].+"),
    "maid": _UUID,
    "partnerUid": re.compile(r".+"),
}
_LABELS = {"id5id": "ID5ID"}


def create(call: Call) -> web.Response:
    """``POST /partners/v1/{partner}/privacy/requests/deletion?token=``"""
    _authorise(call)
    body = _body(call)
    identifiers = _identifiers(call, body)
    _check_limits(call, identifiers)
    reply_to = str(body.get("replyToEmail") or "")
    job = call.add_job("erasure", identifiers, uuid.uuid4().hex, details={"replyToEmail": reply_to})
    return json_response({"id": job.job_id})


def status(call: Call) -> web.Response:
    """``GET /partners/v1/{partner}/privacy/requests/{id}?token=``, or POST as in the page's example."""
    _authorise(call)
    if not _UUID.fullmatch(call.job_id):
        raise Refused(_error(400, "user_object_invalid", "provided job id is not a valid UUID"))
    job = call.find_job(call.job_id.replace("-", "").lower())
    if job is None:
        raise Refused(
            _error(404, "user_objects_invalid", "provided job UUID not found", "invalid_request_error")
        )
    job_status = _job_status(job, call.now())
    ended = job_status not in ("CREATED", "STARTED")
    return json_response(
        {
            "id": job.job_id,
            "jobStatus": job_status,
            "processingResult": RESULTS.get(job.outcome, "NONE") if ended else "NONE",
            # Milliseconds, as in the documentation.
            "emailSentUnixTimestamp": int(job.ends_at * 1000) if job_status == "SENT" else None,
        }
    )


def error(status: int) -> web.Response:
    if status == 401:
        return _error(401, "api_token_invalid", "No API token provided")
    if status == 403:
        return _error(403, "api_token_not_authorized", "Api token does not have access to this resource")
    return _error(status, "internal_id5_error", f"Internal error id: {uuid.uuid4().hex}")


VENDOR = SandboxVendor(
    name="id5",
    actions=frozenset({"erasure"}),
    extra={"partner_id": "173"},
    routes=(
        Route("POST", "/partners/v1/{account}/privacy/requests/deletion", "create", create),
        Route("GET", "/partners/v1/{account}/privacy/requests/{job_id}", "status", status),
        Route("POST", "/partners/v1/{account}/privacy/requests/{job_id}", "status", status),
    ),
    error=error,
)


def _authorise(call: Call) -> None:
    token = call.request.query.get("token")
    if not token:
        raise Refused(error(401))
    if call.account == WRONG_ACCOUNT:
        raise Refused(_error(400, "partiner_id_invalid", f"Invalid partner id {call.account} provided"))
    if not call.is_secret(token):
        message = f"Api token {token} does not have access to this resource"
        raise Refused(_error(403, "api_token_not_authorized", message))


def _body(call: Call) -> dict[str, object]:
    request = call.request
    if request.content_type != "application/json" or (request.charset or "").lower() != "utf-8":
        message = "application/json; charset=UTF-8 POST required"
        raise Refused(_error(400, "request_format_invalid", message))
    body = call.json_object()
    if body is None:
        raise Refused(_error(400, "request_format_invalid", "Missing required JSON body"))
    if str(body.get("jurisdiction", "")).upper() not in JURISDICTIONS:
        raise Refused(_error(400, "user_objects_invalid", "Missing required parameter 'jurisdiction'"))
    return body


def _identifiers(call: Call, body: dict[str, object]) -> list[tuple[str, str]]:
    given = [(field, body[field]) for field in FIELDS if field in body]
    identifiers = [(field, value if isinstance(value, str) else "") for field, value in given]
    if not identifiers:
        message = "Missing one of parameters: ['id5id', 'email', 'maid']"
        raise Refused(_error(400, "user_objects_invalid", message))
    for field, value in identifiers:
        label = _LABELS.get(field, field)
        if not _SHAPES[field].fullmatch(value):
            message = f"Provided {label} [{value}] is not a valid one"
            raise Refused(_error(400, "user_objects_invalid", message))
        if call.decide("erasure", [value]).outcome == "refused":
            problem = "cannot be decrypted" if field == "id5id" else "is not a valid one"
            raise Refused(_error(400, "user_objects_invalid", f"Provided {label} [{value}] {problem}"))
    return identifiers


def _check_limits(call: Call, identifiers: list[tuple[str, str]]) -> None:
    limit = call.settings.id5_daily_limit
    today = [job for job in call.account_jobs() if utc_day(job.created_at) == utc_day(call.now())]
    if len(today) >= limit:
        raise Refused(_limit_error(f"{limit:,} requests daily allowed per partner"))
    for field, value in identifiers:
        if any(job.names(field, value) for job in today):
            raise Refused(_limit_error(f"1 request daily allowed per {field}"))


def _job_status(job: Job, now: float) -> str:
    if now < job.ends_at:
        age = (now - job.created_at) / (job.seconds or 1)
        return "CREATED" if age < STARTS_AFTER else "STARTED"
    if job.outcome == "failed":
        return "FAILED"
    reply_to = job.details["replyToEmail"]
    if not reply_to:
        return "DONE"
    return "SEND_FAILED" if BOUNCING in reply_to else "SENT"


def _limit_error(what: str) -> web.Response:
    return _error(403, "api_rate_limit_error", f"Limit of {what} has been reached")


def _error(status: int, code: str, message: str, kind: str | None = None) -> web.Response:
    return json_response({"error": {"code": code, "type": kind or TYPES[code], "message": message}}, status)
