"""Replies of ID5, as its documentation page shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

import pytest

from include.dsar.errors import (
    AccountQuota,
    ConfigurationError,
    CredentialsRefused,
    IdentifierQuota,
    JobUnknown,
    ProtocolError,
    Refused,
    ReplyLost,
    UnexpectedAnswer,
    VendorBusy,
)
from include.dsar.model import Action, IdentityKind, State
from include.dsar.vendors import vendor
from include.dsar.vendors.id5 import hashed_email
from tests.unit.vendors.contract import Contract, Documented, subject

ID5 = vendor("id5")
MAID = "580D2B4C-29a5-7a7b-85dc-44132c023ac8"
WRONG_PARTNER = "check partner_id of the connection"
LIMIT = "HTTP 403, code api_rate_limit_error"


def error(code: str, message: str = "about ann@example.com", kind: str = "some_error") -> bytes:
    return json.dumps({"error": {"code": code, "type": kind, "message": message}}).encode()


def limit(per: str, count: str = "1 request") -> bytes:
    return error("api_rate_limit_error", f"Limit of {count} daily allowed per {per} has been reached")


def job(status: str, result: str | None) -> bytes:
    body = {
        "id": "a8b6ccc4ee35ddaf5a5bb0f5c696dbd3",
        "jobStatus": status,
        "processingResult": result,
        "emailSentUnixTimestamp": 1661933465437,
    }
    return json.dumps(body).encode()


RESULTS = {"DELETE_DELETED": State.COMPLETED, "DELETE_NO_DATA": State.NO_DATA}
CONTRACT = Contract(
    ID5,
    refusal=ReplyLost,
    extra={"partner_id": 173},
    subject="any",
    created={b'{"id": "a8b6ccc4ee35ddaf5a5bb0f5c696dbd3"}': "a8b6ccc4ee35ddaf5a5bb0f5c696dbd3"},
    not_created=[
        (200, b"{}", ReplyLost, "no job id"),
        (200, b'{"id": null}', ReplyLost, "no job id"),
        (400, error("partiner_id_invalid"), ConfigurationError, f"code partiner_id_invalid: {WRONG_PARTNER}"),
        (400, error("partner_id_invalid"), ConfigurationError, f"code partner_id_invalid: {WRONG_PARTNER}"),
        (
            400,
            error("request_format_invalid"),
            ConfigurationError,
            "code request_format_invalid: this is about the form",
        ),
        (400, error("user_objects_invalid"), Refused, "HTTP 400, code user_objects_invalid"),
        (400, error("user_object_invalid"), Refused, "HTTP 400, code user_object_invalid"),
        (400, error("ann@example.com"), ReplyLost, "HTTP 400"),
        (401, error("api_token_invalid"), CredentialsRefused, "HTTP 401, code api_token_invalid"),
        (403, error("api_token_not_authorized"), CredentialsRefused, "code api_token_not_authorized"),
        (403, b"<html>", CredentialsRefused, "HTTP 403"),
        *((403, limit(per), IdentifierQuota, LIMIT) for per in ("email", "id5id", "maid", "partnerUid")),
        (403, limit("partner", "3,000 requests"), AccountQuota, LIMIT),
        (403, error("api_rate_limit_error", "no"), AccountQuota, LIMIT),
        (500, error("internal_id5_error"), ReplyLost, "HTTP 500, code internal_id5_error"),
    ],
    # The e-mail about a deletion may be sent or not: processingResult says whether the deletion happened.
    statuses=[
        *((Action.ERASURE, job(s, r), None) for s in ("CREATED", "STARTED") for r in ("NONE", None)),
        *(
            (Action.ERASURE, job(s, r), state)
            for s in ("DONE", "SENT", "SEND_FAILED")
            for r, state in RESULTS.items()
        ),
        *((Action.ERASURE, job(s, r), State.FAILED) for s in ("FAILED", "CANCELLED") for r in ("NONE", None)),
    ],
    status_errors=[
        (400, error("partiner_id_invalid"), ConfigurationError),
        (400, error("user_object_invalid"), JobUnknown),
        (400, error("request_format_invalid"), ProtocolError),
        (401, error("api_token_invalid"), CredentialsRefused),
        (403, error("api_token_not_authorized"), CredentialsRefused),
        (403, limit("partner", "3,000 requests"), VendorBusy),
        (404, error("user_objects_invalid"), JobUnknown),
        (404, b'{"error": "not found"}', UnexpectedAnswer),
        (500, error("internal_id5_error"), ReplyLost),
    ],
    unknown_shapes=[
        (Action.ERASURE, job(*pair))
        # The sample of the page has DELEVE_DELEVED, though the text has DELETE_DELETED.
        for pair in (
            ("SENT", "DELEVE_DELEVED"),
            ("SENT", None),
            ("DONE", ""),
            ("PAUSED", "DELETE_DELETED"),
            # These contradict themselves.
            *((status, "NONE") for status in ("DONE", "SENT", "SEND_FAILED")),
            *((status, result) for status in ("FAILED", "CANCELLED") for result in RESULTS),
        )
    ],
    others=[Documented("id5 limit", limit("maid"), ID5.read_created, 403)],
)


@pytest.mark.parametrize(
    ("kind", "value", "sent"),
    [
        (IdentityKind.EMAIL, "ann@example.com", {"email": sha256(b"ann@example.com").hexdigest()}),
        (IdentityKind.ID5_ID, "ID5*aBc", {"id5id": "ID5*aBc"}),
        (IdentityKind.ADVERTISING_ID, MAID, {"maid": MAID.lower()}),
        (IdentityKind.USER_ID, "User1", {"partnerUid": "User1"}),
    ],
)
@pytest.mark.parametrize("regulation", ["GDPR", "CCPA"])
def test_create(regulation: str, kind: IdentityKind, value: str, sent: dict[str, str]) -> None:
    """One call names one identifier and the regulation, with the token percent-encoded in the query."""
    account = replace(CONTRACT.account(), secret="abc+1&2")
    request = ID5.create(account, Action.ERASURE, [subject({kind: value}, regulation)])
    assert request.method == "POST"
    assert request.path == "/partners/v1/173/privacy/requests/deletion?token=abc%2B1%262"
    assert request.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert request.body == sent | {"jurisdiction": regulation}
    assert ID5.status(account, "a/8").path == "/partners/v1/173/privacy/requests/a%2F8?token=abc%2B1%262"


def test_reply_to() -> None:
    """ID5 is asked for a confirmation e-mail only if the connection names a mailbox."""
    asked = CONTRACT.account(reply_to_email=" DPO@example.com")
    request = ID5.create(asked, Action.ERASURE, [subject({IdentityKind.ID5_ID: "ID5-1"})])
    assert request.body["replyToEmail"] == "dpo@example.com"


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
    """ID5 gets the hash of a normalised e-mail address. In Gmail addresses, dots and tags are removed
    first.
    """
    assert hashed_email(email) == sha256(hashed.encode()).hexdigest()
