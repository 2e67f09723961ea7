"""Batch, push messages: access and erasure, one user per call. Every API key is a separate app.

Source: https://doc.batch.com/api/gdpr/create, https://doc.batch.com/api/gdpr/get-status,
https://doc.batch.com/api/gdpr/get-all-requests. The documentation names the errors but shows no body and no
field for the token. We invented the fields ``code``, ``message`` and ``token``, and the reply about an
unknown request. A ``callback_url`` is validated but never called. It is not documented whether a 409
depends on the request type, so a setting of the sandbox decides this.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from aiohttp import web

from include.sandbox.decision import has_keyword
from include.sandbox.jobs import DAY, Job
from include.sandbox.vendor import WRONG_ACCOUNT, Call, Refused, Route, SandboxVendor, json_response
from include.sandbox.vendors.batch_archive import archive

REQUEST_TYPES = {"review": "access", "remove": "erasure"}
ID_TYPES = ("custom_id", "advertising_id", "install_id")
KEPT_FOR = 20 * DAY
"""Only finished requests expire. Pending requests stay available."""
ERRORS = {
    401: (10, "AUTHENTICATION_INVALID"),
    404: (20, "ROUTE_NOT_FOUND"),
    500: (1, "SERVER_ERROR"),
    503: (2, "MAINTENANCE_ERROR"),
}
MISSING_PARAMETER = (30, "MISSING_PARAMETER")
MALFORMED_PARAMETER = (31, "MALFORMED_PARAMETER")
MALFORMED_JSON_BODY = (32, "MALFORMED_JSON_BODY")
UNKNOWN_REQUEST = (21, "REQUEST_NOT_FOUND")
_MASK = 0x5CA1AB1E_0DDBA110_CAFEF00D_F005BA11


def create(call: Call) -> web.Response:
    """``POST /1.0/{api_key}/gdpr/request``"""
    _authorise(call)
    request_type, id_type, value = _parse(call)
    action = REQUEST_TYPES[request_type]
    jobs = call.jobs_of(id_type, value)
    same = [job for job in jobs if job.action == action]
    if not same and has_keyword(value, "busy"):
        same = [_add_job(call, request_type, id_type, value, "dashboard")]
    blocking = jobs if call.settings.batch_one_at_a_time else same
    if any(call.now() < job.ends_at for job in blocking):
        return json_response({"message": "This user is currently being processed"}, 409)
    job = _add_job(call, request_type, id_type, value, "api")
    return json_response({"token": job.job_id}, 202)


def status(call: Call) -> web.Response:
    """``GET /1.0/{api_key}/gdpr/request/{token}``"""
    _authorise(call)
    job = call.find_job(call.job_id)
    if job is None or _is_expired(call, job):
        raise Refused(_error(404, UNKNOWN_REQUEST))
    return json_response(_record(call, job))


def list_requests(call: Call) -> web.Response:
    """``GET /1.0/{api_key}/gdpr/requests``"""
    _authorise(call)
    jobs = [job for job in call.account_jobs() if not _is_expired(call, job)]
    return json_response([{"request_id": job.job_id, **_record(call, job)} for job in jobs])


def data(call: Call) -> web.Response:
    """Returns the zip at ``data_url``. Rejects Batch's credentials, as storage on another host does."""
    if "X-Authorization" in call.request.headers or "Authorization" in call.request.headers:
        return web.Response(status=400, text="<Error><Code>InvalidArgument</Code></Error>")
    job = call.jobs.find(call.vendor.name, str(_scramble(call.job_id)))
    if job is None or "data_url" not in _record(call, job) or _is_expired(call, job):
        return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
    return web.Response(body=archive(job), content_type="application/zip")


def error(status: int) -> web.Response:
    return _error(status, ERRORS.get(status, (status, "ERROR")))


VENDOR = SandboxVendor(
    name="batch",
    actions=frozenset(REQUEST_TYPES.values()),
    extra={"api_key": "demo-app"},
    routes=(
        Route("POST", "/1.0/{account}/gdpr/request", "create", create),
        Route("GET", "/1.0/{account}/gdpr/request/{job_id}", "status", status),
        Route("GET", "/1.0/{account}/gdpr/requests", "list", list_requests),
        Route("GET", "/batch-data/{job_id:[0-9a-f]{32}}.zip", "data", data),
    ),
    error=error,
)


def _authorise(call: Call) -> None:
    if not call.is_secret(call.request.headers.get("X-Authorization")) or call.account == WRONG_ACCOUNT:
        raise Refused(error(401))


def _parse(call: Call) -> tuple[str, str, str]:
    """Returns the request type, the type of the id and its value. Raises Refused with the documented 400."""
    body = call.json_object()
    if body is None:
        raise Refused(_error(400, MALFORMED_JSON_BODY))
    user = body.get("id")
    if "request_type" not in body or not isinstance(user, dict) or not {"type", "value"} <= user.keys():
        raise Refused(_error(400, MISSING_PARAMETER))
    request_type, id_type, value = body["request_type"], user["type"], user["value"]
    callback_url = body.get("callback_url", "https://")
    if (
        not isinstance(request_type, str)
        or request_type not in REQUEST_TYPES
        or id_type not in ID_TYPES
        or not isinstance(value, str)
        or not value
        or not str(callback_url).startswith("https://")
        or call.decide(REQUEST_TYPES[request_type], [value]).outcome == "refused"
    ):
        raise Refused(_error(400, MALFORMED_PARAMETER, f": {id_type} {value}"))
    return request_type, id_type, value


def _add_job(call: Call, request_type: str, id_type: str, value: str, trigger_type: str) -> Job:
    return call.add_job(
        REQUEST_TYPES[request_type],
        [(id_type, value)],
        str(uuid.uuid4()),
        trigger_type=trigger_type,
        details={"request_type": request_type},
    )


def _record(call: Call, job: Job) -> dict[str, object]:
    subject = job.subjects[0]
    done = call.now() >= job.ends_at
    record: dict[str, object] = {
        "request_date": datetime.fromtimestamp(job.created_at, UTC)
        .replace(tzinfo=None)
        .isoformat(timespec="milliseconds"),
        "status": "done" if done else "pending",
        "request_type": job.details["request_type"],
        "trigger_type": job.trigger_type,
        "id": {"type": subject.kind, "value": subject.value},
    }
    if done and job.outcome == "no_data":
        record["error"] = "user not found"
    elif done and job.outcome == "failed":
        record["error"] = f"unable to process {subject.kind} {subject.value}"
    elif done and job.action == "access":
        record["data_url"] = str(
            call.request.url.origin() / "batch-data" / f"{_scramble(job.job_id).hex}.zip"
        )
    return record


def _is_expired(call: Call, job: Job) -> bool:
    now = call.now()
    return now >= job.ends_at and now - job.created_at > KEPT_FOR


def _scramble(job_id: str) -> uuid.UUID:
    """Turns a token into the name of its zip, and back, so that the URL does not contain the token."""
    return uuid.UUID(int=uuid.UUID(job_id).int ^ _MASK)


def _error(status: int, code_and_name: tuple[int, str], text: str = "") -> web.Response:
    code, name = code_and_name
    return json_response({"code": code, "message": f"{name}{text}"}, status)
