"""ID5 (identity): erasure only, one identifier per call.

https://wiki.id5.io/docs/dsar-data-deletion-api
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

from include.dsar.errors import (
    AccountQuota,
    ConfigurationError,
    CredentialsRefused,
    IdentifierQuota,
    JobUnknown,
    ProtocolError,
    Refused,
    ReplyLost,
    VendorBusy,
)
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.model import Action, IdentityKind, Outcome, State, Subject
from include.dsar.vendors.fields import ConnectionField, FieldKind
from include.dsar.vendors.replies import (
    CODED_CREATE_ERRORS,
    OUR_CALL,
    STATUS_ERRORS,
    Meaning,
    created_id,
    error_object,
    errors,
)
from include.dsar.vendors.reply_shape import Needs, ReplyShape, Route
from include.dsar.vendors.vendor import RUNNING, JobStatus, OnUncertain, Vendor

if TYPE_CHECKING:
    from include.dsar.accounts import AccountSettings

RATE_LIMIT = "api_rate_limit_error"
# "Limit of 1 request daily allowed per maid has been reached", or "… per partner …". Only the message
# shows which. Without it, the limit counts as the account's: then nothing follows for the identifier.
PER_IDENTIFIER = re.compile(r"\bper (email|id5id|maid|partnerUid)\b", re.IGNORECASE)
WRONG_PARTNER = Meaning(ConfigurationError, "check partner_id of the connection")
BAD_IDENTIFIER = ("user_object_invalid", "user_objects_invalid")  # the page spells it in two ways
BAD_PARTNER = ("partner_id_invalid", "partiner_id_invalid")  # this one too, once wrongly

RUNS = frozenset({"CREATED", "STARTED"})
NOT_DONE = {"FAILED": "the job failed", "CANCELLED": "the job was cancelled"}
ENDED = frozenset({"DONE", "SENT", "SEND_FAILED"})  # the last two are about the e-mail, not the deletion
RESULTS = {"DELETE_DELETED": Outcome(State.COMPLETED), "DELETE_NO_DATA": Outcome(State.NO_DATA)}
GMAIL = frozenset({"gmail.com", "googlemail.com"})


class Id5(Vendor):
    name = "id5"
    title = "ID5"
    service = "advertising identity"
    base_url = "https://api.id5-sync.com"
    credential = "API token"
    actions = frozenset({Action.ERASURE})
    identities = (IdentityKind.EMAIL, IdentityKind.ID5_ID, IdentityKind.ADVERTISING_ID)
    optional_identities = (IdentityKind.USER_ID,)  # ours: only for a company that gave ID5 its user ids
    fields = (
        ConnectionField("partner_id", "Partner id", "ID5's number for your company.", required=True),
        ConnectionField(
            "reply_to_email", "Reply to", "A mailbox of your company. ID5 may write to it about a deletion.",
            FieldKind.EMAIL,
        ),
    )  # fmt: skip
    daily_quota = 3000
    needs_jurisdiction = True
    one_job_per_subject = True  # the page: one request a day for each identifier
    poll_min = timedelta(minutes=5)  # ours
    poll_max = timedelta(hours=6)  # ours
    give_up_after = timedelta(days=30)  # ours: the page names no limit
    on_uncertain = OnUncertain.NEXT_DAY  # ours: one call a day per identifier, and no list of jobs
    job_id_path = ("id",)
    error_fields = ("code",)
    create_errors = errors(
        CODED_CREATE_ERRORS,
        {
            **{(400, code): WRONG_PARTNER for code in BAD_PARTNER},
            (400, "request_format_invalid"): OUR_CALL,
            **{(400, code): Refused for code in BAD_IDENTIFIER},
            (401, "api_token_invalid"): CredentialsRefused,
            (403, "api_token_not_authorized"): CredentialsRefused,
            (403, RATE_LIMIT): AccountQuota,
            (500, "internal_id5_error"): ReplyLost,
        },
    )
    status_errors = errors(
        STATUS_ERRORS,
        {
            **{(400, code): WRONG_PARTNER for code in BAD_PARTNER},
            **{(400, code): JobUnknown for code in BAD_IDENTIFIER},  # "job id is not a valid UUID"
            (403, RATE_LIMIT): VendorBusy,
        },
    )

    shapes = MappingProxyType(
        {
            Route.CREATE: ReplyShape((Needs(("id",)),)),
            Route.STATUS: ReplyShape(
                (
                    Needs(("id", "jobStatus")),
                    *(Needs(("processingResult",), {"jobStatus": status}) for status in sorted(ENDED)),
                ),
                {
                    "jobStatus": RUNS | ENDED | NOT_DONE.keys(),
                    "processingResult": frozenset({*RESULTS, "NONE"}),
                },
            ),
        }
    )

    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        if action not in self.actions:
            raise NotImplementedError("id5 supports only erasure")
        (subject,) = subjects
        ((kind, value),) = subject.identifiers.items()
        body = {**_identifier(kind, value), "jurisdiction": subject.jurisdiction}
        if reply_to := settings.fields["reply_to_email"]:
            body["replyToEmail"] = reply_to
        headers = {"Content-Type": "application/json; charset=UTF-8", "Accept": "application/json"}
        return HttpRequest("POST", _route(settings, "deletion"), headers, body)

    def read_created(self, reply: HttpReply) -> str:
        try:
            return created_id(self.created(reply).get("id"))
        except AccountQuota as error:
            if PER_IDENTIFIER.search(str(error_object(reply).get("message"))):
                raise IdentifierQuota(str(error)) from None
            raise

    def status(self, settings: AccountSettings, job_id: str) -> HttpRequest:
        return HttpRequest("GET", _route(settings, quote(job_id, safe="")), {"Accept": "application/json"})

    def read_status(self, action: Action, reply: HttpReply) -> JobStatus:
        body = self.answered(reply).object()
        job_status, result = (str(body.get(field)) for field in ("jobStatus", "processingResult"))
        if job_status in RUNS:
            return RUNNING
        if job_status in NOT_DONE and result not in RESULTS:
            return JobStatus(ended=True, outcome=Outcome(State.FAILED, NOT_DONE[job_status]))
        if job_status not in ENDED or result not in RESULTS:
            # Also if the two contradict each other: done without a result, or failed with one.
            raise ProtocolError(
                "the vendor does not document this combination of jobStatus and processingResult"
            )
        return JobStatus(ended=True, outcome=RESULTS[result])


def hashed_email(email: str) -> str:
    """Returns the SHA-256 of an e-mail address, normalised as ID5 documents. So ID5 never gets the plain
    address.
    """
    local, _, domain = email.strip().lower().partition("@")
    if domain in GMAIL:
        local, domain = local.partition("+")[0].replace(".", ""), "gmail.com"
    return sha256(f"{local}@{domain}".encode()).hexdigest()


def _identifier(kind: IdentityKind, value: str) -> dict[str, str]:
    match kind:
        case IdentityKind.EMAIL:
            return {"email": hashed_email(value)}
        case IdentityKind.ID5_ID:
            return {"id5id": value}
        case IdentityKind.ADVERTISING_ID:
            return {"maid": value.lower()}
        case IdentityKind.USER_ID:
            return {"partnerUid": value}
    raise ConfigurationError(f"id5 does not accept {kind}")


def _route(settings: AccountSettings, rest: str) -> str:
    """Returns a path that contains the token. ID5 accepts the token only in the URL."""
    partner, token = settings.fields["partner_id"], settings.secret
    return f"/partners/v1/{quote(partner, safe='')}/privacy/requests/{rest}?token={quote(token, safe='')}"
