"""ID5 (identity): erasure only, one identifier in one call.

https://wiki.id5.io/docs/dsar-data-deletion-api
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from urllib.parse import quote

from include.dsar.accounts import AccountSettings
from include.dsar.errors import (
    AccountQuota,
    ConfigurationError,
    IdentifierQuota,
    JobUnknown,
    ProtocolError,
    VendorBusy,
)
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.http.retry_after import retry_after
from include.dsar.model import Action, IdentityKind, Outcome, State, Subject
from include.dsar.vendors.replies import answered, created, created_id, error_code, error_object, says
from include.dsar.vendors.vendor import RUNNING, JobStatus, OnUncertain, Vendor

RATE_LIMIT = "api_rate_limit_error"
# The page spells two of them in two ways, and one of them wrongly: all are read.
PARTNER_INVALID = frozenset({"partiner_id_invalid", "partner_id_invalid"})
OBJECT_INVALID = frozenset({"user_object_invalid", "user_objects_invalid"})
OTHERS = {"api_token_invalid", "api_token_not_authorized", "request_format_invalid", "internal_id5_error"}
CODES = PARTNER_INVALID | OBJECT_INVALID | OTHERS | {RATE_LIMIT}
# "Limit of 1 request daily allowed per maid has been reached", as against "… per partner …".
PER_IDENTIFIER = re.compile(r"\bper (email|id5id|maid|partnerUid)\b", re.IGNORECASE)

NOT_DONE = {"FAILED": "the job failed", "CANCELLED": "the job was cancelled"}
ENDED = frozenset({"DONE", "SENT", "SEND_FAILED"})  # the last two speak of the e-mail, not of the deletion
RESULTS = {
    "DELETE_DELETED": Outcome(State.COMPLETED),
    "DELETE_NO_DATA": Outcome(State.NO_DATA),
    "NONE": Outcome(State.FAILED, "ended without a deletion"),
}
GMAIL = frozenset({"gmail.com", "googlemail.com"})


class Id5(Vendor):
    name = "id5"
    title = "ID5"
    service = "advertising identity"
    base_url = "https://api.id5-sync.com"
    actions = frozenset({Action.ERASURE})
    identities = (IdentityKind.EMAIL, IdentityKind.ID5_ID, IdentityKind.ADVERTISING_ID)
    optional_identities = (IdentityKind.USER_ID,)  # ours: only who gave ID5 its user ids sends them
    needs = frozenset({"partner_id"})
    daily_quota = 3000
    one_job_per_subject = True  # the page: one request a day for each identifier
    poll_min = timedelta(minutes=5)  # ours
    poll_max = timedelta(hours=6)  # ours
    give_up_after = timedelta(days=30)  # ours: the page names no bound
    on_uncertain = OnUncertain.NEXT_DAY  # ours: one call a day per identifier, and no list of jobs

    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        if action not in self.actions:
            raise NotImplementedError("id5 only erases")
        (subject,) = subjects
        ((kind, value),) = subject.identifiers.items()
        body = {**_identifier(kind, value), "jurisdiction": subject.regulation.value}
        if settings.reply_to_email:
            body["replyToEmail"] = settings.reply_to_email
        headers = {"Content-Type": "application/json; charset=UTF-8", "Accept": "application/json"}
        return HttpRequest("POST", _route(settings, "deletion"), headers, body)

    def read_created(self, reply: HttpReply) -> str:
        _read_errors(reply)
        if reply.status == 403 and error_code(reply, CODES) == RATE_LIMIT:
            message = str(error_object(reply).get("message"))
            # Whose limit it is, only the message says. Unsaid, it is the account's: that concludes nothing.
            raise (IdentifierQuota if PER_IDENTIFIER.search(message) else AccountQuota)(says(reply, CODES))
        return created_id(created(reply, CODES).get("id"))

    def status(self, settings: AccountSettings, job_id: str) -> HttpRequest:
        return HttpRequest("GET", _route(settings, quote(job_id, safe="")), {"Accept": "application/json"})

    def read_status(self, action: Action, reply: HttpReply) -> JobStatus:
        _read_errors(reply)
        code = error_code(reply, CODES)
        if reply.status == 403 and code == RATE_LIMIT:
            raise VendorBusy(says(reply, CODES), retry_after=retry_after(reply))
        if reply.status == 400 and code in OBJECT_INVALID:  # "provided job id is not a valid UUID"
            raise JobUnknown(says(reply, CODES))
        body = answered(reply, CODES).object()
        job_status, result = (str(body.get(field)) for field in ("jobStatus", "processingResult"))
        if job_status in ("CREATED", "STARTED"):
            return RUNNING
        if job_status in NOT_DONE:
            return JobStatus(ended=True, outcome=Outcome(State.FAILED, NOT_DONE[job_status]))
        if job_status not in ENDED or result not in RESULTS:
            raise ProtocolError("a jobStatus or processingResult that the page does not document")
        return JobStatus(ended=True, outcome=RESULTS[result])


def hashed_email(email: str) -> str:
    """SHA-256 of an address, normalised as ID5 asks: so no address leaves the house in the clear."""
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
    raise ConfigurationError(f"id5 takes no {kind}")


def _read_errors(reply: HttpReply) -> None:
    if reply.status == 400 and error_code(reply, CODES) in PARTNER_INVALID:
        raise ConfigurationError(f"{says(reply, CODES)}: look at partner_id")


def _route(settings: AccountSettings, rest: str) -> str:
    """A path that holds the token: ID5 takes it nowhere else."""
    partner, token = settings.partner_id or "", settings.secret.get_secret_value()
    return f"/partners/v1/{quote(partner, safe='')}/privacy/requests/{rest}?token={quote(token, safe='')}"
