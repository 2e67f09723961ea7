"""Besitos (offer wall): access and erasure, many users per call.

https://help.besitoscorp.com/en/articles/13862017-export-user-data-api
https://help.besitoscorp.com/en/articles/13179812-delete-user-data-api
https://help.besitoscorp.com/en/articles/13862031-data-request-status-api
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from include.dsar.errors import ProtocolError, Refused
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.model import Action, IdentityKind, Outcome, State, Subject
from include.dsar.vendors.fields import ConnectionField
from include.dsar.vendors.json_slices import items
from include.dsar.vendors.replies import created_id
from include.dsar.vendors.vendor import RUNNING, JobStatus, OnUncertain, Result, Vendor

if TYPE_CHECKING:
    from include.dsar.accounts import AccountSettings

T = TypeVar("T")
ROUTES = {Action.ACCESS: "export", Action.ERASURE: "delete"}
FILE = "record.json"
STRANGE_RECORD = "a record in the reply names no user of this job, and could belong to this data subject"
NOT_ASKED = "the reply is about other data subjects"
NOT_CONFIRMED = Outcome(State.FAILED, "not confirmed")


class Besitos(Vendor):
    name = "besitos"
    title = "Besitos"
    service = "offer wall"
    base_url = "https://wall.besitos.ai"
    credential = "Bearer token"
    actions = frozenset({Action.ACCESS, Action.ERASURE})
    returns_data = True
    identities = (IdentityKind.USER_ID,)
    fields = (
        ConnectionField(
            "partner_id", "Partner id", "Besitos' number or name for your company.", required=True
        ),
    )
    users_per_call = 100  # ours: the page names no limit
    poll_min = timedelta(minutes=5)  # the page: "refresh rate 5 minutes"
    poll_max = timedelta(hours=1)  # ours
    give_up_after = timedelta(days=7)  # ours: the samples take seconds
    on_uncertain = OnUncertain.REPEAT  # ours: a second export or deletion does no harm
    error_fields = ("success",)  # ours: the pages show no error reply

    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        user_ids = dict.fromkeys(subject.identifiers[IdentityKind.USER_ID] for subject in subjects)
        return HttpRequest(
            "POST",
            f"/data/partner/{ROUTES[action]}/{_partner(settings)}/users",
            _headers(settings),
            {"user_ids": list(user_ids)},
        )

    def read_created(self, reply: HttpReply) -> str:
        """Reads the id of the new job. Raises ReplyLost for a 200 without a body, which an older page
        documents.

        Ignores `processed_user_ids`, because the page's sample shows other ids than were sent.
        """
        body = self.created(reply)
        if body.get("success") is False and body.get("request_id") is None:
            raise Refused(f"HTTP {reply.status}, success: false")
        return created_id(body.get("request_id"))

    def status(self, settings: AccountSettings, job_id: str) -> HttpRequest:
        path = f"/data/partner/gdpr/{_partner(settings)}/{quote(job_id, safe='')}"
        return HttpRequest("GET", path, _headers(settings))

    def read_status(self, action: Action, reply: HttpReply) -> JobStatus:
        return _status(action, self.answered(reply).object())

    def read_results(self, reply: HttpReply, identifiers: Sequence[str]) -> Mapping[str, Result]:
        """Returns the record of each user, byte for byte. A user without a record is absent from the
        result.

        Records are matched by `partner_user_id`, never by position. A record without an id, or with an id
        that is not in the job (`USER-1` for `user-1`), could belong to any user. If there is such a record,
        each user without a record of their own counts as unreadable, not as without data. A user whom the
        reply's job does not name also counts as unreadable.
        """
        body = self.answered(reply).object()
        if _status(Action.ACCESS, body).outcome != Outcome(State.READY):
            raise ProtocolError("the export has not completed")
        records: dict[str, list[bytes]] = {}
        nameless = False
        for record, content in items(reply.body, "data", "data"):
            if record is None:  # a user that Besitos does not know
                continue
            try:
                records.setdefault(_id(_shape(dict, record).get("partner_user_id")), []).append(content)
            except ProtocolError:
                nameless = True
        listed = body["request"].get("partner_user_ids")
        asked = {str(name) for name in listed} if isinstance(listed, list) else set()
        strange = nameless or not records.keys() <= asked | {*identifiers}
        found = {name: Result(FILE, _joined(records[name])) for name in identifiers if name in records}
        unreadable = {
            name: Result(FILE, unreadable=STRANGE_RECORD if strange else NOT_ASKED)
            for name in identifiers
            if strange or (asked and name not in asked)
        }
        return unreadable | found


def _status(action: Action, body: dict[str, Any]) -> JobStatus:
    if body.get("success") is False:
        return _failed("success: false")
    request = _shape(dict, body.get("request"))
    if request.get("error_message") is not None:
        return _failed("error_message is set")
    status = request.get("status")
    if not isinstance(status, str):
        raise ProtocolError("the reply names no status")
    if status != "completed":
        return RUNNING  # ours: `pending` is the only other one that the pages show
    if action is Action.ACCESS:
        return JobStatus(ended=True, outcome=Outcome(State.READY))  # collect reads each user's record
    return _deleted(request, _shape(dict, _shape(dict, body.get("data")).get("data")))


def _deleted(request: dict[str, Any], data: dict[str, Any]) -> JobStatus:
    summary, verification = _shape(dict, data.get("summary")), _shape(dict, data.get("verification", {}))
    found, missing = _ids(summary, "found_partner_user_ids"), _ids(summary, "not_found_partner_user_ids")
    if found is None and missing is None:
        raise ProtocolError("the summary of a deletion names no user")
    found, missing = found or set(), missing or set()
    # "The number of user IDs deleted", and "of completed delete processes": either may be missing.
    counts = (_shape(dict, request.get("progress", {})).get("completed"), summary.get("processed_count"))
    short = any(type(done) is int and done < len(found) for done in counts)
    flags = (verification.get("deletion_completed", True), summary.get("success", True))
    # Found does not mean deleted. If the counts or flags deny it, they do not say for which user.
    confirmed = not found or (flags == (True, True) and not short)
    outcomes = dict.fromkeys(missing - found, Outcome(State.NO_DATA))
    if confirmed:
        outcomes |= dict.fromkeys(found - missing, Outcome(State.COMPLETED))
    return JobStatus(ended=True, outcome=NOT_CONFIRMED, outcomes=outcomes, retry_alone=not confirmed)


def _joined(records: list[bytes]) -> bytes:
    """Returns a single record unchanged. Joins several records of one user to a JSON array."""
    return records[0] if len(records) == 1 else b"[" + b",\n".join(records) + b"]"


def _failed(reason: str) -> JobStatus:
    return JobStatus(ended=True, outcome=Outcome(State.FAILED, reason), retry_alone=True)


def _ids(summary: dict[str, Any], field: str) -> set[str] | None:
    """Returns the ids in one list of a deletion's summary. None if the list is missing."""
    listed = summary.get(field)
    if listed is None:
        return None
    ids = {str(value) for value in _shape(list, listed) if type(value) in (int, str)}
    if listed and not ids:
        raise ProtocolError("a list of user ids without any id")
    return ids


def _id(value: Any) -> str:
    if type(value) in (int, str):
        return str(value)
    raise ProtocolError("a user id that is neither a string nor a number")


def _shape(kind: type[T], value: object) -> T:
    if isinstance(value, kind):
        return value
    raise ProtocolError(f"the reply lacks a {kind.__name__} that the page documents")


def _partner(settings: AccountSettings) -> str:
    return quote(settings.fields["partner_id"], safe="")


def _headers(settings: AccountSettings) -> dict[str, str]:
    return {"Authorization": f"Bearer {settings.secret}", "Accept": "application/json"}
