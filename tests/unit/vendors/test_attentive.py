"""Attentive's replies, as its pages show them."""

from __future__ import annotations

import pytest

from include.dsar.accounts import Account, AccountSettings
from include.dsar.errors import (
    ConfigurationError,
    CredentialsRefused,
    JobUnknown,
    ProtocolError,
    Refused,
    ReplyLost,
    VendorBusy,
)
from include.dsar.http.messages import HttpReply
from include.dsar.model import Action, IdentityKind, Regulation, State, Subject
from include.dsar.vendors import settings, vendor
from include.dsar.vendors.vendor import RUNNING

ATTENTIVE = vendor("attentive")

CREATED = b"""{"id": "123abc", "processed": false, "type": "DELETE", "subjectPhone": "+5555555555",
"requestMsg": "The subscriber requested to be removed", "requestDateTime": "2020-09-02T17:44:23.875+0000"}"""

PROCESSED = b"""{"id": "123abc", "processed": true, "type": "DELETE", "subjectPhone": "+*****5555",
"subjectEmail": "a**@website.com", "requestMsg": "The subscriber requested to be removed",
"requestDateTime": "2020-09-02T17:44:23.875+0000",
"processingStartDateTime": "2020-09-02T17:45:23.875+0000",
"processingEndDateTime": "2020-09-02T17:46:23.875+0000"}"""


@pytest.fixture
def account() -> AccountSettings:
    return settings(Account("attentive", "attentive"), base_url=None, secret="token-1", extra={})


@pytest.mark.parametrize(
    ("identifiers", "sent"),
    [
        ({IdentityKind.EMAIL: "ann@example.com"}, {"subjectEmail": "ann@example.com"}),
        ({IdentityKind.PHONE: "+12025550143"}, {"subjectPhone": "+12025550143"}),
        (
            {IdentityKind.EMAIL: "ann@example.com", IdentityKind.PHONE: "+12025550143"},
            {"subjectEmail": "ann@example.com", "subjectPhone": "+12025550143"},
        ),
    ],
)
def test_create(account: AccountSettings, identifiers: dict[IdentityKind, str], sent: dict[str, str]) -> None:
    """A call names the e-mail, the phone or both, and leaves out what is absent."""
    request = ATTENTIVE.create(account, Action.ERASURE, [Subject(1, identifiers, Regulation.CCPA, "DSAR-1")])
    assert (request.method, request.path) == ("POST", "/v1/privacy/delete-request")
    assert request.headers["Authorization"] == "Bearer token-1"
    assert request.body == sent | {"requestMsg": "DSAR-1"}


def test_no_access(account: AccountSettings) -> None:
    """An access request never becomes a deletion."""
    subject = Subject(1, {IdentityKind.PHONE: "+12025550143"}, Regulation.CCPA, "DSAR-1")
    with pytest.raises(NotImplementedError):
        ATTENTIVE.create(account, Action.ACCESS, [subject])


@pytest.mark.parametrize("body", [CREATED, b'{"id": "123abc"}'])
def test_created(body: bytes) -> None:
    """The job's id is `id`, in the whole record and in the short reply."""
    assert ATTENTIVE.read_created(HttpReply(200, body)) == "123abc"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"", ReplyLost),
        (200, b'{"processed": false}', ReplyLost),
        (302, b"", ReplyLost),
        (400, b'{"message": "ann@example.com"}', Refused),
        (401, b"", CredentialsRefused),
        (403, b"", CredentialsRefused),
        (404, b"", ConfigurationError),
        (429, b"", VendorBusy),
        (500, b"", ReplyLost),
        (504, b"<html>", ReplyLost),
    ],
)
def test_not_created(status: int, body: bytes, expected: type[Exception]) -> None:
    """Each documented error of the page has its outcome."""
    with pytest.raises(expected) as caught:
        ATTENTIVE.read_created(HttpReply(status, body))
    assert type(caught.value) is expected
    assert "ann" not in str(caught.value)


def test_status(account: AccountSettings) -> None:
    """The job's id is percent-encoded in the path."""
    request = ATTENTIVE.status(account, "12/3")
    assert (request.method, request.path) == ("GET", "/v1/privacy/delete-request/12%2F3")


def test_running() -> None:
    """A record that is not processed runs."""
    assert ATTENTIVE.read_status(Action.ERASURE, HttpReply(200, CREATED)) == RUNNING


def test_completed() -> None:
    """A processed record is completed for the one subject of its call."""
    status = ATTENTIVE.read_status(Action.ERASURE, HttpReply(200, PROCESSED))
    assert status.ended and status.outcome_of("ann@example.com").state is State.COMPLETED


@pytest.mark.parametrize("body", [b"{}", b'{"processed": "true"}', b'{"processed": 1}', b"[]", b"<html>"])
def test_unknown_shape(body: bytes) -> None:
    """What is neither true nor false is never taken for success."""
    with pytest.raises(ProtocolError):
        ATTENTIVE.read_status(Action.ERASURE, HttpReply(200, body))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, ProtocolError),
        (400, ProtocolError),
        (401, CredentialsRefused),
        (403, CredentialsRefused),
        (404, JobUnknown),
        (429, VendorBusy),
        (500, ReplyLost),
    ],
)
def test_status_errors(status: int, expected: type[Exception]) -> None:
    """Each documented error of the status route has its own."""
    with pytest.raises(expected) as caught:
        ATTENTIVE.read_status(Action.ERASURE, HttpReply(status, b""))
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "999999999"}, 86_400.0),
        ({"retry-after": "9" * 5000}, None),
        (
            {"retry-after": "Wed, 21 Oct 2026 07:30:00 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"},
            120.0,
        ),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Retry-After is honoured as seconds and as a date, by the vendor's own clock, for a day at most."""
    with pytest.raises(VendorBusy) as caught:
        ATTENTIVE.read_created(HttpReply(429, b"", headers))
    assert caught.value.retry_after == seconds
