"""Every vendor in the registry passes these tests, with its documented replies and with any other reply."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from include.dsar.errors import (
    ConfigurationError,
    CredentialsRefused,
    DsarError,
    JobUnknown,
    NotTaken,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    ReplyLost,
    UnexpectedAnswer,
    VendorBusy,
)
from include.dsar.http.messages import HttpReply
from include.dsar.model import Action, IdentityKind, State, Subject
from include.dsar.vendors import VENDORS
from include.dsar.vendors.vendor import OnUncertain, Vendor
from tests.unit.vendors.contract import SECRET, Contract, contracts, subject

MARK = "leakme"  # this text is in every identifier and error message below
VALUES = {
    IdentityKind.EMAIL: f"{MARK}@example.com",
    IdentityKind.PHONE: f"+1{MARK}",
    IdentityKind.USER_ID: f"user-{MARK}",
    IdentityKind.ADVERTISING_ID: f"ad-{MARK}",
    IdentityKind.INSTALL_ID: f"install-{MARK}",
    IdentityKind.ID5_ID: f"ID5*{MARK}",
}

CONTRACTS = contracts()
every_vendor = pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)


def literals(field: str) -> Any:
    """Returns a test parameter for each literal reply in this field of the vendors' contracts."""
    return pytest.mark.parametrize(
        ("contract", "literal"),
        [
            pytest.param(contract, literal, id=f"{name}-{number}")
            for name, contract in CONTRACTS.items()
            for number, literal in enumerate(getattr(contract, field))
        ],
    )


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


def subjects_of(vendor: Vendor) -> list[Subject]:
    return [subject({kind: VALUES[kind]}) for kind in vendor.identities + vendor.optional_identities]


def has_discovery(vendor: Vendor) -> bool:
    return vendor.discovery(CONTRACTS[vendor.name].account()) is not None


@literals("created")
def test_created(contract: Contract, literal: bytes) -> None:
    """The reply to a POST contains the job's id."""
    assert contract.vendor.read_created(HttpReply(200, literal)) == contract.created[literal]


@literals("not_created")
def test_not_created(contract: Contract, literal: tuple[int, bytes, type[DsarError], str]) -> None:
    """Each documented error has its class, and its message does not quote the reply."""
    status, body, error, message = literal
    with pytest.raises(error) as caught:
        contract.vendor.read_created(HttpReply(status, body))
    assert type(caught.value) is error
    assert message in str(caught.value)
    assert contract.quotes not in str(caught.value)


@literals("statuses")
def test_statuses(contract: Contract, literal: tuple[Action, bytes, State | None]) -> None:
    """Each documented status is an outcome or a running job. The reason does not quote the reply."""
    action, body, state = literal
    status = contract.vendor.read_status(action, HttpReply(200, body))
    assert status.ended == (state is not None)
    if status.ended:
        outcome = status.outcome_of(contract.subject)
        assert outcome.state is state
        assert contract.quotes not in str(outcome.reason)


@literals("status_errors")
def test_status_errors(contract: Contract, literal: tuple[int, bytes, type[DsarError]]) -> None:
    """Each documented error of the status route has its class."""
    status, body, error = literal
    with pytest.raises(error) as caught:
        contract.vendor.read_status(Action.ERASURE, HttpReply(status, body))
    assert type(caught.value) is error


@literals("unknown_shapes")
def test_unknown_shapes(contract: Contract, literal: tuple[Action, bytes]) -> None:
    """A status of an unknown shape is never read as an outcome."""
    action, body = literal
    with pytest.raises(ProtocolError):
        contract.vendor.read_status(action, HttpReply(200, body))


@every_vendor
def test_a_reply_about_another_job(vendor: Vendor) -> None:
    """If a reply names a job, it must be the job that was asked for."""
    document: Any = "j-1"
    for name in reversed(vendor.job_id_path):
        document = {name: document}
    reply = HttpReply(200, json.dumps(document).encode())
    vendor.check_job("j-1", reply)
    vendor.check_job("j-2", HttpReply(200, b"{}"))
    if vendor.job_id_path:
        with pytest.raises(ProtocolError):
            vendor.check_job("j-2", reply)


@every_vendor
def test_facts(vendor: Vendor) -> None:
    """The facts in a vendor's declaration are consistent."""
    assert VENDORS[vendor.name] is vendor
    assert vendor.title and vendor.actions and vendor.identities
    assert vendor.base_url == "" or vendor.base_url.startswith("https://")
    assert not set(vendor.identities) & set(vendor.optional_identities)
    assert vendor.poll_min <= vendor.poll_max < vendor.give_up_after
    assert not (vendor.joins_identities and vendor.users_per_call > 1)


@every_vendor
@pytest.mark.parametrize("action", list(Action))
def test_create(vendor: Vendor, action: Action) -> None:
    """A call contains the given identifiers and no empty field. Its repr has no identifier and no secret."""
    for one in subjects_of(vendor):
        if action not in vendor.actions:  # an access request must never become a deletion
            with pytest.raises(NotImplementedError):
                vendor.create(CONTRACTS[vendor.name].account(), action, [one])
            continue
        request = vendor.create(CONTRACTS[vendor.name].account(), action, [one])
        assert request.method == "POST" and request.path.startswith("/")
        sent = json.dumps(request.body)
        assert '""' not in sent and "null" not in sent
        shown = f"{request} {request!r} {one!r} {CONTRACTS[vendor.name].account()!r}"
        assert MARK not in shown and SECRET not in shown


@every_vendor
def test_status(vendor: Vendor) -> None:
    """A job id is percent-encoded in the path. The repr of the call has no secret."""
    request = vendor.status(CONTRACTS[vendor.name].account(), "../x?y#z ä")
    assert request.method == "GET" and request.body is None
    assert "..%2Fx%3Fy%23z%20%C3%A4" in request.path
    assert SECRET not in repr(request)


@every_vendor
def test_capabilities(vendor: Vendor) -> None:
    """A vendor has the methods that its declaration promises, and no other methods."""
    methods = {
        "listing": vendor.on_uncertain is OnUncertain.ASK,
        "read_listing": vendor.on_uncertain is OnUncertain.ASK,
        "job_id_of": vendor.on_uncertain is OnUncertain.ASK_JOB,
        "cancel": vendor.can_cancel,
        "read_cancelled": vendor.can_cancel,
        "read_results": vendor.returns_data,
        "read_discovery": has_discovery(vendor),
    }
    for name, promised in methods.items():
        assert (getattr(type(vendor), name) is not getattr(Vendor, name)) == promised
    assert not vendor.returns_data or Action.ACCESS in vendor.actions


@every_vendor
@given(reply=replies)
@example(reply=HttpReply(200, b"[" * 100_000))
@example(reply=HttpReply(200, b'{"id": ' + b"9" * 5000 + b"}"))
@example(reply=HttpReply(200, b'{"id": "\\ud800", "token": "\\ud800", "request_id": "\\u0000"}'))
@example(reply=HttpReply(403, b'{"error": {"code": ["api_rate_limit_error"]}}'))
@example(reply=HttpReply(429, b"", {"retry-after": "Mon, 99 Foo 99999 99:99:99 +9999"}))
def test_garbage_after_a_post(vendor: Vendor, reply: HttpReply) -> None:
    """Any reply to a POST gives a job id or an error. The error says whether the vendor may have created
    the job.
    """
    try:
        job_id = vendor.read_created(reply)
    except (ConfigurationError, NotTaken, Refused, OutcomeUnknown) as error:
        assert error.args and "\n" not in str(error)
    else:
        assert 200 <= reply.status < 300
        vendor.status(CONTRACTS[vendor.name].account(), job_id)


@every_vendor
def test_probe(vendor: Vendor) -> None:
    """The probe is a GET. A web server's 404 is not a vendor's answer. A 401 means refused credentials."""
    assert vendor.probe(CONTRACTS[vendor.name].account()).method == "GET"
    with pytest.raises((UnexpectedAnswer, ConfigurationError)):
        vendor.read_probe(CONTRACTS[vendor.name].account(), HttpReply(404, b"<html>Not Found</html>"))
    with pytest.raises(CredentialsRefused):
        vendor.read_probe(CONTRACTS[vendor.name].account(), HttpReply(401, b""))


@every_vendor
@given(action=st.sampled_from(Action), reply=replies)
@example(
    action=Action.ACCESS, reply=HttpReply(200, b'{"success":true,"request":{"status":"completed"},"data":1}')
)
def test_garbage_after_a_get(vendor: Vendor, action: Action, reply: HttpReply) -> None:
    """Any reply to a GET gives a status, results, or one of the project's errors."""
    readers: list[Any] = [
        lambda: vendor.read_status(action, reply),
        lambda: vendor.read_probe(CONTRACTS[vendor.name].account(), reply),
    ]
    if vendor.returns_data:
        readers.append(lambda: vendor.read_results(reply, ["a", "b"]))
    if has_discovery(vendor):
        readers.append(lambda: vendor.read_discovery(CONTRACTS[vendor.name].account(), reply))
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
    """Each unsuccessful HTTP status has one error class. The message does not quote the reply."""
    for status in range(300, 600):
        reply = HttpReply(status, body, {"retry-after": MARK, "location": f"https://{MARK}"})
        with pytest.raises(DsarError) as posted:
            vendor.read_created(reply)
        with pytest.raises(DsarError) as read:
            vendor.read_status(Action.ERASURE, reply)
        for caught in (posted, read):
            assert MARK not in f"{caught.value} {caught.value!r}"
            assert str(caught.value).startswith(f"HTTP {status}")
        assert type(read.value) in _expected_after_a_get(status, body)
        assert type(posted.value) is _expected_after_a_post(vendor, status, body)


def _expected_after_a_get(status: int, body: bytes) -> tuple[type[DsarError], ...]:
    if status in (401, 403):
        return (CredentialsRefused,)
    if status in (404, 410):  # only the vendor's own shape means that it does not know the job
        return (JobUnknown, UnexpectedAnswer) if body.startswith(b"{") else (UnexpectedAnswer,)
    if status == 429:
        return (VendorBusy,)
    return (ReplyLost if status == 408 or status >= 500 else ProtocolError,)


def _expected_after_a_post(vendor: Vendor, status: int, body: bytes) -> type[DsarError]:
    if status == 409:
        return CONTRACTS[vendor.name].conflict
    if status in (401, 403):
        return CredentialsRefused
    if status in (404, 405):
        return ConfigurationError
    if status == 429:
        return VendorBusy
    if status in (400, 422) and body.startswith(b"<"):
        return ReplyLost
    if status in (400, 422):
        return CONTRACTS[vendor.name].refusal
    return Refused if status == 413 else ReplyLost


@every_vendor
@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b"true", b'"completed"', b'{"success": true}'])
def test_success_is_never_guessed(vendor: Vendor, action: Action, body: bytes) -> None:
    """A reply without a status raises an error. It is never an outcome."""
    with pytest.raises(ProtocolError):
        vendor.read_status(action, HttpReply(200, body))
