"""What every vendor of the registry keeps to, whatever it is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from include.dsar.accounts import Account, AccountSettings
from include.dsar.errors import (
    AlreadyRunning,
    ConfigurationError,
    CredentialsRefused,
    DsarError,
    JobUnknown,
    NotTaken,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    ReplyLost,
    VendorBusy,
)
from include.dsar.http.messages import HttpReply
from include.dsar.model import Action, IdentityKind, Regulation, Subject
from include.dsar.vendors import VENDORS, settings
from include.dsar.vendors.replies import opaque_id
from include.dsar.vendors.vendor import OnUncertain, Vendor

SECRET = "s3cr3t-token"
MARK = "leakme"  # stands in every identifier and in every vendor's message below
VALUES = {
    IdentityKind.EMAIL: f"{MARK}@example.com",
    IdentityKind.PHONE: f"+1{MARK}",
    IdentityKind.USER_ID: f"user-{MARK}",
    IdentityKind.ADVERTISING_ID: f"ad-{MARK}",
    IdentityKind.INSTALL_ID: f"install-{MARK}",
    IdentityKind.ID5_ID: f"ID5*{MARK}",
}

every_vendor = pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)

WORDS = """success request status completed data summary id token error code done pending request_id jobStatus
    DONE processingResult processed message data_url partner_user_id found_partner_user_ids request_type
    review not_found_partner_user_ids"""
words = st.sampled_from(WORDS.split())
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | words
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(), inner, max_size=6)
)
bodies = st.binary() | documents.map(lambda document: json.dumps(document).encode())
headers = st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text())
replies = st.builds(HttpReply, st.integers(100, 599), bodies, headers)


def account_of(vendor: Vendor) -> AccountSettings:
    extra: dict[str, object] = {each.name: f"key-{MARK}" for each in vendor.fields if each.required}
    return settings(Account(vendor.name, vendor.name), base_url=None, secret=SECRET, extra=extra)


def subjects_of(vendor: Vendor) -> list[Subject]:
    kinds = vendor.identities + vendor.optional_identities
    return [Subject(1, {kind: VALUES[kind]}, Regulation.GDPR, "DSAR-1") for kind in kinds]


@every_vendor
def test_facts(vendor: Vendor) -> None:
    """A vendor's facts fit together."""
    assert VENDORS[vendor.name] is vendor
    assert vendor.title and vendor.base_url.startswith("https://") and vendor.actions and vendor.identities
    assert not set(vendor.identities) & set(vendor.optional_identities)
    assert vendor.returns_data == (type(vendor).read_results is not Vendor.read_results)
    assert not vendor.returns_data or Action.ACCESS in vendor.actions
    assert vendor.poll_min <= vendor.poll_max < vendor.give_up_after
    assert not (vendor.joins_identities and vendor.users_per_call > 1)


@every_vendor
@pytest.mark.parametrize("action", list(Action))
def test_create(vendor: Vendor, action: Action) -> None:
    """A call holds what was given and nothing empty, and shows neither identifiers nor secrets."""
    for subject in subjects_of(vendor):
        if action not in vendor.actions:
            with pytest.raises(NotImplementedError):
                vendor.create(account_of(vendor), action, [subject])
            continue
        request = vendor.create(account_of(vendor), action, [subject])
        assert request.method == "POST" and request.path.startswith("/")
        sent = json.dumps(request.body)
        assert '""' not in sent and "null" not in sent
        shown = f"{request} {request!r} {subject!r} {account_of(vendor)!r}"
        assert MARK not in shown and SECRET not in shown


@every_vendor
def test_status(vendor: Vendor) -> None:
    """A job's id cannot leave its place in the path, and nothing of the call is shown."""
    request = vendor.status(account_of(vendor), "../x?y#z ä")
    assert request.method == "GET" and request.body is None
    assert "..%2Fx%3Fy%23z%20%C3%A4" in request.path
    assert SECRET not in repr(request)


@every_vendor
def test_listing(vendor: Vendor) -> None:
    """A vendor has a list route just where it is asked how a lost call ended."""
    if vendor.on_uncertain is OnUncertain.ASK:
        assert vendor.listing(account_of(vendor)).method == "GET"
        assert vendor.read_listing(HttpReply(200, b"[]")) == []
    else:
        with pytest.raises(NotImplementedError):
            vendor.listing(account_of(vendor))
        with pytest.raises(NotImplementedError):
            vendor.read_listing(HttpReply(200, b"[]"))


@every_vendor
@given(reply=replies)
@example(reply=HttpReply(200, b"[" * 100_000))
@example(reply=HttpReply(200, b'{"id": ' + b"9" * 5000 + b"}"))
@example(reply=HttpReply(200, b'{"id": "\\ud800", "token": "\\ud800", "request_id": "\\u0000"}'))
@example(reply=HttpReply(403, b'{"error": {"code": ["api_rate_limit_error"]}}'))
@example(reply=HttpReply(429, b"", {"retry-after": "Mon, 99 Foo 99999 99:99:99 +9999"}))
def test_garbage_after_a_post(vendor: Vendor, reply: HttpReply) -> None:
    """Whatever comes back from a POST is a job's id, or says what may have become of the call."""
    try:
        job_id = vendor.read_created(reply)
    except (ConfigurationError, NotTaken, Refused, OutcomeUnknown) as error:
        assert error.args and "\n" not in str(error)
    else:
        assert 200 <= reply.status < 300
        vendor.status(account_of(vendor), job_id)


@every_vendor
def test_probe(vendor: Vendor) -> None:
    """It is a GET; a web server's own 404 is no answer of the vendor's, and a 401 is about credentials."""
    assert vendor.probe(account_of(vendor)).method == "GET"
    with pytest.raises((ProtocolError, ConfigurationError)):
        vendor.read_probe(account_of(vendor), HttpReply(404, b"<html>Not Found</html>"))
    with pytest.raises(CredentialsRefused):
        vendor.read_probe(account_of(vendor), HttpReply(401, b""))


@every_vendor
@given(action=st.sampled_from(Action), reply=replies)
@example(
    action=Action.ACCESS, reply=HttpReply(200, b'{"success":true,"request":{"status":"completed"},"data":1}')
)
def test_garbage_after_a_get(vendor: Vendor, action: Action, reply: HttpReply) -> None:
    """Whatever comes back from a GET is a standing, results, or one of the project's errors."""
    readers: list[Any] = [
        lambda: vendor.read_status(action, reply),
        lambda: vendor.read_probe(account_of(vendor), reply),
    ]
    if Action.ACCESS in vendor.actions:
        readers.append(lambda: vendor.read_results(reply, ["a", "b"]))
    if vendor.on_uncertain is OnUncertain.ASK:
        readers.append(lambda: vendor.read_listing(reply))
    for read in readers:
        try:
            read()
        except DsarError as error:
            assert error.args
        else:
            assert 200 <= reply.status < 300


@every_vendor
@pytest.mark.parametrize(
    "body",
    [
        b"",
        f"<html>{MARK}</html>".encode(),
        json.dumps({"error": {"code": MARK, "message": MARK, "type": MARK}, "message": MARK}).encode(),
        json.dumps({"code": MARK, "message": MARK}).encode(),
    ],
    ids=["empty", "html", "nested", "flat"],
)
def test_every_status(vendor: Vendor, body: bytes) -> None:
    """Each HTTP status that is no success has one outcome, and says nothing of what the reply holds."""
    for status in range(300, 600):
        reply = HttpReply(status, body, {"retry-after": MARK, "location": f"https://{MARK}"})
        with pytest.raises(DsarError) as posted:
            vendor.read_created(reply)
        with pytest.raises(DsarError) as read:
            vendor.read_status(Action.ERASURE, reply)
        for caught in (posted, read):
            assert MARK not in f"{caught.value} {caught.value!r}"
            assert str(caught.value).startswith(f"HTTP {status}")
        assert type(read.value) is _expected_after_a_get(status)
        assert type(posted.value) is _expected_after_a_post(vendor, status)


def _expected_after_a_get(status: int) -> type[DsarError]:
    if status in (401, 403):
        return CredentialsRefused
    if status in (404, 410):
        return JobUnknown
    if status == 429:
        return VendorBusy
    return ReplyLost if status == 408 or status >= 500 else ProtocolError


def _expected_after_a_post(vendor: Vendor, status: int) -> type[DsarError]:
    if status == 409 and vendor.name == "batch":
        return AlreadyRunning
    if status in (401, 403):
        return CredentialsRefused
    if status in (404, 405):
        return ConfigurationError
    if status == 429:
        return VendorBusy
    return Refused if status in (400, 413, 422) else ReplyLost


@pytest.mark.parametrize("value", ["a", "f19cf1c4-cea2", "0", "a b", "x" * 200])
def test_usable_ids(value: str) -> None:
    """An id that can stand in a path is kept as it is."""
    assert opaque_id(value) == value


def test_numeric_id() -> None:
    """A number is an id too."""
    assert opaque_id(7) == "7"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        1.0,
        [],
        {},
        "",
        " ",
        " a",
        ".",
        "..",
        "a\n",
        "a\x00b",
        "\ud800",
        "x" * 201,
        -1,
        10**300,
    ],
    ids=repr,
)
def test_unusable_ids(value: object) -> None:
    """An id that no vendor would give is refused."""
    with pytest.raises(ProtocolError):
        opaque_id(value)


@every_vendor
@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b"true", b'"completed"', b'{"success": true}'])
def test_success_is_never_guessed(vendor: Vendor, action: Action, body: bytes) -> None:
    """A reply that does not say how the job stands is an error, never an outcome."""
    with pytest.raises(ProtocolError):
        vendor.read_status(action, HttpReply(200, body))
