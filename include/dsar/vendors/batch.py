"""Batch (push messages): access and erasure, one user per call, one account per app.

https://doc.batch.com/api/gdpr/create, /get-status and /get-all-requests
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from include.dsar.errors import (
    AlreadyRunning,
    ConfigurationError,
    CredentialsRefused,
    ProtocolError,
    Refused,
    ReplyLost,
    VendorBusy,
)
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.model import Action, IdentityKind, Outcome, State, Subject
from include.dsar.vendors.fields import ConnectionField
from include.dsar.vendors.replies import (
    CODED_CREATE_ERRORS,
    OUR_CALL,
    ROUTE_ERRORS,
    STATUS_ERRORS,
    Meaning,
    created_id,
    errors,
    opaque_id,
)
from include.dsar.vendors.reply_shape import Needs, ReplyShape, Route
from include.dsar.vendors.vendor import RUNNING, JobStatus, ListedJob, OnUncertain, Result, Vendor

if TYPE_CHECKING:
    from include.dsar.accounts import AccountSettings

REQUEST_TYPES = {Action.ACCESS: "review", Action.ERASURE: "remove"}
ID_TYPES = {
    IdentityKind.USER_ID: "custom_id",
    IdentityKind.ADVERTISING_ID: "advertising_id",
    IdentityKind.INSTALL_ID: "install_id",
}
TOKEN_FIELDS = ("token", "id", "request_id")  # ours: the page says "a unique token", not its field
USER_NOT_FOUND = "user not found"
WRONG_KEY = Meaning(ConfigurationError, "check api_key and Host of the connection")
REQUEST = ReplyShape(
    (
        Needs(("status", "request_type", "id.type", "id.value")),
        Needs(("data_url|error",), {"status": "done", "request_type": REQUEST_TYPES[Action.ACCESS]}),
    ),
    {
        "status": frozenset({"pending", "done"}),
        "request_type": frozenset(REQUEST_TYPES.values()),
        "id.type": frozenset(ID_TYPES.values()),
    },
)
LISTED = replace(REQUEST, needs=(Needs(("request_id", "request_date")), *REQUEST.needs), is_list=True)
MAINTENANCE = (503, "2")  # Batch itself, not a proxy in front of it


class Batch(Vendor):
    name = "batch"
    title = "Batch"
    service = "push messages"
    base_url = "https://api.batch.com"
    credential = "REST API key of your company"
    actions = frozenset({Action.ACCESS, Action.ERASURE})
    returns_data = True
    identities = (IdentityKind.USER_ID, IdentityKind.ADVERTISING_ID, IdentityKind.INSTALL_ID)
    fields = (
        ConnectionField(
            "api_key", "API key of the app", "Each app (iOS, Android, web) is its own account.",
            required=True, secret=True,
        ),
    )  # fmt: skip
    one_job_per_subject = True  # the page: 409 while the user is being processed
    poll_min = timedelta(minutes=1)  # ours
    poll_max = timedelta(hours=1)  # ours
    give_up_after = timedelta(days=20)  # the page: requests disappear 20 days after their creation
    on_uncertain = OnUncertain.ASK
    job_id_path = ("request_id",)
    error_fields = ("code",)
    statuses_with_any_code = frozenset({404})  # the page lists no code for an unknown request
    shapes = MappingProxyType(
        {
            Route.CREATE: ReplyShape((Needs(("|".join(TOKEN_FIELDS),)),)),
            Route.STATUS: REQUEST,
            Route.LIST: LISTED,
        }
    )
    create_errors = errors(
        CODED_CREATE_ERRORS,
        {
            (400, "30"): OUR_CALL,  # MISSING_PARAMETER
            (400, "31"): Refused,  # MALFORMED_PARAMETER
            (400, "32"): OUR_CALL,  # MALFORMED_JSON_BODY
            (401, "10"): CredentialsRefused,
            (404, None): WRONG_KEY,
            (404, "20"): WRONG_KEY,  # ROUTE_NOT_FOUND
            # "The user … is currently being processed". The page does not say whether by a request of
            # the same type. Ours: perhaps of another one, so the list need not contain a job of ours.
            (409, None): AlreadyRunning,
            (500, "1"): ReplyLost,
            MAINTENANCE: VendorBusy,
        },
    )
    # The page does not say what it answers for an unknown request. Code 20 means that there is no such route.
    status_errors = errors(STATUS_ERRORS, {(404, "20"): WRONG_KEY, MAINTENANCE: VendorBusy})
    route_errors = errors(ROUTE_ERRORS, {(404, None): WRONG_KEY, MAINTENANCE: VendorBusy})

    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        (subject,) = subjects
        ((kind, value),) = subject.identifiers.items()
        body = {"request_type": REQUEST_TYPES[action], "id": {"type": ID_TYPES[kind], "value": value}}
        return HttpRequest("POST", _route(settings, "request"), _headers(settings), body)

    def read_created(self, reply: HttpReply) -> str:
        body = self.created(reply)
        # In other replies `id` is the object that names the user: only a plain value can be the token.
        tokens = (body[field] for field in TOKEN_FIELDS if isinstance(body.get(field), str | int))
        return created_id(next(tokens, None))

    def status(self, settings: AccountSettings, job_id: str) -> HttpRequest:
        return HttpRequest("GET", _route(settings, f"request/{quote(job_id, safe='')}"), _headers(settings))

    def read_status(self, action: Action, reply: HttpReply) -> JobStatus:
        body = self.answered(reply).object()
        if body.get("request_type", REQUEST_TYPES[action]) != REQUEST_TYPES[action]:
            raise ProtocolError("the job's request type differs from the request type that we sent")
        match body.get("status"):
            case "pending":
                return RUNNING
            case "done":
                outcome, subject = _outcome(action, body), _subject(body)
                if subject is None:
                    return JobStatus(ended=True, outcome=outcome)
                return JobStatus(ended=True, outcomes={subject: outcome})
        raise ProtocolError("the status is neither pending nor done")

    def identifier_of(self, identifiers: Mapping[IdentityKind, str]) -> str:
        """Returns the type and the value of the identifier, such as `custom_id john.doe`."""
        ((kind, value),) = identifiers.items()
        return _name(ID_TYPES[kind], value)

    def read_results(self, reply: HttpReply, identifiers: Sequence[str]) -> Mapping[str, Result]:
        status = self.read_status(Action.ACCESS, reply)
        if not status.ended:
            raise ProtocolError("the review is not done")
        identifier = identifiers[0]  # the identifiers of several requests are one data subject's
        if status.outcome_of(identifier).state is not State.READY:
            return {}
        return {identifier: Result("data.zip", url=reply.object()["data_url"])}

    def probe(self, settings: AccountSettings) -> HttpRequest:
        return self.listing(settings)

    def read_probe(self, settings: AccountSettings, reply: HttpReply) -> str:
        self.read_listing(reply)
        return ""

    def listing(self, settings: AccountSettings) -> HttpRequest:
        return HttpRequest("GET", _route(settings, "requests"), _headers(settings))

    def read_listing(self, reply: HttpReply) -> Sequence[ListedJob]:
        listed = self.answered(reply, self.route_errors).json()
        if isinstance(listed, dict):
            raise ProtocolError("the list of requests is wrapped in an object, so it may be incomplete")
        if not isinstance(listed, list):
            raise ProtocolError("the list of requests is not a list")
        if 'rel="next"' in reply.headers.get("link", ""):
            raise ProtocolError("the reply contains only one of several pages of the list of requests")
        jobs = [job for entry in listed if (job := _listed(entry)) is not None]
        if listed and not jobs:  # otherwise a list of another shape would say that our job is not in it
            raise ProtocolError("no entry of the list of requests can be read")
        return jobs


def _outcome(action: Action, body: dict[str, Any]) -> Outcome:
    """Returns the outcome of a job that is done. `error` is absent if the job had no error."""
    error = body.get("error")
    is_unknown_user = isinstance(error, str) and error.strip().lower() == USER_NOT_FOUND
    if body.get("data_url") and (action is Action.ERASURE or is_unknown_user):
        raise ProtocolError("the request has a data_url, although such a request returns no data")
    if is_unknown_user:
        return Outcome(State.NO_DATA)
    if error is not None:
        return Outcome(State.FAILED, "Batch reports an error")
    if action is Action.ERASURE:
        return Outcome(State.COMPLETED)
    if not isinstance(body.get("data_url"), str) or not body["data_url"]:
        raise ProtocolError("the review is done, but has neither data_url nor error")
    return Outcome(State.READY)


def _subject(body: dict[str, Any]) -> str | None:
    """Returns the data subject of the job, as `identifier_of` writes it. None if the reply does not name
    one.
    """
    user = body.get("id")
    if user is None:
        return None
    if not isinstance(user, dict) or not isinstance(user.get("type"), str) or "value" not in user:
        raise ProtocolError("a user id is not of the documented shape")
    return _name(user["type"], str(user["value"]))


def _name(id_type: str, value: str) -> str:
    # A UUID means the same in capitals. Some kinds of devices write it in capitals, others do not.
    return f"{id_type} {value.lower() if id_type == ID_TYPES[IdentityKind.ADVERTISING_ID] else value}"


def _listed(entry: Any) -> ListedJob | None:
    """Reads one entry of the list. Returns None if the entry cannot be ours or cannot be read."""
    try:
        action = {name: action for action, name in REQUEST_TYPES.items()}[entry["request_type"]]
        kind = {name: kind for kind, name in ID_TYPES.items()}[entry["id"]["type"]]
        # "Always in UTC", and written without a zone.
        requested_at = datetime.fromisoformat(entry["request_date"])
        requested_at = requested_at if requested_at.tzinfo else requested_at.replace(tzinfo=UTC)
        identifiers = {kind: str(entry["id"]["value"])}
        return ListedJob(
            opaque_id(entry["request_id"]), action, identifiers, requested_at, entry["status"] == "pending"
        )
    except (KeyError, TypeError, ValueError, ProtocolError):
        return None


def _route(settings: AccountSettings, rest: str) -> str:
    return f"/1.0/{quote(settings.fields['api_key'], safe='')}/gdpr/{rest}"


def _headers(settings: AccountSettings) -> dict[str, str]:
    return {"X-Authorization": settings.secret, "Accept": "application/json"}
