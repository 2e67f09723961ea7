"""Replies of Attentive, as its documentation shows them."""

from __future__ import annotations

import pytest

from include.dsar.errors import ConfigurationError, JobUnknown, Refused, ReplyLost
from include.dsar.model import Action, IdentityKind, State
from include.dsar.vendors import vendor
from tests.unit.vendors.contract import Contract, subject

ATTENTIVE = vendor("attentive")

CREATED = b"""{"id": "123abc", "processed": false, "type": "DELETE", "subjectPhone": "+5555555555",
"requestMsg": "The subscriber requested to be removed", "requestDateTime": "2020-09-02T17:44:23.875+0000"}"""

PROCESSED = b"""{"id": "123abc", "processed": true, "type": "DELETE", "subjectPhone": "+*****5555",
"subjectEmail": "a**@website.com", "requestMsg": "The subscriber requested to be removed",
"requestDateTime": "2020-09-02T17:44:23.875+0000",
"processingStartDateTime": "2020-09-02T17:45:23.875+0000",
"processingEndDateTime": "2020-09-02T17:46:23.875+0000"}"""

CONTRACT = Contract(
    ATTENTIVE,
    subject="ann@example.com",
    created={CREATED: "123abc", b'{"id": "123abc"}': "123abc"},
    not_created=[
        (200, b'{"processed": false}', ReplyLost, "no job id"),
        (400, b'{"message": "ann@example.com"}', Refused, "HTTP 400"),
        (404, b"", ConfigurationError, "check Host"),
    ],
    statuses=[(Action.ERASURE, CREATED, None), (Action.ERASURE, PROCESSED, State.COMPLETED)],
    status_errors=[(404, b'{"message": "The specified resource was not found"}', JobUnknown)],
    unknown_shapes=[
        (Action.ERASURE, body)
        for body in (
            b'{"processed": "true"}',
            b'{"processed": 1}',
            b'{"processed": true, "type": "EXPORT"}',
            b'{"processed": true, "processingEndDateTime": null}',
        )
    ],
)


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
def test_create(identifiers: dict[IdentityKind, str], sent: dict[str, str]) -> None:
    """A call names the e-mail, the phone or both, and leaves out absent identifiers."""
    request = ATTENTIVE.create(CONTRACT.account(), Action.ERASURE, [subject(identifiers, "CCPA")])
    assert (request.method, request.path) == ("POST", "/v1/privacy/delete-request")
    assert request.headers["Authorization"] == "Bearer s3cr3t-token"
    assert request.body == sent | {"requestMsg": "DSAR-1"}
