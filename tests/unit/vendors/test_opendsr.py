"""Replies of OpenDSR processors, as the specification, mParticle and AppsFlyer show them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from include.dsar.errors import (
    AlreadyRunning,
    ConfigurationError,
    CredentialsRefused,
    DsarError,
    JobUnknown,
    ProtocolError,
    Refused,
    ReplyLost,
)
from include.dsar.http.messages import HttpReply
from include.dsar.model import Action, IdentityKind, State
from include.dsar.vendors import vendor
from tests.unit.vendors.contract import Contract, Documented, subject

OPENDSR = vendor("opendsr")
ID = "a7551968-d5d6-44b2-9831-815ac9017798"
URL = "https://exampleprocessor.com/secure/d188d4ba-12db-48a0-898c-cd0f8ba7b345"
ANN = {IdentityKind.EMAIL: "ann@example.com"}

CREATED = b"""{"controller_id": "example_controller_id", "expected_completion_time": "2018-11-01T15:00:01Z",
"received_time": "2018 10 02T15:00:01Z", "encoded_request": "<BASE64 ENCODED REQUEST>",
"subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798"}"""
APPSFLYER_CREATED = b"""{"subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
"original_request_id": "a7551968-d5d6-44b2-9831-815ac9017798", "info": "",
"expected_completion_time": "2018-11-01T15:00:01Z", "received_time": "2018-10-02T15:00:01Z",
"encoded_request": "<BASE64 ENCODED REQUEST>"}"""
DISCOVERY = b"""{"api_version": "1.0", "supported_identities": [
{"identity_type": "email", "identity_format": "raw"},
{"identity_type": "email", "identity_format": "sha256"}],
"supported_subject_request_types": ["erasure"],
"processor_certificate": "https://static.exampleprocessor.com/cert.pem"}"""


def job(status: str | None, **fields: Any) -> bytes:
    """Returns the status reply of the specification, with these fields."""
    shown = {
        "controller_id": "example_controller_id",
        "expected_completion_time": "2018-11-01T15:00:01Z",
        "subject_request_id": ID,
        "request_status": status,
        "api_version": "1.0",
        "results_url": URL,
    }
    return json.dumps(shown | fields).encode()


def error(message: str, code: str | None = None, *, wrapped: bool = True) -> bytes:
    """Returns an error reply. The specification wraps it in an object; mParticle does not."""
    found = {"code": 400, "message": f"ann@example.com: {message}", "errors": []}
    found |= {"af_gdpr_code": code} if code else {}
    return json.dumps({"error": found} if wrapped else found).encode()


ACCESS, ERASURE = Action.ACCESS, Action.ERASURE
CONTRACT = Contract(
    OPENDSR,
    base_url="https://opendsr.example.com/v2",
    extra={
        "signature": "off",
        "identity_types": {
            "phone": "mobile_number",
            "advertising_id": "ios_advertising_id",
            "install_id": "appsflyer_id",
            "id5_id": "id5",
        },
    },
    subject="ann@example.com",
    conflict=AlreadyRunning,
    created={CREATED: ID, APPSFLYER_CREATED: ID},
    not_created=[
        (201, b"{}", ReplyLost, "no job id"),
        (202, b"accepted", ReplyLost, "HTTP 202"),
        (400, error("Subject request already exists.", wrapped=False), AlreadyRunning, "already exists"),
        (400, error("Request already exists", "e213"), AlreadyRunning, "HTTP 400, code e213"),
        (400, error("identities in an open request", "e215"), AlreadyRunning, "code e215"),
        (400, error("identity_type is not supported", "e318"), Refused, "HTTP 400"),
        (400, error("AppID is incorrect", "e411"), ConfigurationError, "code e411: check extra_body"),
        (400, error("Wait 60 mins and try again", "e511"), ReplyLost, "code e511"),
        (409, error("in progress request with the same identities"), AlreadyRunning, "HTTP 409"),
    ],
    statuses=[
        *(
            (action, job(status), None)
            for action in Action
            for status in ("pending", "in_progress", "in-progress", "PENDING")
        ),
        (ACCESS, job("completed"), State.READY),
        (ACCESS, job("completed", results_url=None, results_count=0), State.NO_DATA),
        (ERASURE, job("completed", results_url=None), State.COMPLETED),
        *((action, job(status), State.FAILED) for action in Action for status in ("cancelled", "canceled")),
    ],
    status_errors=[
        (400, error("Request not found", "e214"), JobUnknown),
        (400, error("no permission", "e412"), ConfigurationError),
        (400, error("Wait 60 mins and try again", "e511"), ReplyLost),
        (404, error("not found", wrapped=False), JobUnknown),
        (410, error("gone", wrapped=False), JobUnknown),
    ],
    unknown_shapes=[
        *((action, job(status)) for action in Action for status in ("failed", "", None)),
        *((ACCESS, job("completed", results_url=url)) for url in (None, "", 1)),
        *((ACCESS, job("completed", results_url=None, results_count=count)) for count in (3, False, "0")),
    ],
    others=[
        Documented("opendsr results", job("completed"), lambda reply: OPENDSR.read_results(reply, ["a"])),
        Documented(
            "opendsr discovery", DISCOVERY, lambda reply: OPENDSR.read_discovery(CONTRACT.account(), reply)
        ),
    ],
)


def test_create() -> None:
    """The call has the form of the specification, with the identities of the data subject."""
    both = {**ANN, IdentityKind.USER_ID: "u-1"}
    request = OPENDSR.create(CONTRACT.account(), ERASURE, [subject(both)])
    assert (request.method, request.path) == ("POST", "/requests")
    assert request.headers["Authorization"] == "Bearer s3cr3t-token"
    assert request.headers["Accept-Encoding"] == "identity"
    raw = {"identity_format": "raw"}
    assert request.body == {
        "subject_request_id": OPENDSR.job_id_of(CONTRACT.account(), subject(both)),
        "subject_request_type": "erasure",
        "submitted_time": "2026-11-20T09:30:00Z",
        "subject_identities": [
            {"identity_type": "email", "identity_value": "ann@example.com", **raw},
            {"identity_type": "controller_customer_id", "identity_value": "u-1", **raw},
        ],
        "regulation": "gdpr",
    }


def test_job_id() -> None:
    """The id is a UUID of version 4. Each try of a call has the same id. Each job and each account has a
    different id.
    """
    account, one = CONTRACT.account(), subject(ANN)
    job_id = OPENDSR.job_id_of(account, one)
    assert UUID(job_id).version == 4 and job_id == job_id.lower()
    assert job_id == OPENDSR.job_id_of(account, one)
    others = [replace(one, submission=2), replace(one, request_id="DSAR-2"), replace(one, earlier_jobs=1)]
    ids = {job_id, *(OPENDSR.job_id_of(account, other) for other in others)}
    ids.add(OPENDSR.job_id_of(replace(account, account="other"), one))
    assert len(ids) == 5


def test_a_reply_about_another_job_is_refused() -> None:
    """A reply about another job is refused although its signature is valid. The signature covers neither
    the method nor the path.
    """
    verify = OPENDSR.status(CONTRACT.account(), ID).verify
    assert verify
    verify(HttpReply(200, job("pending", subject_request_id=ID.upper())))
    verify(HttpReply(404, b"<html>"))  # errors are not signed
    for other in ("b7551968-d5d6-44b2-9831-815ac9017798", None):
        with pytest.raises(ProtocolError, match="about another job"):
            verify(HttpReply(200, job("completed", subject_request_id=other)))


def test_cancel() -> None:
    """Cancelling is a DELETE. Only a later status says that the job is cancelled."""
    request = OPENDSR.cancel(CONTRACT.account(), ID)
    assert (request.method, request.path) == ("DELETE", f"/requests/{ID}")
    OPENDSR.read_cancelled(HttpReply(202, CREATED))
    OPENDSR.read_cancelled(HttpReply(202, b"accepted"))


@pytest.mark.parametrize(
    ("status", "body", "expected", "message"),
    [
        (400, error("only if the status is pending", wrapped=False), Refused, "HTTP 400"),
        (400, error("cannot cancel in this status", "e211"), Refused, "HTTP 400, code e211"),
        (409, b"", Refused, "HTTP 409"),
        (404, b"", JobUnknown, "HTTP 404"),
        (401, b"", CredentialsRefused, "HTTP 401"),
        (500, b"", ReplyLost, "HTTP 500"),
    ],
)
def test_cancel_errors(status: int, body: bytes, expected: type[DsarError], message: str) -> None:
    """The vendor refuses a cancellation that comes too late. The job continues."""
    with pytest.raises(expected, match=f"^{message}$"):
        OPENDSR.read_cancelled(HttpReply(status, body))


def test_results() -> None:
    """The result is a file to download. Each request that shares the job gets this file."""
    results = OPENDSR.read_results(HttpReply(200, job("completed")), ["a", "b"])
    assert [results[name].url for name in ("a", "b")] == [URL, URL]
    with pytest.raises(ProtocolError):  # the specification's own sample has an address while it is pending
        OPENDSR.read_results(HttpReply(200, job("pending")), ["a"])


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (
            DISCOVERY,
            [
                "Identities: email raw, email sha256. Requests: erasure. Version: 1.0.",
                "Not supported: controller_customer_id raw, mobile_number raw, ios_advertising_id raw,",
                "Certificate published at: static.exampleprocessor.com.",
            ],
        ),
        (b"{}", ["Identities: not listed. Requests: not listed. Version: not listed."]),
        # AppsFlyer writes a text, Intempt an object.
        (b'{"supported_subject_request_types": "access", "supported_identities": {}}', ["Requests: access."]),
        (b'{"api_version": "<script>", "supported_identities": [1, {}]}', ["Version: not listed."]),
        (b'{"processor_certificate": "https://[bad"}', ["Certificate published at: not listed."]),
    ],
)
def test_discovery(body: bytes, parts: list[str]) -> None:
    """The Test button shows what the processor supports. An unknown shape of the reply is not an error."""
    request = OPENDSR.discovery(CONTRACT.account())
    assert request and (request.method, request.path) == ("GET", "/discovery")
    sentence = OPENDSR.read_discovery(CONTRACT.account(), HttpReply(200, body))
    assert all(part in sentence for part in parts)
    assert "<" not in sentence


@pytest.mark.parametrize(
    ("extra", "missing"),
    [
        ({}, "controller_customer_id raw, access"),
        ({"identity_format": "sha1"}, "email sha1, controller_customer_id sha1, access"),
        ({"identity_types": {"user_id": "email"}, "identity_format": "sha256"}, "access"),
        ({"identity_types": {"user_id": "email", "phone": "mobile"}}, "mobile raw, access"),
        ({"identity_types": {"user_id": "email"}, "access_type": "portability"}, "portability"),
        ({"identity_types": {"user_id": "email"}, "api_version": "1.0"}, "access"),
        ({"identity_types": {"user_id": "email"}, "api_version": "2.0"}, "access, version 2.0"),
    ],
)
def test_what_the_discovery_does_not_list(extra: dict[str, Any], missing: str) -> None:
    """The Test button names everything that this connection may send but the discovery does not list:
    types, format, kinds of requests and version.
    """
    account = CONTRACT.account(**{"identity_types": None, **extra})
    assert f" Not supported: {missing}." in OPENDSR.read_discovery(account, HttpReply(200, DISCOVERY))
    assert "Not supported" not in OPENDSR.read_discovery(account, HttpReply(200, b"{}"))
