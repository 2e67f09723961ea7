"""Besitos' replies, as its pages show them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.dsar.accounts import Account, AccountSettings
from include.dsar.errors import CredentialsRefused, JobUnknown, ProtocolError, Refused, ReplyLost, VendorBusy
from include.dsar.http.messages import HttpReply
from include.dsar.model import Action, IdentityKind, Outcome, Regulation, State, Subject
from include.dsar.vendors import settings, vendor
from include.dsar.vendors.vendor import RUNNING

BESITOS = vendor("besitos")

EXPORT_CREATED = b"""{"success": true, "message": "Export request queued for processing",
"request_id": "f19cf1c4-cea2-4ca9-ab25-de2e45ab98b4", "status": "pending", "format": "json", "data": null}"""

DELETE_CREATED = b"""{"success": true, "message": "Deletion request queued for processing",
"request_id": "99ec6045-bfe4-4afb-bf85-a7eb732b1683", "status": "pending",
"processed_user_ids": ["67871cac1da00a4c418226f9", "6972c9a48572cbe6504120c2"]}"""

DELETE_STATUS = b"""{
"success": true,
"request": {
"id": "7b3f07fd-6343-4b88-bffb-051bc5652b73", "action": "delete", "status": "completed",
"partner_id": "CwI606dZ", "partner_user_ids": ["sampleuser1", "sampleuser2"], "format": "json",
"requested_at": "2026-02-25T15:19:45.000000Z", "processed_at": "2026-02-25T15:20:18.000000Z",
"completed_at": "2026-02-25T15:20:18.000000Z", "expires_at": null, "error_message": null,
"progress": {"total": 2, "completed": 1, "failed": 1, "pending": 0, "percentage": 100}
},
"data": {"data": {
"verification": {"deletion_completed": true, "total_processed": 1,
"verification_note": "Data deletion completed and verified"},
"summary": {
"message": "Successfully processed 1 subscriber deletion requests from 2 partner user IDs.",
"success": true, "subscriber_ids": ["b-clkxsnseqacvefhfn8"], "processed_count": 1,
"found_partner_user_ids": ["sampleuser1"],
"provided_partner_user_ids": ["sampleuser1", "sampleuser2"],
"not_found_partner_user_ids": ["sampleuser2"]
}}}}"""

RECORD = b"""{
"status": true, "sub_id": null, "balance": "0.00", "last_name": null, "country_id": 1,
"first_name": null, "partner_id": "CwI606dZ", "email_address": "[email protected]",
"payout_records": [], "enrolled_offers": [], "partner_user_id": "sampleuser1",
"activity_summary": {"last_activity_timestamp": "2026-02-25 10:22:21"},
"support_interactions_count": 0, "rate": 0.10
}"""

EXPORT_STATUS = (
    b"""{"success": true, "request": {
"id": "3f4f183b-c32e-4982-97b5-2c79ffe07402", "action": "export", "status": "completed",
"partner_id": "CwI606dZ", "partner_user_ids": ["sampleuser1", "sampleuser2"], "format": "json",
"expires_at": "2026-03-04T15:23:31.000000Z", "error_message": null,
"progress": {"total": 2, "completed": 1, "failed": 1, "pending": 0, "percentage": 100}},
"data": {"data": [
"""
    + RECORD
    + b""",
null
]}}"""
)


@pytest.fixture
def account() -> AccountSettings:
    return settings(
        Account("besitos", "besitos"), base_url=None, secret="token-1", extra={"partner_id": "Cw/606"}
    )


def subject(user_id: str) -> Subject:
    return Subject(1, {IdentityKind.USER_ID: user_id}, Regulation.GDPR, "DSAR-1")


def export(*records: bytes, asked: bytes = b'["a", "b", "7", "u1"]') -> HttpReply:
    """The sample of an export with these records, of a job that was made of the ids `asked`."""
    head, tail = EXPORT_STATUS.split(RECORD + b",\nnull")
    head = head.replace(b'["sampleuser1", "sampleuser2"]', asked)
    return HttpReply(200, head + b",\n".join(records) + tail)


def deleted(**changes: Any) -> HttpReply:
    """The sample of a delete, with one field changed wherever it stands."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: changes[key] if key in changes else changed(item) for key, item in value.items()}
        return value

    return HttpReply(200, json.dumps(changed(json.loads(DELETE_STATUS))).encode())


@pytest.mark.parametrize(("action", "route"), [(Action.ACCESS, "export"), (Action.ERASURE, "delete")])
def test_create(account: AccountSettings, action: Action, route: str) -> None:
    """One call names many users, each once, under the partner's percent-encoded id."""
    request = BESITOS.create(account, action, [subject("u1"), subject("u2"), subject("u1")])
    assert (request.method, request.path) == ("POST", f"/data/partner/{route}/Cw%2F606/users")
    assert request.headers["Authorization"] == "Bearer token-1"
    assert request.body == {"user_ids": ["u1", "u2"]}


@pytest.mark.parametrize(
    ("body", "job"),
    [
        (EXPORT_CREATED, "f19cf1c4-cea2-4ca9-ab25-de2e45ab98b4"),
        (DELETE_CREATED, "99ec6045-bfe4-4afb-bf85-a7eb732b1683"),
    ],
)
def test_created(body: bytes, job: str) -> None:
    """The job's id is `request_id`."""
    assert BESITOS.read_created(HttpReply(200, body)) == job


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"", ReplyLost),
        (200, b"<html>", ReplyLost),
        (200, b"[]", ReplyLost),
        (200, b'{"success": true}', ReplyLost),
        (200, b'{"success": true, "request_id": ".."}', ReplyLost),
        (200, b'{"success": false, "message": "user u1 is malformed"}', Refused),
        (302, b"", ReplyLost),
        (400, b'{"message": "user u1 is malformed"}', Refused),
        (401, b"", CredentialsRefused),
        (403, b"", CredentialsRefused),
        (422, b"{}", Refused),
        (429, b"", VendorBusy),
        (500, b"", ReplyLost),
        (502, b"<html>", ReplyLost),
    ],
)
def test_not_created(status: int, body: bytes, error: type[Exception]) -> None:
    """What leaves open whether the call was taken is ReplyLost, and no reply's text is repeated."""
    with pytest.raises(error) as caught:
        BESITOS.read_created(HttpReply(status, body))
    assert type(caught.value) is error
    assert "u1" not in str(caught.value)


def test_status(account: AccountSettings) -> None:
    """The job's id is percent-encoded in the path."""
    request = BESITOS.status(account, "a/b")
    assert (request.method, request.path) == ("GET", "/data/partner/gdpr/Cw%2F606/a%2Fb")


@pytest.mark.parametrize("status", ["pending", "processing", "failed?"])
def test_running(status: str) -> None:
    """A status other than completed is taken for running, whatever it is."""
    assert BESITOS.read_status(Action.ERASURE, deleted(status=status)) == RUNNING


def test_deleted() -> None:
    """A completed deletion has an outcome for each person, and none for who stands in neither list."""
    status = BESITOS.read_status(Action.ERASURE, HttpReply(200, DELETE_STATUS))
    assert status.ended and not status.retry_alone
    assert status.outcome_of("sampleuser1") == Outcome(State.COMPLETED)
    assert status.outcome_of("sampleuser2") == Outcome(State.NO_DATA)
    assert status.outcome_of("sampleuser3") == Outcome(State.FAILED, "not confirmed")


@pytest.mark.parametrize(
    "changes",
    [
        {"deletion_completed": False},
        {"progress": {"completed": 0, "failed": 2}},
        {"processed_count": 0},
        {"processed_count": 0, "progress": {}},
        {"deletion_completed": "no"},
    ],
)
def test_found_but_not_deleted(changes: dict[str, Any]) -> None:
    """Found users whose deletion the reply denies are not confirmed, and worth a smaller batch."""
    status = BESITOS.read_status(Action.ERASURE, deleted(**changes))
    assert status.retry_alone
    assert status.outcome_of("sampleuser1").state is State.FAILED
    assert status.outcome_of("sampleuser2").state is State.NO_DATA


def test_nobody_found() -> None:
    """Where nobody was found there is no deletion to confirm."""
    nobody = deleted(found_partner_user_ids=[], not_found_partner_user_ids=["a", 7], deletion_completed=False)
    status = BESITOS.read_status(Action.ERASURE, nobody)
    assert {status.outcome_of("a").state, status.outcome_of("7").state} == {State.NO_DATA}
    assert not status.retry_alone


def test_found_and_not_found() -> None:
    """An id in both lists is not confirmed."""
    status = BESITOS.read_status(Action.ERASURE, deleted(not_found_partner_user_ids=["sampleuser1"]))
    assert status.outcome_of("sampleuser1").state is State.FAILED


def test_a_list_left_out() -> None:
    """A deletion that found everybody may leave out the list of whom it did not find."""
    status = BESITOS.read_status(Action.ERASURE, deleted(not_found_partner_user_ids=None))
    assert status.outcome_of("sampleuser1").state is State.COMPLETED


@pytest.mark.parametrize("changes", [{"error_message": "E12: sampleuser1 is locked"}, {"success": False}])
@pytest.mark.parametrize("action", list(Action))
def test_failed(action: Action, changes: dict[str, Any]) -> None:
    """A failed job fails everybody in it, without the vendor's words, and is worth smaller batches."""
    status = BESITOS.read_status(action, deleted(**changes))
    assert status.ended and status.retry_alone
    assert status.outcome_of("sampleuser1").state is State.FAILED
    assert "sampleuser1" not in str(status.outcome)


@pytest.mark.parametrize(
    "changes",
    [
        {"request": None},
        {"status": 1},
        {"data": None},
        {"data": []},
        {"summary": None},
        {"found_partner_user_ids": "sampleuser1"},
        {"found_partner_user_ids": [None]},
        {"found_partner_user_ids": None, "not_found_partner_user_ids": None},
    ],
)
def test_unknown_shape(changes: dict[str, Any]) -> None:
    """A completed deletion of an unknown shape is never taken for success."""
    with pytest.raises(ProtocolError):
        BESITOS.read_status(Action.ERASURE, deleted(**changes))


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"", ReplyLost),
        (200, b"<html>", ProtocolError),
        (301, b"", ProtocolError),
        (400, b"", ProtocolError),
        (401, b"", CredentialsRefused),
        (403, b"", CredentialsRefused),
        (404, b"", JobUnknown),
        (429, b"", VendorBusy),
        (500, b"", ReplyLost),
    ],
)
def test_status_errors(status: int, body: bytes, error: type[Exception]) -> None:
    """Each HTTP status of the status route has its own error."""
    with pytest.raises(error) as caught:
        BESITOS.read_status(Action.ERASURE, HttpReply(status, body))
    assert type(caught.value) is error


def test_exported() -> None:
    """A completed export is ready for everybody; only its results say who has data."""
    status = BESITOS.read_status(Action.ACCESS, HttpReply(200, EXPORT_STATUS))
    assert status.outcome_of("sampleuser2") == Outcome(State.READY)


def test_results() -> None:
    """A person gets the record's own bytes, and who has none is absent."""
    results = BESITOS.read_results(HttpReply(200, EXPORT_STATUS), ["sampleuser1", "sampleuser2"])
    assert set(results) == {"sampleuser1"}
    assert (results["sampleuser1"].content, results["sampleuser1"].url) == (RECORD, None)


def test_results_by_id() -> None:
    """Records are matched by their id, in whatever order and place they come."""
    reply = export(b"null", b'{"partner_user_id": "b"}', b'{"partner_user_id":7}')
    results = BESITOS.read_results(reply, ["7", "a", "b"])
    assert {name: result.content for name, result in results.items()} == {
        "7": b'{"partner_user_id":7}',
        "b": b'{"partner_user_id": "b"}',
    }


def test_results_of_others() -> None:
    """A record of another person of the job is given to nobody else; who has none has no data."""
    assert BESITOS.read_results(export(b'{"partner_user_id": "b"}', b"null"), ["u1"]) == {}


@pytest.mark.parametrize("asked", [b'["u1", "b"]', b"null", b"[]"])
def test_a_record_of_an_id_that_was_not_sent(asked: bytes) -> None:
    """It could be that of anybody who has no other (`U1` for `u1`), and is given to nobody."""
    reply = export(b'{"partner_user_id": "U1"}', b'{"partner_user_id": "b"}', asked=asked)
    results = BESITOS.read_results(reply, ["u1", "b"])
    assert results["u1"].unreadable and results["u1"].content is None
    assert results["b"].content == b'{"partner_user_id": "b"}'


def test_results_of_another_job() -> None:
    """A reply about others does not say that there is no data about this person."""
    results = BESITOS.read_results(export(b"null", asked=b'["other"]'), ["u1"])
    assert results["u1"].unreadable
    assert BESITOS.read_results(export(b"null", asked=b"null"), ["u1"]) == {}


def test_two_records() -> None:
    """Two records for one id are both given, as they came."""
    results = BESITOS.read_results(
        export(b'{"partner_user_id":"a"}', b'{"partner_user_id":"a", "n":1.0}'), ["a"]
    )
    assert results["a"].content == b'[{"partner_user_id":"a"},\n{"partner_user_id":"a", "n":1.0}]'


@pytest.mark.parametrize("record", [b"{}", b'"a"', b"[]", b'{"partner_user_id": null}', b"true"])
def test_records_without_an_owner(record: bytes) -> None:
    """A record that names nobody could be anybody's: who has no other is not told that there is no data."""
    results = BESITOS.read_results(export(record, b'{"partner_user_id": "b"}'), ["a", "b"])
    assert results["a"].unreadable and results["a"].content is None
    assert results["b"].content == b'{"partner_user_id": "b"}' and not results["b"].unreadable


def test_deletion_names_an_odd_id() -> None:
    """What is no id in the list of a deletion takes nobody else's outcome away."""
    status = BESITOS.read_status(
        Action.ERASURE, deleted(found_partner_user_ids=["sampleuser1", None], not_found_partner_user_ids=[])
    )
    assert status.outcome_of("sampleuser1").state is State.COMPLETED
    assert status.outcome_of("sampleuser2").state is State.FAILED


def test_record_that_is_not_utf8() -> None:
    """A record with a byte that is no UTF-8 is given as it came, and hides no other record."""
    odd = b'{"partner_user_id": "a", "name": "Zo\xeb"}'
    results = BESITOS.read_results(export(odd, b'{"partner_user_id": "b"}'), ["a", "b"])
    assert (results["a"].content, results["b"].content) == (odd, b'{"partner_user_id": "b"}')


@pytest.mark.parametrize(
    "reply", [deleted(status="pending"), deleted(success=False), deleted(), deleted(data=None)]
)
def test_no_results(reply: HttpReply) -> None:
    """Results come from a completed export only."""
    with pytest.raises(ProtocolError):
        BESITOS.read_results(reply, ["sampleuser1"])
