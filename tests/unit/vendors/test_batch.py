"""Replies of Batch, as its documentation shows them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from include.dsar.errors import (
    AlreadyRunning,
    ConfigurationError,
    CredentialsRefused,
    JobUnknown,
    ProtocolError,
    Refused,
    ReplyLost,
    UnexpectedAnswer,
    VendorBusy,
)
from include.dsar.http.messages import HttpReply
from include.dsar.model import Action, IdentityKind, State
from include.dsar.vendors import vendor
from include.dsar.vendors.vendor import ListedJob
from tests.unit.vendors.contract import Contract, Documented, subject

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


def job(**fields: Any) -> bytes:
    """Returns the status reply of a request, with these fields."""
    shown = {
        "request_date": "2021-01-03T16:52:16.051",
        "status": "done",
        "request_type": "review",
        "trigger_type": "api",
        "id": {"type": "custom_id", "value": "john.doe"},
    }
    return json.dumps(shown | fields).encode()


def error(code: object) -> bytes:
    return json.dumps({"code": code, "message": "john.doe is wrong"}).encode()


URL = {"data_url": "https://data.batch.com/a.zip"}
REMOVE = {"request_type": "remove"}
ACCESS, ERASURE = Action.ACCESS, Action.ERASURE
CONTRACT = Contract(
    BATCH,
    extra={"api_key": "app/key"},
    subject=JOHN,
    quotes="john",
    conflict=AlreadyRunning,
    refusal=ReplyLost,
    created=dict.fromkeys(
        [
            b'{"token": "6c256bd1"}',
            b'{"id": "6c256bd1"}',
            b'{"request_id": "6c256bd1"}',
            b'{"token": "6c256bd1", "id": {"type": "custom_id", "value": "john.doe"}}',
            b'{"id": {"type": "custom_id", "value": "john.doe"}, "request_id": "6c256bd1"}',
        ],
        "6c256bd1",
    ),
    not_created=[
        (202, b"{}", ReplyLost, "no job id"),
        (202, b'{"token": {}}', ReplyLost, "no job id"),
        (202, b'{"token": ""}', ReplyLost, "no job id"),
        (202, b'"6c256bd1"', ReplyLost, "HTTP 202"),
        (400, error(30), ConfigurationError, "HTTP 400, code 30: this is about the form of our call"),
        (400, error(31), Refused, "HTTP 400, code 31"),
        (400, error(32), ConfigurationError, "HTTP 400, code 32: this is about the form of our call"),
        (400, error("john.doe"), ReplyLost, "HTTP 400"),
        (400, error([1]), ReplyLost, "HTTP 400"),
        (401, error(10), CredentialsRefused, "HTTP 401, code 10"),
        (404, error(20), ConfigurationError, "HTTP 404, code 20: check api_key and Host of the connection"),
        (404, b"", ConfigurationError, "HTTP 404: check api_key and Host of the connection"),
        (409, b"", AlreadyRunning, "HTTP 409"),
        (500, error(1), ReplyLost, "HTTP 500, code 1"),
        (503, error(2), VendorBusy, "HTTP 503, code 2"),
        (503, error(1), ReplyLost, "HTTP 503, code 1"),
        (503, error(True), ReplyLost, "HTTP 503"),
        (503, b"<html>", ReplyLost, "HTTP 503"),
    ],
    # Done is a success only without an error. An access request then has something to fetch.
    statuses=[
        (ACCESS, job(status="pending"), None),
        (ACCESS, job(**URL), State.READY),
        (ACCESS, job(**URL, error=None), State.READY),
        (ACCESS, job(**URL, id=None), State.READY),
        (ACCESS, job(error="user not found"), State.NO_DATA),
        (ACCESS, job(error="disk full"), State.FAILED),
        (ACCESS, job(error="disk full", **URL), State.FAILED),
        (ERASURE, job(**REMOVE), State.COMPLETED),
        (ERASURE, job(**REMOVE, id=None), State.COMPLETED),
        (ERASURE, job(**REMOVE, error=None), State.COMPLETED),
        (ERASURE, job(**REMOVE, error="user not found"), State.NO_DATA),
        (ERASURE, job(**REMOVE, error="john.doe is locked"), State.FAILED),
        (ERASURE, job(**REMOVE, error={"code": 3}), State.FAILED),
    ],
    # Code 20 is about the route. Another 404 of Batch's is about the job, which it forgets after 20 days.
    status_errors=[
        (400, error(31), ProtocolError),
        (401, error(10), CredentialsRefused),
        (404, error(20), ConfigurationError),
        (404, error(21), JobUnknown),
        (404, b'{"message": "no Route matched"}', UnexpectedAnswer),
        (500, error(1), ReplyLost),
        (503, error(2), VendorBusy),
        (503, b"", ReplyLost),
    ],
    unknown_shapes=[
        *(
            (ACCESS, job(**fields))
            for fields in ({}, {"data_url": None}, {"data_url": ""}, {"data_url": 1}, {"status": "expired"})
        ),
        (ACCESS, job(status=None)),
        (ACCESS, job(**REMOVE, **URL)),
        (ACCESS, job(error="user not found", **URL)),  # with data all the same
        (ERASURE, job(**REMOVE, **URL)),
    ],
    others=[
        Documented("batch results", job(**URL), lambda reply: BATCH.read_results(reply, [JOHN])),
        Documented("batch list", LISTING, BATCH.read_listing),
        Documented("batch refusal", b'{"code": 31, "message": "m"}', BATCH.read_created, 400),
    ],
)


@pytest.mark.parametrize(
    ("kind", "id_type"),
    [
        (IdentityKind.USER_ID, "custom_id"),
        (IdentityKind.ADVERTISING_ID, "advertising_id"),
        (IdentityKind.INSTALL_ID, "install_id"),
    ],
)
@pytest.mark.parametrize(("action", "request_type"), [(Action.ACCESS, "review"), (Action.ERASURE, "remove")])
def test_create(action: Action, request_type: str, kind: IdentityKind, id_type: str) -> None:
    """One call names one user by one kind of id, under the app's percent-encoded key."""
    request = BATCH.create(CONTRACT.account(), action, [subject({kind: "john.doe"})])
    assert (request.method, request.path) == ("POST", "/1.0/app%2Fkey/gdpr/request")
    assert request.headers["X-Authorization"] == "s3cr3t-token"
    assert request.body == {"request_type": request_type, "id": {"type": id_type, "value": "john.doe"}}


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
def test_another_subjects_job(action: Action, user: object) -> None:
    """If the reply names another id or another type, there is no outcome and no result. The error names no
    data subject.
    """
    url = {"data_url": "https://data.batch.com/a.zip"} if action is Action.ACCESS else {}
    reply = HttpReply(
        200, job(id=user, request_type="review" if action is Action.ACCESS else "remove", **url)
    )
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
def test_spelling_of_the_subject(kind: IdentityKind, sent: str, user: dict[str, object]) -> None:
    """The same id in another spelling means the same data subject."""
    status = BATCH.read_status(Action.ERASURE, HttpReply(200, job(id=user, request_type="remove")))
    assert status.outcome_of(BATCH.identifier_of({kind: sent})).state is State.COMPLETED


def test_results() -> None:
    """A completed access request has a file to download as its result."""
    results = BATCH.read_results(HttpReply(200, job(**URL)), [JOHN])
    assert (results[JOHN].url, results[JOHN].content) == ("https://data.batch.com/a.zip", None)
    assert "data.batch.com" not in repr(results)


def test_no_results() -> None:
    """An unknown user has no result. An unfinished review has no result to read."""
    assert BATCH.read_results(HttpReply(200, job(error="user not found")), [JOHN]) == {}
    with pytest.raises(ProtocolError):
        BATCH.read_results(HttpReply(200, job(status="pending")), [JOHN])


def test_listing() -> None:
    """The list route gives each request with its id, its user and its time in UTC."""
    assert BATCH.listing(CONTRACT.account()).path == "/1.0/app%2Fkey/gdpr/requests"
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
    """An unreadable entry does not hide the other entries."""
    entries = json.loads(LISTING)
    entries[0] |= change
    entries.append(None)
    assert len(BATCH.read_listing(HttpReply(200, json.dumps(entries).encode()))) == 2


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"{}", ProtocolError),
        (200, b'[{"of": "another"}]', ProtocolError),
        (200, b"", ReplyLost),
        (401, error(10), CredentialsRefused),
        (404, error(20), ConfigurationError),
        (503, error(2), VendorBusy),
        (500, error(1), ReplyLost),
    ],
)
def test_listing_errors(status: int, body: bytes, expected: type[Exception]) -> None:
    """A reply that is not a list of requests is never read as an empty list."""
    with pytest.raises(expected):
        BATCH.read_listing(HttpReply(status, body))
