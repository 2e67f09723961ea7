"""Besitos (offer wall): access and erasure, many users per call.

https://help.besitoscorp.com/en/articles/13862017-export-user-data-api
https://help.besitoscorp.com/en/articles/13179812-delete-user-data-api
https://help.besitoscorp.com/en/articles/13862031-data-request-status-api
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from include.dsar.errors import ProtocolError, Refused
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.model import Action, IdentityKind, Outcome, State, Subject
from include.dsar.vendors.fields import ConnectionField
from include.dsar.vendors.json_slices import items
from include.dsar.vendors.replies import created_id
from include.dsar.vendors.reply_shape import Needs, ReplyShape, Route
from include.dsar.vendors.vendor import RUNNING, JobStatus, OnUncertain, Result, Vendor

if TYPE_CHECKING:
    from include.dsar.accounts import AccountSettings

T = TypeVar("T")
ROUTES = {Action.ACCESS: "export", Action.ERASURE: "delete"}
FILE = "record.json"
STRANGE_RECORD = "a record in the reply names no user of this job, and could belong to this data subject"
NOT_ASKED = "the reply is about other data subjects"
REQUEST = Needs(
    (
        *(f"request.{name}" for name in ("id", "action", "status", "partner_user_ids")),
        *(f"request.progress.{name}" for name in ("completed", "failed", "pending", "percentage")),
    )
)
EXPORTED = Needs(
    ("request.completed_at", "request.expires_at", "data.data[].partner_user_id"),
    {"request.status": "completed", "request.action": ROUTES[Action.ACCESS]},
)
DELETED = Needs(
    (
        "request.completed_at",
        *(f"data.data.verification.{name}" for name in ("deletion_completed", "total_processed")),
        *(
            f"data.data.summary.{name}"
            for name in ("success", "processed_count", "found_partner_user_ids", "not_found_partner_user_ids")
        ),
    ),
    {"request.status": "completed", "request.action": ROUTES[Action.ERASURE]},
)
WORDS = {
    "request.status": frozenset({"pending", "completed", "failed"}),  # ours: a failed job
    "request.action": frozenset(ROUTES.values()),
}
EXPIRED = "the export has expired"


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
    job_id_path = ("request", "id")
    error_fields = ("success",)  # ours: the pages show no error reply
    shapes = MappingProxyType(
        {
            Route.CREATE: ReplyShape((Needs(("success",)), Needs(("request_id",), {"success": True}))),
            Route.STATUS: ReplyShape((Needs(("success",)), REQUEST, EXPORTED, DELETED), WORDS),
        }
    )

    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        user_ids = dict.fromkeys(subject.identifiers[IdentityKind.USER_ID] for subject in subjects)
        return HttpRequest(
            "POST",
            f"/data/partner/{ROUTES[action]}/{_partner(settings)}/users",
            _headers(settings),
            {"user_ids": list(user_ids)},
        )

    def read_created(self, reply: HttpReply) -> str:
        """Reads the id of the new job. Raises ReplyLost for a 200 without a body. An older page of the
        documentation shows this reply.

        Ignores `processed_user_ids`, because the sample reply in the documentation has other ids than the
        sample call.
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
        """Returns the record of each user, byte for byte. A user without data is absent from the result.

        Records are matched by `partner_user_id`, never by position. Each case below is about users without a
        matching record:

        A record without an id, or with an id that is not in the job (`USER-1` for `user-1`), could belong to
        any user. If the reply has such a record, these users count as unreadable. A user that is not in the
        reply's job counts as unreadable too. If the reply does not explain why records are missing, or if
        the export has expired, the results are lost and a new export is needed. There is one exception: if
        the export is for one user only and has not expired, this user counts as unreadable, because a new
        export could not be smaller.
        """
        body = self.answered(reply).object()
        if _status(Action.ACCESS, body).outcome != Outcome(State.READY):
            raise ProtocolError("the export has not completed")
        data = body.get("data")
        if data is None or (isinstance(data, dict) and data.get("data") is None):
            return dict.fromkeys(identifiers, Result(FILE, lost=EXPIRED))
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
        damage = _damage(body["request"], reply, records.keys(), asked or {*identifiers})
        is_new_export_safe = damage == EXPIRED or len(asked) > 1  # each is in a smaller batch

        def absent(name: str) -> Result | None:
            if strange or (asked and name not in asked):
                return Result(FILE, unreadable=STRANGE_RECORD if strange else NOT_ASKED)
            if damage is None:
                return None  # no data
            return Result(FILE, lost=damage) if is_new_export_safe else Result(FILE, unreadable=damage)

        doubtful = {name: result for name in identifiers if (result := absent(name))}
        return doubtful | found


def _status(action: Action, body: dict[str, Any]) -> JobStatus:
    request = _shape(dict, body.get("request"))  # without one, the reply is about no job
    if request.get("action", ROUTES[action]) != ROUTES[action]:
        raise ProtocolError("the job has another action than we asked for")
    if body.get("success") is False:
        return _failed("success: false")
    if request.get("error_message") is not None:
        return _failed("error_message is set")
    status = request.get("status")
    if not isinstance(status, str):
        raise ProtocolError("the reply contains no status")
    if status != "completed":
        return RUNNING  # ours: `pending` is the only other one that the pages show
    if _count(request, "pending") or _count(request, "percentage", 100) < 100:
        raise ProtocolError("the status of the job is completed, but its progress shows unfinished work")
    if request.get("completed_at", "") is None:
        raise ProtocolError("the job is completed, but has no time of completion")
    if action is Action.ACCESS:
        return JobStatus(ended=True, outcome=Outcome(State.READY))  # collect reads each user's record
    return _deleted(request, _shape(dict, _shape(dict, body.get("data")).get("data")))


def _deleted(request: dict[str, Any], data: dict[str, Any]) -> JobStatus:
    """Returns the outcome of each user whose outcome is clear from the reply. Omits all other users."""
    summary, verification = _shape(dict, data.get("summary")), _shape(dict, data.get("verification", {}))
    found, missing = _ids(summary, "found_partner_user_ids"), _ids(summary, "not_found_partner_user_ids")
    if found is None and missing is None:
        raise ProtocolError("the summary of a deletion names no user")
    found, missing = found or set(), missing or set()
    if summary.get("success", True) is not True:
        return JobStatus(ended=True)
    # "The number of user IDs deleted", "of completed delete processes": any of them may be absent.
    counts = (
        _count(request, "completed", len(found)),
        summary.get("processed_count"),
        verification.get("total_processed"),
    )
    is_short = any(type(done) is int and done < len(found) for done in counts)
    # "failed" counts the users that were not found, too.
    is_short = is_short or _count(request, "failed") > len(missing)
    # Found does not mean deleted. If the counts or flags deny it, they do not say for which user.
    is_confirmed = verification.get("deletion_completed", True) is True and not is_short
    outcomes = dict.fromkeys(missing - found, Outcome(State.NO_DATA))
    if is_confirmed:
        outcomes |= dict.fromkeys(found - missing, Outcome(State.COMPLETED))
    asked = request.get("partner_user_ids")
    if isinstance(asked, list) and asked:
        outcomes = {name: outcomes[name] for name in outcomes.keys() & set(map(str, asked))}
    return JobStatus(ended=True, outcomes=outcomes)


def _damage(request: dict[str, Any], reply: HttpReply, recorded: Set[str], asked: Set[str]) -> str | None:
    """Returns why a user without a record may still have data. None if the reply accounts for every user."""
    missing = asked - recorded
    if not missing:
        return None
    if _is_expired(request, reply):
        return EXPIRED
    if _count(request, "completed", len(asked)) > len(recorded):
        return "the export has fewer records than users"
    if _count(request, "failed") < len(missing):
        return "the export does not say why records are missing"
    return None


def _is_expired(request: dict[str, Any], reply: HttpReply) -> bool:
    """Returns whether the export has expired. The current time is that of the reply's Date header."""
    try:
        expires_at = datetime.fromisoformat(str(request.get("expires_at")))
        now = parsedate_to_datetime(reply.headers.get("date", ""))
        return expires_at <= now
    except (TypeError, ValueError):
        return False


def _count(request: dict[str, Any], name: str, otherwise: int = 0) -> int:
    """Returns a number in the job's progress. If the reply lacks the number, returns `otherwise`."""
    value = _shape(dict, request.get("progress") or {}).get(name)
    return value if type(value) is int else otherwise


def _joined(records: list[bytes]) -> bytes:
    """Returns a single record unchanged. Joins several records of one user into a JSON array."""
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
        raise ProtocolError("a list of user ids contains no id")
    return ids


def _id(value: Any) -> str:
    if type(value) in (int, str):
        return str(value)
    raise ProtocolError("a user id is neither a string nor a number")


def _shape(kind: type[T], value: object) -> T:
    if isinstance(value, kind):
        return value
    raise ProtocolError(f"a documented field is not in the reply or has another type than {kind.__name__}")


def _partner(settings: AccountSettings) -> str:
    return quote(settings.fields["partner_id"], safe="")


def _headers(settings: AccountSettings) -> dict[str, str]:
    return {"Authorization": f"Bearer {settings.secret}", "Accept": "application/json"}
