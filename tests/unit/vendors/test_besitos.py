"""Replies of Besitos, as its documentation shows them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from include.dsar.errors import (
    CredentialsRefused,
    JobUnknown,
    ProtocolError,
    Refused,
    ReplyLost,
    UnexpectedAnswer,
    VendorBusy,
)
from include.dsar.http.messages import HttpReply
from include.dsar.model import Action, IdentityKind, Outcome, State
from include.dsar.vendors import vendor
from tests.unit.vendors.contract import Contract, Documented, subject

BESITOS = vendor("besitos")
STRANGER = "somebody who is not in the reply"

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


def export(*records: bytes, asked: bytes = b'["a", "b", "7", "u1"]') -> HttpReply:
    """Returns the sample export with these records, for a job with the ids `asked`. The counts in
    `progress` match the records.
    """
    head, tail = EXPORT_STATUS.split(RECORD + b",\nnull")
    head = head.replace(b'["sampleuser1", "sampleuser2"]', asked)
    completed = sum(record != b"null" for record in records)
    total = len(json.loads(asked) or records)
    progress = {"total": total, "completed": completed, "failed": total - completed, "pending": 0}
    head = re.sub(rb'"progress": \{[^}]*\}', b'"progress": ' + json.dumps(progress).encode(), head)
    return HttpReply(200, head + b",\n".join(records) + tail, {"date": "Wed, 25 Feb 2026 16:00:00 GMT"})


def deleted(**changes: Any) -> bytes:
    """Returns the sample delete reply, with these fields changed at every level."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: changes[key] if key in changes else changed(item) for key, item in value.items()}
        return value

    return json.dumps(changed(json.loads(DELETE_STATUS))).encode()


ACCESS, ERASURE = Action.ACCESS, Action.ERASURE
CONTRACT = Contract(
    BESITOS,
    extra={"partner_id": "Cw/606"},
    subject="sampleuser1",
    quotes="sampleuser1",
    created={
        EXPORT_CREATED: "f19cf1c4-cea2-4ca9-ab25-de2e45ab98b4",
        DELETE_CREATED: "99ec6045-bfe4-4afb-bf85-a7eb732b1683",
    },
    not_created=[
        (200, b'{"success": true}', ReplyLost, "no job id"),
        (200, b'{"success": true, "request_id": ".."}', ReplyLost, "no job id"),
        (200, b'{"success": false, "message": "user sampleuser1 is malformed"}', Refused, "success: false"),
        (400, b'{"message": "user sampleuser1 is malformed"}', Refused, "HTTP 400"),
        (422, b"{}", Refused, "HTTP 422"),
    ],
    statuses=[
        *((ERASURE, deleted(status=status), None) for status in ("pending", "processing", "failed?")),
        (ERASURE, DELETE_STATUS, State.COMPLETED),
        (ACCESS, EXPORT_STATUS, State.READY),  # only the results of an export say who has data
        *(
            (action, deleted(**changes), State.FAILED)
            for action, name in ((ACCESS, "export"), (ERASURE, "delete"))
            for changes in (
                {"error_message": "E12: sampleuser1 is locked", "action": name},
                {"success": False, "action": name},
            )
        ),
        (ERASURE, deleted(not_found_partner_user_ids=None, failed=0), State.COMPLETED),  # all were found
        (ERASURE, deleted(found_partner_user_ids=["sampleuser1", None]), State.COMPLETED),
    ],
    status_errors=[
        (301, b"", ProtocolError),
        (400, b"", ProtocolError),
        (403, b"", CredentialsRefused),
        (404, b"", UnexpectedAnswer),
        (404, b'{"message": "no Route matched"}', UnexpectedAnswer),
        (404, b'{"success": false}', JobUnknown),
        (429, b"", VendorBusy),
    ],
    unknown_shapes=[
        (ERASURE, deleted(**changes))
        for changes in (
            {"request": None},
            {"status": 1},
            {"data": None},
            {"data": []},
            {"summary": None},
            {"found_partner_user_ids": "sampleuser1"},
            {"found_partner_user_ids": [None]},
            {"found_partner_user_ids": None, "not_found_partner_user_ids": None},
        )
    ],
    others=[
        Documented(
            "besitos results",
            EXPORT_STATUS,
            lambda reply: BESITOS.read_results(reply, ["sampleuser1", STRANGER]),
        )
    ],
)


@pytest.mark.parametrize(("action", "route"), [(Action.ACCESS, "export"), (Action.ERASURE, "delete")])
def test_create(action: Action, route: str) -> None:
    """One call names many users, each once, under the partner's percent-encoded id."""
    request = BESITOS.create(
        CONTRACT.account(), action, [subject({IdentityKind.USER_ID: user}) for user in ("u1", "u2", "u1")]
    )
    assert (request.method, request.path) == ("POST", f"/data/partner/{route}/Cw%2F606/users")
    assert request.headers["Authorization"] == "Bearer s3cr3t-token"
    assert request.body == {"user_ids": ["u1", "u2"]}


def test_deleted() -> None:
    """A completed deletion has an outcome for each user. An id that is in neither list is not confirmed."""
    status = BESITOS.read_status(Action.ERASURE, HttpReply(200, DELETE_STATUS))
    assert status.ended and not status.retry_alone
    assert status.outcome_of("sampleuser1") == Outcome(State.COMPLETED)
    assert status.outcome_of("sampleuser2") == Outcome(State.NO_DATA)
    with pytest.raises(ProtocolError):
        status.outcome_of("sampleuser3")


COUNTS = {"total": 2, "completed": 1, "failed": 1, "pending": 0, "percentage": 100}
NOT_OVER = [
    {"pending": 1}, {"percentage": 99}, {"completed_at": None}, {"progress": COUNTS | {"pending": 2}},
]  # fmt: skip
NOTHING_IS_CLEAR = [{"success": None}, {"success": "yes"}, {"found_partner_user_ids": ["sampleuser2"]}]
FOUND_IS_NOT_CLEAR = [
    {"deletion_completed": False}, {"deletion_completed": "no"}, {"processed_count": 0},
    {"total_processed": 0}, {"progress": COUNTS | {"completed": 0}}, {"failed": 2},
    {"processed_count": 0, "progress": {}},
]  # fmt: skip


def unclear(changes: dict[str, Any], *names: str) -> None:
    status = BESITOS.read_status(Action.ERASURE, HttpReply(200, deleted(**changes)))
    for name in names:
        with pytest.raises(ProtocolError):
            status.outcome_of(name)


@pytest.mark.parametrize("changes", FOUND_IS_NOT_CLEAR, ids=str)
def test_found_but_not_deleted(changes: dict[str, Any]) -> None:
    """If the reply says that the vendor found users but did not delete them, these users have no outcome."""
    unclear(changes, "sampleuser1")
    status = BESITOS.read_status(Action.ERASURE, HttpReply(200, deleted(**changes)))
    assert status.outcome_of("sampleuser2").state is State.NO_DATA


@pytest.mark.parametrize("changes", [*NOTHING_IS_CLEAR, {"partner_user_ids": ["other"]}], ids=str)
def test_a_deletion_that_is_not_clear(changes: dict[str, Any]) -> None:
    """No user has an outcome if the reply reports no success, has an id in both lists, or lists users that
    were not asked about.
    """
    unclear(changes, "sampleuser2" if "found_partner_user_ids" in changes else "sampleuser1", "sampleuser2")


@pytest.mark.parametrize("changes", NOT_OVER, ids=str)
@pytest.mark.parametrize(("action", "name"), [(Action.ACCESS, "export"), (Action.ERASURE, "delete")])
def test_a_completed_job_that_goes_on(action: Action, name: str, changes: dict[str, Any]) -> None:
    """A reply may say `completed` although the job goes on. Such a reply gives no outcome, so the job is
    polled again.
    """
    with pytest.raises(ProtocolError):
        BESITOS.read_status(action, HttpReply(200, deleted(**changes, action=name)))


def test_a_job_of_another_action() -> None:
    """A deletion is not accepted as the reply about an export. A failure without a request belongs to no
    job.
    """
    with pytest.raises(ProtocolError):
        BESITOS.read_status(Action.ACCESS, HttpReply(200, DELETE_STATUS))
    with pytest.raises(ProtocolError):
        BESITOS.read_status(Action.ERASURE, HttpReply(200, b'{"success": false}'))


@pytest.mark.parametrize(
    ("changes", "is_lost"),
    [
        ({"progress": {"completed": 3, "failed": 1}}, True),
        ({"progress": {"completed": 2, "failed": 0}}, True),
        ({"progress": {}}, True),
        ({"expires_at": "2026-02-25T15:59:00.000000Z"}, True),
        ({}, False),
    ],
    ids=str,
)
def test_an_export_that_contradicts_itself(changes: dict[str, Any], is_lost: bool) -> None:
    """If a user has no record, this means "no data" only if the counts agree and the export has not
    expired.
    """
    reply = export(b'{"partner_user_id": "b"}', b"null", asked=b'["a", "b"]')
    document = json.loads(reply.body)
    document["request"] |= changes
    changed = HttpReply(200, json.dumps(document).encode(), reply.headers)
    results = BESITOS.read_results(changed, ["a", "b"])
    assert results["b"].content == b'{"partner_user_id": "b"}'
    assert ("a" in results and bool(results["a"].lost)) == is_lost
    document["request"]["partner_user_ids"] = ["a"]  # alone
    document["data"]["data"] = [None]
    alone = BESITOS.read_results(HttpReply(200, json.dumps(document).encode(), reply.headers), ["a"])
    if is_lost:
        assert alone["a"].lost if "expires_at" in changes else alone["a"].unreadable


@pytest.mark.parametrize("data", [None, {"data": None}])
def test_an_export_without_data(data: object) -> None:
    """If an export has lost its data, its results count as lost and not as "no data"."""
    document = json.loads(EXPORT_STATUS) | {"data": data}
    results = BESITOS.read_results(HttpReply(200, json.dumps(document).encode()), ["sampleuser1"])
    assert results["sampleuser1"].lost


def test_nobody_found() -> None:
    """If no user was found, there is no deletion to confirm."""
    nobody = deleted(
        found_partner_user_ids=[],
        not_found_partner_user_ids=["a", 7],
        deletion_completed=False,
        partner_user_ids=["a", 7],
        progress={"completed": 0, "failed": 2},
    )
    status = BESITOS.read_status(Action.ERASURE, HttpReply(200, nobody))
    assert {status.outcome_of("a").state, status.outcome_of("7").state} == {State.NO_DATA}
    assert not status.retry_alone


@pytest.mark.parametrize("changes", [{"error_message": "E12: sampleuser1 is locked"}, {"success": False}])
def test_failed(changes: dict[str, Any]) -> None:
    """A job that failed as a whole is sent again in smaller batches."""
    assert BESITOS.read_status(Action.ERASURE, HttpReply(200, deleted(**changes))).retry_alone


def test_results() -> None:
    """A user gets the bytes of the record. A user without a record has no data."""
    results = BESITOS.read_results(HttpReply(200, EXPORT_STATUS), ["sampleuser1", "sampleuser2"])
    assert set(results) == {"sampleuser1"}
    assert (results["sampleuser1"].content, results["sampleuser1"].url) == (RECORD, None)


def test_results_by_id() -> None:
    """Records are matched by their id, in any order."""
    reply = export(b"null", b'{"partner_user_id": "b"}', b'{"partner_user_id":7}')
    results = BESITOS.read_results(reply, ["7", "a", "b"])
    assert {name: result.content for name, result in results.items()} == {
        "7": b'{"partner_user_id":7}',
        "b": b'{"partner_user_id": "b"}',
    }


def test_results_of_others() -> None:
    """If a user of the job has no record, the user has no data. The record of another user is never given
    to this user.
    """
    assert BESITOS.read_results(export(b'{"partner_user_id": "b"}', b"null"), ["u1"]) == {}


@pytest.mark.parametrize("asked", [b'["u1", "b"]', b"null", b"[]"])
def test_a_record_of_an_id_that_was_not_sent(asked: bytes) -> None:
    """A record with an unclear id (`U1` for `u1`) is given to no user, because it could be any user's."""
    reply = export(b'{"partner_user_id": "U1"}', b'{"partner_user_id": "b"}', asked=asked)
    results = BESITOS.read_results(reply, ["u1", "b"])
    assert results["u1"].unreadable and results["u1"].content is None
    assert results["b"].content == b'{"partner_user_id": "b"}'


def test_results_of_another_job() -> None:
    """A reply about other users does not prove that this user has no data."""
    results = BESITOS.read_results(export(b"null", asked=b'["other"]'), ["u1"])
    assert results["u1"].unreadable
    assert BESITOS.read_results(export(b"null", asked=b"null"), ["u1"]) == {}


def test_two_records() -> None:
    """A user with two records gets both records unchanged."""
    results = BESITOS.read_results(
        export(b'{"partner_user_id":"a"}', b'{"partner_user_id":"a", "n":1.0}'), ["a"]
    )
    assert results["a"].content == b'[{"partner_user_id":"a"},\n{"partner_user_id":"a", "n":1.0}]'


@pytest.mark.parametrize("record", [b"{}", b'"a"', b"[]", b'{"partner_user_id": null}', b"true"])
def test_records_without_an_owner(record: bytes) -> None:
    """A record without an id could belong to any user. Therefore a user without a record has an unreadable
    result.
    """
    results = BESITOS.read_results(export(record, b'{"partner_user_id": "b"}'), ["a", "b"])
    assert results["a"].unreadable and results["a"].content is None
    assert results["b"].content == b'{"partner_user_id": "b"}' and not results["b"].unreadable


def test_record_that_is_not_utf8() -> None:
    """A record with a byte that is not UTF-8 is kept unchanged, and does not hide other records."""
    odd = b'{"partner_user_id": "a", "name": "Zo\xeb"}'
    results = BESITOS.read_results(export(odd, b'{"partner_user_id": "b"}'), ["a", "b"])
    assert (results["a"].content, results["b"].content) == (odd, b'{"partner_user_id": "b"}')


@pytest.mark.parametrize(
    "body", [deleted(status="pending"), deleted(success=False), deleted(), deleted(data=None)]
)
def test_no_results(body: bytes) -> None:
    """Only a completed export has results."""
    with pytest.raises(ProtocolError):
        BESITOS.read_results(HttpReply(200, body), ["sampleuser1"])
