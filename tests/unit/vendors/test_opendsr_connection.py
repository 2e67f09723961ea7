"""OpenDSR processors differ in fields, hashes and authentication. The connection of an account sets these."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from include.dsar.errors import ConfigurationError
from include.dsar.model import Action
from tests.unit.vendors.contract import subject
from tests.unit.vendors.test_opendsr import ACCESS, ANN, CONTRACT, ERASURE, ID, OPENDSR


@pytest.mark.parametrize(
    ("extra", "action", "expected"),
    [
        ({}, ACCESS, {"subject_request_type": "access"}),
        ({"access_type": "portability"}, ACCESS, {"subject_request_type": "portability"}),
        ({"access_type": "portability"}, ERASURE, {"subject_request_type": "erasure"}),
        ({"api_version": "2.0"}, ERASURE, {"api_version": "2.0"}),
        ({"extra_body": {"property_id": "app", "platform": "ios"}}, ERASURE, {"property_id": "app"}),
        ({"regulation": "omit"}, ERASURE, {"regulation": None}),
    ],
)
def test_the_body_follows_the_connection(
    extra: dict[str, Any], action: Action, expected: dict[str, str | None]
) -> None:
    """OpenDSR processors differ in the fields that they expect, so the connection sets these fields."""
    body = OPENDSR.create(CONTRACT.account(**extra), action, [subject(ANN)]).body
    assert {name: body.get(name) for name in expected} == expected


@pytest.mark.parametrize("form", ["sha256", "sha1", "md5"])
def test_identities_can_be_hashed(form: str) -> None:
    """The digest covers the normalised value, and is in lower-case hexadecimal."""
    request = OPENDSR.create(CONTRACT.account(identity_format=form), ERASURE, [subject(ANN)])
    (sent,) = request.body["subject_identities"]
    assert (sent["identity_type"], sent["identity_format"]) == ("email", form)
    assert "ann" not in sent["identity_value"]
    if form == "sha256":
        assert sent["identity_value"] == sha256(b"ann@example.com").hexdigest()


@pytest.mark.parametrize(
    ("extra", "headers"),
    [
        ({"authentication": "basic"}, {"Authorization": "Basic czNjcjN0LXRva2Vu"}),
        ({"authentication": "header"}, {"Authorization": "s3cr3t-token"}),
        (
            {"authentication": "header", "authentication_header": "X-Api-Key"},
            {"X-Api-Key": "s3cr3t-token", "Authorization": None},
        ),
    ],
)
def test_authentication(extra: dict[str, str], headers: dict[str, str | None]) -> None:
    """The token is sent with or without a scheme, in the header that the connection names."""
    request = OPENDSR.status(CONTRACT.account(**extra, path="/opengdpr_requests"), ID)
    assert request.path == f"/opengdpr_requests/{ID}"
    assert {name: request.headers.get(name) for name in headers} == headers


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ({"path": "requests"}, "path in Extra"),
        ({"path": "/requests?a=b"}, "path in Extra"),
        ({"authentication_header": "X Key"}, "authentication_header in Extra"),
        ({"identity_types": {"email": 1}}, "identity_types in Extra: has no type for email"),
        ({"extra_body": {"subject_request_id": "x"}}, "must not contain subject_request_id"),
        ({"signature": None}, "processor_certificate is missing in Extra"),  # by default it is required
        ({"signature": "if present"}, "signature in Extra: must be one of required, off"),
        (
            {"signature": "required", "processor_certificate": "x"},
            "processor_certificate in Extra is not PEM",
        ),
    ],
)
def test_a_connection_that_contradicts_itself(extra: dict[str, Any], problem: str) -> None:
    """A connection with contradictory settings is refused before any call is made."""
    with pytest.raises(ConfigurationError, match=f"connection opendsr_default: .*{problem}"):
        CONTRACT.account(**extra)
