"""Batch, push messages: access and erasure, one user in a call; every API key is an app of its own.

Source: https://doc.batch.com/api/gdpr/create, https://doc.batch.com/api/gdpr/get-status,
https://doc.batch.com/api/gdpr/get-all-requests.
Its pages name the errors but show no body, and no field for the token: ``code``, ``message`` and ``token``
are this sandbox's own. A ``callback_url`` is checked and never called. Whether a 409 speaks of requests of
the same type only, they leave open: a setting says so.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from aiohttp import web

from include.sandbox.batch_archive import archive
from include.sandbox.book import DAY, Entry
from include.sandbox.call import WRONG_ACCOUNT, Call, Refused, Route, VendorApi, json_response
from include.sandbox.decision import decide, is_marked

NAME = "batch"
REQUEST_TYPES = {"review": "access", "remove": "erasure"}
ID_TYPES = ("custom_id", "advertising_id", "install_id")
KEPT_FOR = 20 * DAY
"""Only what has ended expires: pending requests are always available."""
ERRORS = {
    401: (10, "AUTHENTICATION_INVALID"),
    404: (20, "ROUTE_NOT_FOUND"),
    500: (1, "SERVER_ERROR"),
    503: (2, "MAINTENANCE_ERROR"),
}
MISSING_PARAMETER = (30, "MISSING_PARAMETER")
MALFORMED_PARAMETER = (31, "MALFORMED_PARAMETER")
MALFORMED_JSON_BODY = (32, "MALFORMED_JSON_BODY")
_MASK = 0x5CA1AB1E_0DDBA110_CAFEF00D_F005BA11


def create(call: Call) -> web.Response:
    """``POST /1.0/{api_key}/gdpr/request``"""
    _authorise(call)
    request_type, id_type, value = _parse(call)
    action = REQUEST_TYPES[request_type]
    jobs = call.book.of_subject(NAME, call.account, id_type, value)
    same = [e for e in jobs if e.action == action]
    if not same and is_marked(value, "busy"):
        same = [_take(call, request_type, id_type, value, "dashboard")]
    in_the_way = jobs if call.settings.batch_one_at_a_time else same
    if any(call.book.now() < entry.ends_at for entry in in_the_way):
        return json_response({"message": "This user is currently being processed"}, 409)
    entry = _take(call, request_type, id_type, value, "api")
    return json_response({"token": entry.job_id}, 202)


def status(call: Call) -> web.Response:
    """``GET /1.0/{api_key}/gdpr/request/{token}``"""
    _authorise(call)
    entry = call.book.find(NAME, call.account, call.job_id)
    if entry is None or _is_expired(call, entry):
        raise Refused(error(404))
    return json_response(_shown(call, entry))


def list_requests(call: Call) -> web.Response:
    """``GET /1.0/{api_key}/gdpr/requests``"""
    _authorise(call)
    entries = call.book.of_account(NAME, call.account)
    return json_response(
        [{"request_id": e.job_id, **_shown(call, e)} for e in entries if not _is_expired(call, e)]
    )


def data(call: Call) -> web.Response:
    """The zip that ``data_url`` points at.

    It stands for a store on another host: that knows nothing of Batch's credentials, and refuses them.
    """
    if "X-Authorization" in call.request.headers or "Authorization" in call.request.headers:
        return web.Response(status=400, text="<Error><Code>InvalidArgument</Code></Error>")
    entry = call.book.find(NAME, None, str(_scramble(call.job_id)))
    if entry is None or "data_url" not in _shown(call, entry) or _is_expired(call, entry):
        return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
    return web.Response(body=archive(entry), content_type="application/zip")


def error(status: int) -> web.Response:
    return _error(status, ERRORS.get(status, (status, "ERROR")))


API = VendorApi(
    NAME,
    (
        Route("POST", "/1.0/{account}/gdpr/request", "create", create),
        Route("GET", "/1.0/{account}/gdpr/request/{job_id}", "status", status),
        Route("GET", "/1.0/{account}/gdpr/requests", "list", list_requests),
        Route("GET", "/batch-data/{job_id:[0-9a-f]{32}}.zip", "data", data),
    ),
    error,
)


def _authorise(call: Call) -> None:
    if not call.is_secret(call.request.headers.get("X-Authorization")) or call.account == WRONG_ACCOUNT:
        raise Refused(error(401))


def _parse(call: Call) -> tuple[str, str, str]:
    """The request type, the id's type and its value, or the documented 400."""
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
        or decide(NAME, REQUEST_TYPES[request_type], [value]).outcome == "refused"
    ):
        raise Refused(_error(400, MALFORMED_PARAMETER, f": {id_type} {value}"))
    return request_type, id_type, value


def _take(call: Call, request_type: str, id_type: str, value: str, trigger_type: str) -> Entry:
    return call.book.take(
        NAME,
        call.account,
        REQUEST_TYPES[request_type],
        [(id_type, value)],
        str(uuid.uuid4()),
        trigger_type=trigger_type,
        details={"request_type": request_type},
    )


def _shown(call: Call, entry: Entry) -> dict[str, object]:
    subject = entry.subjects[0]
    done = call.book.now() >= entry.ends_at
    shown: dict[str, object] = {
        "request_date": datetime.fromtimestamp(entry.created_at, UTC)
        .replace(tzinfo=None)
        .isoformat(timespec="milliseconds"),
        "status": "done" if done else "pending",
        "request_type": entry.details["request_type"],
        "trigger_type": entry.trigger_type,
        "id": {"type": subject.kind, "value": subject.value},
    }
    if done and entry.outcome == "no_data":
        shown["error"] = "user not found"
    elif done and entry.outcome == "failed":
        shown["error"] = f"unable to process {subject.kind} {subject.value}"
    elif done and entry.action == "access":
        shown["data_url"] = str(
            call.request.url.origin() / "batch-data" / f"{_scramble(entry.job_id).hex}.zip"
        )
    return shown


def _is_expired(call: Call, entry: Entry) -> bool:
    now = call.book.now()
    return now >= entry.ends_at and now - entry.created_at > KEPT_FOR


def _scramble(job_id: str) -> uuid.UUID:
    """A token as the name of its zip, and back: whoever knows the one should not see the other in it."""
    return uuid.UUID(int=uuid.UUID(job_id).int ^ _MASK)


def _error(status: int, code_and_name: tuple[int, str], text: str = "") -> web.Response:
    code, name = code_and_name
    return json_response({"code": code, "message": f"{name}{text}"}, status)
