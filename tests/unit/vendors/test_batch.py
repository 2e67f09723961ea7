"""Batch's replies, as its pages show them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from include.dsar.accounts import Account, AccountSettings
from include.dsar.errors import (
    AlreadyRunning,
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
from include.dsar.vendors.vendor import RUNNING, ListedJob

BATCH = vendor("batch")
JOHN = BATCH.identifier_of({IdentityKind.USER_ID: "john.doe"})

LISTING = b"""[
  {"request_id": "6c256bd1-485a-47d1-8c36-7e3d5be013aa", "request_date": "2021-01-03T16:52:16.051",
   "status": "done", "request_type": "review", "trigger_type": "api", "error": "user not found",
   "id": {"type": "advertising_id", "value": "196b3360-59d7-408a-8e99-c4be99c4fff0"}},
  {"request_id": "b17774dc-3a97-41af-be5f-6ed3fd09f032", "request_date": "2021-01-19T16:52:16.051",
   "status": "pending", "request_type": "review", "trigger_type": "api",
   "id": {"type": "custom_id", "value": "john.doe"}},
  {"request_id": "7e2142f1-b0a3-4ed0-aef3-67d3f41270b6", "request_date": "2020-11-04T10:37:06.512",
   "status": "done", "error": "user not found", "request_type": "remove", "trigger_type": "dashboard",
   "id": {"type": "custom_id", "value": "foobar"}}
]"""


@pytest.fixture
def account() -> AccountSettings:
    return settings(
        Account("batch_ios", "batch"), base_url=None, secret="rest-key", extra={"api_key": "app/key"}
    )


def status_reply(**fields: Any) -> HttpReply:
    """The status reply of a request, with these fields."""
    shown = {
        "request_date": "2021-01-03T16:52:16.051",
        "status": "done",
        "request_type": "review",
        "trigger_type": "api",
        "id": {"type": "custom_id", "value": "john.doe"},
    }
    return HttpReply(200, json.dumps(shown | fields).encode())


def error(code: object) -> bytes:
    return json.dumps({"code": code, "message": "john.doe is wrong"}).encode()


@pytest.mark.parametrize(
    ("kind", "id_type"),
    [
        (IdentityKind.USER_ID, "custom_id"),
        (IdentityKind.ADVERTISING_ID, "advertising_id"),
        (IdentityKind.INSTALL_ID, "install_id"),
    ],
)
@pytest.mark.parametrize(("action", "request_type"), [(Action.ACCESS, "review"), (Action.ERASURE, "remove")])
def test_create(
    account: AccountSettings, action: Action, request_type: str, kind: IdentityKind, id_type: str
) -> None:
    """One call names one user by one kind of id, under the app's percent-encoded key."""
    request = BATCH.create(account, action, [Subject(1, {kind: "john.doe"}, Regulation.GDPR, "DSAR-1")])
    assert (request.method, request.path) == ("POST", "/1.0/app%2Fkey/gdpr/request")
    assert request.headers["X-Authorization"] == "rest-key"
    assert request.body == {"request_type": request_type, "id": {"type": id_type, "value": "john.doe"}}


@pytest.mark.parametrize(
    "body",
    [
        b'{"token": "6c256bd1"}',
        b'{"id": "6c256bd1"}',
        b'{"request_id": "6c256bd1"}',
        b'{"token": "6c256bd1", "id": {"type": "custom_id", "value": "john.doe"}}',
        b'{"id": {"type": "custom_id", "value": "john.doe"}, "request_id": "6c256bd1"}',
    ],
)
def test_created(body: bytes) -> None:
    """The token is read from whichever field holds it, and never from the object that names the user."""
    assert BATCH.read_created(HttpReply(202, body)) == "6c256bd1"


@pytest.mark.parametrize(
    ("status", "body", "expected", "message"),
    [
        (202, b"", ReplyLost, "HTTP 202"),
        (202, b"{}", ReplyLost, "no job"),
        (202, b'{"token": {}}', ReplyLost, "no job"),
        (202, b'{"token": ""}', ReplyLost, "no job"),
        (202, b'"6c256bd1"', ReplyLost, "HTTP 202"),
        (400, error(30), Refused, "HTTP 400, code 30"),
        (400, error(31), Refused, "HTTP 400, code 31"),
        (400, error(32), Refused, "HTTP 400, code 32"),
        (400, error("john.doe"), Refused, "HTTP 400"),
        (400, error([1]), Refused, "HTTP 400"),
        (401, error(10), CredentialsRefused, "HTTP 401, code 10"),
        (404, error(20), ConfigurationError, "HTTP 404, code 20: check api_key and Host of the connection"),
        (409, b"", AlreadyRunning, "HTTP 409"),
        (429, b"", VendorBusy, "HTTP 429"),
        (500, error(1), ReplyLost, "HTTP 500, code 1"),
        (502, b"<html>", ReplyLost, "HTTP 502"),
        (503, error(2), VendorBusy, "HTTP 503, code 2"),
        (503, error(1), ReplyLost, "HTTP 503, code 1"),
        (503, error(True), ReplyLost, "HTTP 503"),
        (503, b"<html>", ReplyLost, "HTTP 503"),
    ],
)
def test_not_created(status: int, body: bytes, expected: type[Exception], message: str) -> None:
    """Each documented error has its outcome, and the message names documented codes only."""
    with pytest.raises(expected) as caught:
        BATCH.read_created(HttpReply(status, body))
    assert type(caught.value) is expected
    assert message in str(caught.value)
    assert "john.doe" not in str(caught.value)


def test_status(account: AccountSettings) -> None:
    """The token is percent-encoded in the path."""
    request = BATCH.status(account, "a/b?c")
    assert (request.method, request.path) == ("GET", "/1.0/app%2Fkey/gdpr/request/a%2Fb%3Fc")


@pytest.mark.parametrize(
    ("action", "fields", "state"),
    [
        (Action.ACCESS, {"data_url": "https://data.batch.com/a.zip"}, State.READY),
        (Action.ACCESS, {"data_url": "https://data.batch.com/a.zip", "error": None}, State.READY),
        (Action.ACCESS, {"error": "user not found"}, State.NO_DATA),
        (Action.ACCESS, {"error": "disk full"}, State.FAILED),
        (Action.ACCESS, {"error": "disk full", "data_url": "https://data.batch.com/a.zip"}, State.FAILED),
        (Action.ERASURE, {"request_type": "remove"}, State.COMPLETED),
        (Action.ERASURE, {"request_type": "remove", "error": None}, State.COMPLETED),
        (Action.ERASURE, {"request_type": "remove", "error": "user not found"}, State.NO_DATA),
        (Action.ERASURE, {"request_type": "remove", "error": "john.doe is locked"}, State.FAILED),
        (Action.ERASURE, {"request_type": "remove", "error": {"code": 3}}, State.FAILED),
    ],
)
def test_done(action: Action, fields: dict[str, Any], state: State) -> None:
    """Done is a success only without an error, and then an access request has something to fetch."""
    for whose in ({}, {"id": None}):  # the reply names its user, or leaves that out
        status = BATCH.read_status(action, status_reply(**fields, **whose))
        assert status.ended
        outcome = status.outcome_of(JOHN)
        assert outcome.state is state
        assert "john" not in str(outcome.reason)


@pytest.mark.parametrize(
    "user",
    [
        {"type": "custom_id", "value": "jane.doe"},
        {"type": "custom_id", "value": "John.Doe"},
        {"type": "install_id", "value": "john.doe"},
        {"type": "custom_id"},
        {"value": "john.doe"},
        "john.doe",
        [],
    ],
)
@pytest.mark.parametrize("action", list(Action))
def test_another_persons_job(action: Action, user: object) -> None:
    """Whose id or type differs: neither an outcome nor a result of ours, and nobody is named."""
    url = {"data_url": "https://data.batch.com/a.zip"} if action is Action.ACCESS else {}
    reply = status_reply(id=user, request_type="review" if action is Action.ACCESS else "remove", **url)
    with pytest.raises(ProtocolError) as caught:
        BATCH.read_status(action, reply).outcome_of(JOHN)
    assert "doe" not in str(caught.value).lower()
    if action is Action.ACCESS:
        with pytest.raises(ProtocolError):
            BATCH.read_results(reply, [JOHN])


@pytest.mark.parametrize(
    ("kind", "sent", "user"),
    [
        (IdentityKind.USER_ID, "7", {"type": "custom_id", "value": 7}),
        (IdentityKind.INSTALL_ID, "a-b", {"type": "install_id", "value": "a-b"}),
        (IdentityKind.ADVERTISING_ID, "AB-12", {"type": "advertising_id", "value": "ab-12"}),
    ],
)
def test_whose_job(kind: IdentityKind, sent: str, user: dict[str, object]) -> None:
    """The same id in another spelling of its type is the same person's."""
    status = BATCH.read_status(Action.ERASURE, status_reply(id=user, request_type="remove"))
    assert status.outcome_of(BATCH.identifier_of({kind: sent})).state is State.COMPLETED


def test_running() -> None:
    """Pending is running."""
    assert BATCH.read_status(Action.ACCESS, status_reply(status="pending")) == RUNNING


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"data_url": None},
        {"data_url": ""},
        {"data_url": 1},
        {"status": "expired"},
        {"status": None},
        {"request_type": "remove", "data_url": "https://data.batch.com/a.zip"},
    ],
)
def test_unknown_shape(fields: dict[str, Any]) -> None:
    """A review without data and without an error, or an unknown status, is not taken for an outcome."""
    with pytest.raises(ProtocolError):
        BATCH.read_status(Action.ACCESS, status_reply(**fields))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"", ReplyLost),
        (200, b"<html>", ProtocolError),
        (302, b"", ProtocolError),
        (400, error(31), ProtocolError),
        (401, error(10), CredentialsRefused),
        (404, error(20), JobUnknown),
        (404, b"", JobUnknown),
        (429, b"", VendorBusy),
        (500, error(1), ReplyLost),
        (503, error(2), VendorBusy),
        (503, b"", ReplyLost),
    ],
)
def test_status_errors(status: int, body: bytes, expected: type[Exception]) -> None:
    """A 404 of the status route speaks of the job, which Batch forgets after 20 days."""
    with pytest.raises(expected) as caught:
        BATCH.read_status(Action.ACCESS, HttpReply(status, body))
    assert type(caught.value) is expected


def test_results() -> None:
    """The result is a file to download."""
    results = BATCH.read_results(status_reply(data_url="https://data.batch.com/a.zip"), [JOHN])
    assert (results[JOHN].url, results[JOHN].content) == ("https://data.batch.com/a.zip", None)
    assert "data.batch.com" not in repr(results)


def test_no_results() -> None:
    """Who is not known has no result, and an unfinished review has none to read."""
    assert BATCH.read_results(status_reply(error="user not found"), [JOHN]) == {}
    with pytest.raises(ProtocolError):
        BATCH.read_results(status_reply(status="pending"), [JOHN])


def test_listing(account: AccountSettings) -> None:
    """The list route gives each request with its id, its user and its time in UTC."""
    assert BATCH.listing(account).path == "/1.0/app%2Fkey/gdpr/requests"
    done, running, removal = BATCH.read_listing(HttpReply(200, LISTING))
    assert running == ListedJob(
        "b17774dc-3a97-41af-be5f-6ed3fd09f032",
        Action.ACCESS,
        {IdentityKind.USER_ID: "john.doe"},
        datetime(2021, 1, 19, 16, 52, 16, 51000, tzinfo=UTC),
        running=True,
    )
    assert not done.running
    assert done.identifiers == {IdentityKind.ADVERTISING_ID: "196b3360-59d7-408a-8e99-c4be99c4fff0"}
    assert removal.action is Action.ERASURE


@pytest.mark.parametrize(
    "change",
    [
        {"request_id": ".."},
        {"request_id": None},
        {"request_date": "yesterday"},
        {"request_date": None},
        {"request_type": "export"},
        {"request_type": []},
        {"id": None},
        {"id": {"type": "email", "value": "x"}},
        {"id": {"type": "custom_id"}},
    ],
)
def test_unreadable_entries(change: dict[str, Any]) -> None:
    """An entry that cannot be read hides none of the others."""
    entries = json.loads(LISTING)
    entries[0] |= change
    entries.append(None)
    assert len(BATCH.read_listing(HttpReply(200, json.dumps(entries).encode()))) == 2


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"{}", ProtocolError),
        (200, b"", ReplyLost),
        (401, error(10), CredentialsRefused),
        (404, error(20), ConfigurationError),
        (503, error(2), VendorBusy),
        (500, error(1), ReplyLost),
    ],
)
def test_listing_errors(status: int, body: bytes, expected: type[Exception]) -> None:
    """A list that is none is never taken for an empty one."""
    with pytest.raises(expected):
        BATCH.read_listing(HttpReply(status, body))
