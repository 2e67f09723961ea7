"""ID5's replies, as its page shows them."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from include.dsar.accounts import Account, AccountSettings
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
from include.dsar.http.messages import HttpReply
from include.dsar.model import Action, IdentityKind, Regulation, State, Subject
from include.dsar.vendors import settings, vendor
from include.dsar.vendors.id5 import hashed_email
from include.dsar.vendors.vendor import RUNNING

ID5 = vendor("id5")
EXTRA: dict[str, object] = {"partner_id": 173}
MAID = "580D2B4C-29a5-7a7b-85dc-44132c023ac8"


@pytest.fixture
def account() -> AccountSettings:
    return settings(Account("id5", "id5"), base_url=None, secret="abc+1&2", extra=EXTRA)


def error(code: str, message: str = "about ann@example.com", kind: str = "some_error") -> bytes:
    return json.dumps({"error": {"code": code, "type": kind, "message": message}}).encode()


def limit(per: str, count: str = "1 request") -> bytes:
    return error("api_rate_limit_error", f"Limit of {count} daily allowed per {per} has been reached")


def status_reply(job_status: str, result: str | None) -> HttpReply:
    body = {
        "id": "a8b6ccc4ee35ddaf5a5bb0f5c696dbd3",
        "jobStatus": job_status,
        "processingResult": result,
        "emailSentUnixTimestamp": 1661933465437,
    }
    return HttpReply(200, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        (IdentityKind.EMAIL, "ann@example.com", {"email": sha256(b"ann@example.com").hexdigest()}),
        (IdentityKind.ID5_ID, "ID5*aBc", {"id5id": "ID5*aBc"}),
        (IdentityKind.ADVERTISING_ID, MAID, {"maid": MAID.lower()}),
        (IdentityKind.USER_ID, "User1", {"partnerUid": "User1"}),
    ],
)
@pytest.mark.parametrize("regulation", list(Regulation))
def test_create(
    account: AccountSettings, regulation: Regulation, kind: IdentityKind, value: str, sent: dict[str, str]
) -> None:
    """One call names one identifier and the regulation, with the token percent-encoded in the query."""
    request = ID5.create(account, Action.ERASURE, [Subject(1, {kind: value}, regulation, "DSAR-1")])
    assert request.method == "POST"
    assert request.path == "/partners/v1/173/privacy/requests/deletion?token=abc%2B1%262"
    assert request.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert request.body == sent | {"jurisdiction": regulation.value}


def test_reply_to() -> None:
    """A confirmation e-mail is asked for only where the connection names the company's mailbox."""
    asked = settings(
        Account("id5", "id5"), base_url=None, secret="t", extra=EXTRA | {"reply_to_email": "dpo@example.com"}
    )
    subject = Subject(1, {IdentityKind.ID5_ID: "ID5-1"}, Regulation.GDPR, "DSAR-1")
    assert ID5.create(asked, Action.ERASURE, [subject]).body["replyToEmail"] == "dpo@example.com"


def test_no_access(account: AccountSettings) -> None:
    """An access request never becomes a deletion."""
    with pytest.raises(NotImplementedError):
        ID5.create(account, Action.ACCESS, [Subject(1, {IdentityKind.ID5_ID: "ID5-1"}, Regulation.GDPR, "r")])


@pytest.mark.parametrize(
    ("email", "hashed"),
    [
        (" Ann@Example.com ", "ann@example.com"),
        ("an.n+news@gmail.com", "ann@gmail.com"),
        ("An.n+a+b@GoogleMail.com", "ann@gmail.com"),
        ("an.n+news@example.com", "an.n+news@example.com"),
    ],
)
def test_hashed_email(email: str, hashed: str) -> None:
    """An address is normalised as ID5 asks before it is hashed: dots and tags count but at Gmail."""
    assert hashed_email(email) == sha256(hashed.encode()).hexdigest()


def test_created() -> None:
    """The job's id is `id`."""
    assert ID5.read_created(HttpReply(200, b'{"id": "a8b6ccc4ee35ddaf5a5bb0f5c696dbd3"}')).startswith("a8b6")


@pytest.mark.parametrize(
    ("status", "body", "expected", "message"),
    [
        (200, b"", ReplyLost, "HTTP 200"),
        (200, b"{}", ReplyLost, "no job"),
        (200, b'{"id": null}', ReplyLost, "no job"),
        (
            400,
            error("partiner_id_invalid"),
            ConfigurationError,
            "partiner_id_invalid: check partner_id of the connection",
        ),
        (
            400,
            error("partner_id_invalid"),
            ConfigurationError,
            "partner_id_invalid: check partner_id of the connection",
        ),
        (400, error("request_format_invalid"), Refused, "HTTP 400, code request_format_invalid"),
        (400, error("user_objects_invalid"), Refused, "HTTP 400, code user_objects_invalid"),
        (400, error("user_object_invalid"), Refused, "HTTP 400, code user_object_invalid"),
        (400, error("ann@example.com"), Refused, "HTTP 400"),
        (401, error("api_token_invalid"), CredentialsRefused, "HTTP 401, code api_token_invalid"),
        (403, error("api_token_not_authorized"), CredentialsRefused, "code api_token_not_authorized"),
        (403, b"<html>", CredentialsRefused, "HTTP 403"),
        (403, limit("email"), IdentifierQuota, "HTTP 403, code api_rate_limit_error"),
        (403, limit("id5id"), IdentifierQuota, "HTTP 403"),
        (403, limit("maid"), IdentifierQuota, "HTTP 403"),
        (403, limit("partnerUid"), IdentifierQuota, "HTTP 403"),
        (403, limit("partner", "3,000 requests"), AccountQuota, "HTTP 403, code api_rate_limit_error"),
        (403, error("api_rate_limit_error", "no"), AccountQuota, "HTTP 403"),
        (500, error("internal_id5_error"), ReplyLost, "HTTP 500, code internal_id5_error"),
    ],
)
def test_not_created(status: int, body: bytes, expected: type[Exception], message: str) -> None:
    """A 403 is a quota or a refusal by its code, and whose quota by its message."""
    with pytest.raises(expected) as caught:
        ID5.read_created(HttpReply(status, body))
    assert type(caught.value) is expected
    assert message in str(caught.value)
    assert "ann" not in str(caught.value)


def test_status(account: AccountSettings) -> None:
    """The status route takes the same token."""
    request = ID5.status(account, "a/8")
    assert (request.method, request.path) == (
        "GET",
        "/partners/v1/173/privacy/requests/a%2F8?token=abc%2B1%262",
    )


@pytest.mark.parametrize("job_status", ["CREATED", "STARTED"])
def test_running(job_status: str) -> None:
    """A job that was created or started runs, whatever its result says so far."""
    assert ID5.read_status(Action.ERASURE, status_reply(job_status, "NONE")) == RUNNING
    assert ID5.read_status(Action.ERASURE, status_reply(job_status, None)) == RUNNING


@pytest.mark.parametrize("job_status", ["DONE", "SENT", "SEND_FAILED"])
@pytest.mark.parametrize(
    ("result", "state"),
    [("DELETE_DELETED", State.COMPLETED), ("DELETE_NO_DATA", State.NO_DATA), ("NONE", State.FAILED)],
)
def test_ended(job_status: str, result: str, state: State) -> None:
    """Whether the deletion happened is `processingResult`, also where the e-mail could not be sent."""
    status = ID5.read_status(Action.ERASURE, status_reply(job_status, result))
    assert status.ended and status.outcome_of("any").state is state


@pytest.mark.parametrize("job_status", ["FAILED", "CANCELLED"])
@pytest.mark.parametrize("result", ["NONE", "DELETE_DELETED", None])
def test_failed(job_status: str, result: str | None) -> None:
    """A failed or cancelled job is failed, whatever its result says."""
    status = ID5.read_status(Action.ERASURE, status_reply(job_status, result))
    assert status.ended and status.outcome_of("any").state is State.FAILED


@pytest.mark.parametrize(
    ("job_status", "result"),
    # DELEVE_DELEVED stands in the sample of the page, which otherwise writes DELETE_DELETED.
    [("SENT", "DELEVE_DELEVED"), ("SENT", None), ("DONE", ""), ("PAUSED", "DELETE_DELETED"), ("", "")],
)
def test_unknown_values(job_status: str, result: str | None) -> None:
    """A status or result that the page does not list is never taken for success."""
    with pytest.raises(ProtocolError):
        ID5.read_status(Action.ERASURE, status_reply(job_status, result))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"", ReplyLost),
        (200, b"[]", ProtocolError),
        (302, b"", ProtocolError),
        (400, error("partiner_id_invalid"), ConfigurationError),
        (400, error("user_object_invalid"), JobUnknown),
        (400, error("request_format_invalid"), ProtocolError),
        (401, error("api_token_invalid"), CredentialsRefused),
        (403, error("api_token_not_authorized"), CredentialsRefused),
        (403, limit("partner", "3,000 requests"), VendorBusy),
        (404, error("user_objects_invalid"), JobUnknown),
        (500, error("internal_id5_error"), ReplyLost),
    ],
)
def test_status_errors(status: int, body: bytes, expected: type[Exception]) -> None:
    """Each documented error of the status route has its own."""
    with pytest.raises(expected) as caught:
        ID5.read_status(Action.ERASURE, HttpReply(status, body))
    assert type(caught.value) is expected
