"""Attentive (SMS, e-mail): erasure only, one subscriber per call, by e-mail, phone or both.

https://docs.attentivemobile.com (privacy request, API rate limits)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

from include.dsar.errors import ProtocolError
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.model import Action, IdentityKind, Outcome, State, Subject
from include.dsar.vendors.replies import created_id
from include.dsar.vendors.reply_shape import Needs, ReplyShape, Route
from include.dsar.vendors.vendor import RUNNING, JobStatus, OnUncertain, Vendor

if TYPE_CHECKING:
    from include.dsar.accounts import AccountSettings

ROUTE = "/v1/privacy/delete-request"
FIELDS = {IdentityKind.EMAIL: "subjectEmail", IdentityKind.PHONE: "subjectPhone"}
PROMISE = timedelta(days=30)  # the page: "within thirty days provided the call was successful"
GRACE = timedelta(days=7)  # ours


class Attentive(Vendor):
    name = "attentive"
    title = "Attentive"
    service = "SMS and e-mail"
    base_url = "https://api.attentivemobile.com"
    credential = "Bearer token, scope privacy_requests:write"
    actions = frozenset({Action.ERASURE})
    identities = (IdentityKind.EMAIL, IdentityKind.PHONE)
    joins_identities = True
    requests_per_second = 100.0  # the page allows 150 by default
    poll_min = timedelta(hours=6)  # ours
    poll_max = timedelta(hours=24)  # ours
    give_up_after = PROMISE + GRACE  # a failed job has no state of its own
    on_uncertain = OnUncertain.REPEAT  # ours: deleting twice does no harm
    job_id_path = ("id",)
    shapes = MappingProxyType(
        {
            Route.CREATE: ReplyShape((Needs(("id",)),)),
            Route.STATUS: ReplyShape(
                (
                    Needs(("id", "processed", "type")),
                    Needs(("processingEndDateTime",), {"processed": True}),
                ),
                {"processed": frozenset({True, False}), "type": frozenset({"DELETE"})},
            ),
        }
    )

    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        if action not in self.actions:
            raise NotImplementedError("attentive supports only erasure")
        (subject,) = subjects
        body = {FIELDS[kind]: value for kind, value in subject.identifiers.items()}
        body["requestMsg"] = subject.request_id  # "for an audit trail"
        return HttpRequest("POST", ROUTE, _headers(settings), body)

    def read_created(self, reply: HttpReply) -> str:
        """Reads the id of the new job. The documentation shows two replies: the whole record, and only its
        `id`.
        """
        return created_id(self.created(reply).get("id"))

    def probe(self, settings: AccountSettings) -> HttpRequest:
        return HttpRequest("GET", "/v1/me", _headers(settings))

    def read_probe(self, settings: AccountSettings, reply: HttpReply) -> str:
        self.answered(reply, self.route_errors).object()
        return ""

    def status(self, settings: AccountSettings, job_id: str) -> HttpRequest:
        return HttpRequest("GET", f"{ROUTE}/{quote(job_id, safe='')}", _headers(settings))

    def read_status(self, action: Action, reply: HttpReply) -> JobStatus:
        body = self.answered(reply).object()
        processed = body.get("processed")
        if body.get("type", "DELETE") != "DELETE":
            raise ProtocolError("the request is not a deletion")
        if processed is True:
            if body.get("processingEndDateTime", "") is None:
                raise ProtocolError("the request is processed, but has no processingEndDateTime")
            return JobStatus(ended=True, outcome=Outcome(State.COMPLETED))
        if processed is False:
            return RUNNING
        raise ProtocolError("processed is neither true nor false")


def _headers(settings: AccountSettings) -> dict[str, str]:
    return {"Authorization": f"Bearer {settings.secret}", "Accept": "application/json"}
