"""OpenDSR, also known as OpenGDPR: a protocol that several processors support.

https://github.com/opengdpr/OpenDSR (specification 1.0, with `regulation` of 2.0)

Processors differ in path, authentication, identity types and extra fields, so these are fields of the
connection. We choose the id of each job. If a reply is lost, we can ask for that id, and a repeated call
does no harm.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

from include.dsar.errors import (
    AlreadyRunning,
    ConfigurationError,
    JobUnknown,
    ProtocolError,
    Refused,
    ReplyLost,
)
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.model import Action, IdentityKind, Outcome, State, Subject
from include.dsar.vendors.opendsr_connection import (
    FIELDS,
    IDENTITY_TYPES,
    check_fields,
    headers,
    identity_types,
    signer,
)
from include.dsar.vendors.opendsr_discovery import supported, unsupported
from include.dsar.vendors.replies import (
    CREATE_ERRORS,
    STATUS_ERRORS,
    Meaning,
    check,
    created_id,
    error_object,
    errors,
)
from include.dsar.vendors.reply_shape import Needs, ReplyShape, Route
from include.dsar.vendors.vendor import RUNNING, JobStatus, OnUncertain, Result, Vendor

if TYPE_CHECKING:
    from include.dsar.accounts import AccountSettings

# The three names that the protocol has had. A reply may use the headers of any of them.
HEADER_PREFIXES = ("x-opendsr-", "x-opengdpr-", "x-opencompliance-")
# mParticle has this text and no code; AppsFlyer has codes. A wrong guess costs one more GET.
EXISTS = "already exists"
EXISTS_TEXT = re.compile(r"\b(already|duplicate)\b", re.IGNORECASE)
WRONG_APP = Meaning(ConfigurationError, "check extra_body of the connection and the rights of the token")


STATES = frozenset({"pending", "in_progress", "completed", "cancelled", "canceled"})


def _word(status: str) -> str:
    return status.lower().replace("-", "_")


class OpenDsr(Vendor):
    name = "opendsr"
    title = "OpenDSR"
    service = "data processor"
    credential = "token; for basic: name:password"
    fields = FIELDS

    actions = frozenset({Action.ACCESS, Action.ERASURE})
    returns_data = True
    identities = (IdentityKind.EMAIL, IdentityKind.USER_ID)
    optional_identities = tuple(kind for kind in IdentityKind if kind not in IDENTITY_TYPES)
    joins_identities = True
    one_job_per_subject = True  # mParticle: 409; AppsFlyer: e215
    requests_per_second = 5.0  # ours: AppsFlyer allows 350 in a minute
    poll_min = timedelta(minutes=15)  # ours
    poll_max = timedelta(hours=12)  # ours
    give_up_after = timedelta(days=45)  # ours: the samples promise 30 days
    can_cancel = True
    code_field = "af_gdpr_code"  # AppsFlyer
    shapes = MappingProxyType(
        {
            Route.CREATE: ReplyShape((Needs(("subject_request_id",)),)),
            Route.STATUS: ReplyShape(
                (
                    Needs(("subject_request_id", "request_status")),
                    Needs(("results_url|results_count",), {"request_status": "completed"}, Action.ACCESS),
                ),
                {"request_status": STATES},
                _word,
            ),
        }
    )

    on_uncertain = OnUncertain.ASK_JOB
    create_errors = errors(
        CREATE_ERRORS,
        {
            (400, EXISTS): AlreadyRunning,
            (400, "e213"): AlreadyRunning,  # this id
            (400, "e215"): AlreadyRunning,  # another id with the same identities
            (400, "e411"): WRONG_APP,
            (400, "e412"): WRONG_APP,
            (400, "e413"): WRONG_APP,
            (400, "e511"): ReplyLost,
            (409, None): AlreadyRunning,  # another id with the same identities
        },
    )
    status_errors = errors(
        STATUS_ERRORS,
        {
            (400, "e214"): JobUnknown,
            (400, "e412"): WRONG_APP,
            (400, "e413"): WRONG_APP,
            (400, "e511"): ReplyLost,
        },
    )
    cancel_errors = errors(
        status_errors, {(400, None): Refused, (400, "e211"): Refused, (409, None): Refused}
    )

    def check_settings(self, settings: AccountSettings, identities: Sequence[IdentityKind]) -> None:
        check_fields(settings, identities)

    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        (subject,) = subjects
        fields, types = settings.fields, identity_types(settings)
        job_id = self.job_id_of(settings, subject)
        body = {
            "subject_request_id": job_id,
            "subject_request_type": fields["access_type"] if action is Action.ACCESS else "erasure",
            "submitted_time": f"{subject.received_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "subject_identities": [
                {
                    "identity_type": types[kind],
                    "identity_value": _formatted(value, fields["identity_format"]),
                    "identity_format": fields["identity_format"],
                }
                for kind, value in subject.identifiers.items()
            ],
        }
        if fields["regulation"] == "send":
            body["regulation"] = subject.regulation.lower()
        if fields["api_version"]:
            body["api_version"] = fields["api_version"]
        return self._request(
            settings, "POST", fields["path"], {**(fields["extra_body"] or {}), **body}, job_id
        )

    def read_created(self, reply: HttpReply) -> str:
        return created_id(self.created(reply).get("subject_request_id"))

    def job_id_of(self, settings: AccountSettings, subject: Subject) -> str:
        """Returns a UUID of version 4, as the protocol demands. All tries of a job have the same id. Each
        new job gets a new id.
        """
        seed = f"{settings.account}\n{subject.submission}\n{subject.request_id}\n{subject.earlier_jobs}"
        return str(UUID(bytes=hashlib.sha256(seed.encode()).digest()[:16], version=4))

    def status(self, settings: AccountSettings, job_id: str) -> HttpRequest:
        return self._request(settings, "GET", _job_path(settings, job_id), None, job_id)

    def read_status(self, action: Action, reply: HttpReply) -> JobStatus:
        body = self.answered(reply).object()
        match _word(str(body.get("request_status"))):
            case "pending" | "in_progress":
                return RUNNING
            case "cancelled" | "canceled":
                return JobStatus(ended=True, outcome=Outcome(State.FAILED, "the job was cancelled"))
            case "completed":
                return JobStatus(ended=True, outcome=_outcome(action, body))
        raise ProtocolError("request_status is missing or not documented")

    def read_results(self, reply: HttpReply, identifiers: Sequence[str]) -> Mapping[str, Result]:
        status = self.read_status(Action.ACCESS, reply)
        if status.outcome != Outcome(State.READY):
            raise ProtocolError("the job has no result")
        result = Result("result", url=reply.object()["results_url"])
        return dict.fromkeys(identifiers, result)  # those of several requests are one data subject's

    def cancel(self, settings: AccountSettings, job_id: str) -> HttpRequest:
        return self._request(settings, "DELETE", _job_path(settings, job_id), None, job_id)

    def read_cancelled(self, reply: HttpReply) -> None:
        check(reply, self.cancel_errors, self.error_code(reply))

    def read_probe(self, settings: AccountSettings, reply: HttpReply) -> str:
        super().read_probe(settings, reply)
        return _signature_sentence(settings)

    def discovery(self, settings: AccountSettings) -> HttpRequest:
        return HttpRequest("GET", "/discovery", headers(settings))  # not signed

    def read_discovery(self, settings: AccountSettings, reply: HttpReply) -> str:
        return supported(settings, self.answered(reply, self.route_errors).object())

    def unsupported(self, settings: AccountSettings, reply: HttpReply) -> Sequence[str]:
        return unsupported(settings, self.answered(reply, self.route_errors).object())

    def error_code(self, reply: HttpReply) -> str | None:
        exists = EXISTS_TEXT.search(str(error_object(reply).get("message")))
        return super().error_code(reply) or (EXISTS if exists else None)

    def _request(
        self, settings: AccountSettings, method: str, path: str, body: Any, job_id: str
    ) -> HttpRequest:
        def verify(reply: HttpReply) -> None:
            if not 200 <= reply.status < 300:
                return  # errors are not signed
            if processor := signer(settings):
                processor.verify(reply, HEADER_PREFIXES, datetime.now(UTC))
            # The signature covers neither method nor path: another job's reply has a valid one too.
            if method != "DELETE" and str(reply.object().get("subject_request_id")).lower() != job_id.lower():
                raise ProtocolError("the reply is about another job")

        return HttpRequest(method, path, headers(settings), body, verify)


def _outcome(action: Action, body: Mapping[str, Any]) -> Outcome:
    if action is Action.ERASURE:
        return Outcome(State.COMPLETED)
    if isinstance(body.get("results_url"), str) and body["results_url"]:
        return Outcome(State.READY)
    if type(body.get("results_count")) is int and body["results_count"] == 0:
        return Outcome(State.NO_DATA)
    raise ProtocolError("the job is completed, but has no results_url")


def _signature_sentence(settings: AccountSettings) -> str:
    processor = signer(settings)
    if processor is None:
        return "Replies are not verified."
    try:
        last = processor.certificate(datetime.now(UTC)).not_valid_after_utc
    except ValueError as error:
        raise ProtocolError(f"the processor's certificate {error}") from None
    return f"Our copy of its certificate is valid until {last:%Y-%m-%d}."


def _job_path(settings: AccountSettings, job_id: str) -> str:
    return f"{settings.fields['path']}/{quote(job_id, safe='')}"


def _formatted(value: str, form: str) -> str:
    return value if form == "raw" else hashlib.new(form, value.encode(), usedforsecurity=False).hexdigest()
