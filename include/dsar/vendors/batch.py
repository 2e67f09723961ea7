"""Batch (push messages): access and erasure, one user in one call, one account per app.

https://doc.batch.com/api/gdpr/create, /get-status and /get-all-requests
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from include.dsar.accounts import AccountSettings
from include.dsar.errors import AlreadyRunning, ConfigurationError, ProtocolError, VendorBusy
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.http.retry_after import retry_after
from include.dsar.model import Action, IdentityKind, Outcome, State, Subject
from include.dsar.vendors.replies import answered, created, created_id, error_code, opaque_id
from include.dsar.vendors.vendor import RUNNING, JobStatus, ListedJob, OnUncertain, Result, Vendor

REQUEST_TYPES = {Action.ACCESS: "review", Action.ERASURE: "remove"}
ID_TYPES = {
    IdentityKind.USER_ID: "custom_id",
    IdentityKind.ADVERTISING_ID: "advertising_id",
    IdentityKind.INSTALL_ID: "install_id",
}
TOKEN_FIELDS = ("token", "id", "request_id")  # ours: the page says "a unique token", not where
CODES = frozenset({"10", "20", "30", "31", "32", "1", "2"})
USER_NOT_FOUND = "user not found"
# "The user … is currently being processed": the page does not say whether by a request of the same type
# only. Ours: it can be either, so that the list route need not hold a job that we can take for ours.
BEING_PROCESSED = 409


class Batch(Vendor):
    name = "batch"
    title = "Batch"
    service = "push messages"
    base_url = "https://api.batch.com"
    actions = frozenset({Action.ACCESS, Action.ERASURE})
    identities = (IdentityKind.USER_ID, IdentityKind.ADVERTISING_ID, IdentityKind.INSTALL_ID)
    needs = frozenset({"api_key"})
    one_job_per_subject = True  # the page: 409 while the user is being processed
    poll_min = timedelta(minutes=1)  # ours
    poll_max = timedelta(hours=1)  # ours
    give_up_after = timedelta(days=20)  # the page: requests disappear 20 days after their creation
    on_uncertain = OnUncertain.ASK

    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        (subject,) = subjects
        ((kind, value),) = subject.identifiers.items()
        body = {"request_type": REQUEST_TYPES[action], "id": {"type": ID_TYPES[kind], "value": value}}
        return HttpRequest("POST", _route(settings, "request"), _headers(settings), body)

    def read_created(self, reply: HttpReply) -> str:
        _read_errors(reply)
        if reply.status == BEING_PROCESSED:
            raise AlreadyRunning(f"HTTP {BEING_PROCESSED}")
        body = created(reply, CODES)
        # `id` is elsewhere the object that names the user: only a plain value can be the token.
        tokens = (body[field] for field in TOKEN_FIELDS if isinstance(body.get(field), str | int))
        return created_id(next(tokens, None))

    def status(self, settings: AccountSettings, job_id: str) -> HttpRequest:
        return HttpRequest("GET", _route(settings, f"request/{quote(job_id, safe='')}"), _headers(settings))

    def read_status(self, action: Action, reply: HttpReply) -> JobStatus:
        if reply.status != 404:  # here 404 speaks of the job
            _read_errors(reply)
        body = answered(reply, CODES).object()
        if body.get("request_type", REQUEST_TYPES[action]) != REQUEST_TYPES[action]:
            raise ProtocolError("the job is of another request type than we asked for")
        match body.get("status"):
            case "pending":
                return RUNNING
            case "done":
                outcome, whose = _outcome(action, body), _whose(body)
                if whose is None:
                    return JobStatus(ended=True, outcome=outcome)
                return JobStatus(ended=True, outcomes={whose: outcome})
        raise ProtocolError("a status that is neither pending nor done")

    def identifier_of(self, identifiers: Mapping[IdentityKind, str]) -> str:
        """The type and the value: `custom_id john.doe`."""
        ((kind, value),) = identifiers.items()
        return _name(ID_TYPES[kind], value)

    def read_results(self, reply: HttpReply, identifiers: Sequence[str]) -> Mapping[str, Result]:
        status = self.read_status(Action.ACCESS, reply)
        if not status.ended:
            raise ProtocolError("the review is not done")
        whose = identifiers[0]  # those of several requests are one person's
        if status.outcome_of(whose).state is not State.READY:
            return {}
        return {whose: Result("data.zip", url=reply.object()["data_url"])}

    def probe(self, settings: AccountSettings) -> HttpRequest:
        return self.listing(settings)

    def read_probe(self, reply: HttpReply) -> None:
        self.read_listing(reply)

    def listing(self, settings: AccountSettings) -> HttpRequest:
        return HttpRequest("GET", _route(settings, "requests"), _headers(settings))

    def read_listing(self, reply: HttpReply) -> Sequence[ListedJob]:
        _read_errors(reply)
        listed = answered(reply, CODES).json()
        if not isinstance(listed, list):
            raise ProtocolError("the list of requests is no list")
        jobs = [job for entry in listed if (job := _listed(entry)) is not None]
        if listed and not jobs:  # else a list of another shape would say that our job is not in it
            raise ProtocolError("a list of requests none of which can be read")
        return jobs


def _outcome(action: Action, body: dict[str, Any]) -> Outcome:
    """What a job that is done says; `error` is absent where there is none."""
    error = body.get("error")
    if isinstance(error, str) and error.strip().lower() == USER_NOT_FOUND:
        return Outcome(State.NO_DATA)
    if error is not None:
        return Outcome(State.FAILED, "Batch reports an error")
    if action is Action.ERASURE:
        return Outcome(State.COMPLETED)
    if not isinstance(body.get("data_url"), str) or not body["data_url"]:
        raise ProtocolError("a review is done, with neither data_url nor error")
    return Outcome(State.READY)


def _whose(body: dict[str, Any]) -> str | None:
    """Whom the job is about, as `identifier_of` says it; None where the reply leaves it out."""
    user = body.get("id")
    if user is None:
        return None
    if not isinstance(user, dict) or not isinstance(user.get("type"), str) or "value" not in user:
        raise ProtocolError("an id of a user of another shape than the page shows")
    return _name(user["type"], str(user["value"]))


def _name(id_type: str, value: str) -> str:
    # A UUID is the same in capitals: devices of one kind write it so, and others do not.
    return f"{id_type} {value.lower() if id_type == ID_TYPES[IdentityKind.ADVERTISING_ID] else value}"


def _listed(entry: Any) -> ListedJob | None:
    """An entry of the list, or None for one that cannot be ours or cannot be read."""
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


def _read_errors(reply: HttpReply) -> None:
    code = error_code(reply, CODES)
    if reply.status == 404:  # ROUTE_NOT_FOUND
        raise ConfigurationError(f"HTTP 404{f', code {code}' if code else ''}: look at api_key or host")
    if reply.status == 503 and code == "2":  # MAINTENANCE_ERROR: Batch itself, not a proxy before it
        raise VendorBusy("HTTP 503, code 2", retry_after=retry_after(reply))


def _route(settings: AccountSettings, rest: str) -> str:
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    return f"/1.0/{quote(key, safe='')}/gdpr/{rest}"


def _headers(settings: AccountSettings) -> dict[str, str]:
    return {"X-Authorization": settings.secret.get_secret_value(), "Accept": "application/json"}
