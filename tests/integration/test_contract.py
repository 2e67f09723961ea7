"""A vendor's API may change. The check of the contract names the fields that changed, and never data."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from include.dsar.errors import (
    ConfigurationError,
    CredentialsRefused,
    DsarError,
    OperatorActionRequired,
    VendorUnavailable,
)
from include.dsar.ledger import reply_shapes
from include.dsar.ledger.database import Database
from include.dsar.ledger.reply_shapes import Kind, Observation
from include.dsar.model import Action
from include.dsar.stages.contract import Probed, differences, probe_contract
from include.dsar.vendors import VENDORS
from include.sandbox import Sandbox
from tests.integration.requests_given import plan, request, submission
from tests.integration.stage_runs import Stages, plan_each

pytestmark = pytest.mark.asyncio

MARKER = "zqmarker"
CALLS = {"batch": 2, "opendsr": 2}  # the list; the discovery


async def probe(stages: Stages, account: str, **extra: Any) -> Probed:
    return await stages.run(probe_contract, account, **extra)


async def drift(stages: Stages, account: str) -> str:
    """Returns the text of the drift that the check reports. Empty if it reports none."""
    try:
        await probe(stages, account)
    except OperatorActionRequired as error:
        return str(error)
    return ""


def values(account: str, *names: str) -> list[str]:
    """Returns an identifier for each name, as the account's vendor accepts it."""
    return [f"{name}@example.com" if account in ("attentive", "id5") else name for name in names]


def plan_some(db: Database, account: str, *names: str) -> None:
    """Adds an erasure for each name, and an access request for each name if the vendor returns data."""
    vendor = VENDORS[account]
    kind = vendor.identities[0]
    for action in vendor.actions:
        plan(
            db,
            *(
                request(f"{action}-{name}", submission(f"{action}-{value}", account, kind), action=action)
                for name, value in zip(names, values(account, *names), strict=True)
            ),
        )


async def run_all(stages: Stages, account: str) -> None:
    """Runs the stages of an account. A fault may make each of them fail."""
    with suppress(DsarError):
        await stages.submit(account)
    with suppress(DsarError):
        await stages.poll(account, seconds=1)
    if VENDORS[account].returns_data:
        with suppress(DsarError):
            await stages.collect(account)


@pytest.mark.parametrize("account", VENDORS)
async def test_the_usual_replies_do_not_differ(
    db: Database, stages: Stages, sandbox: Sandbox, account: str
) -> None:
    """The declarations include replies about jobs that end, fail or find nothing, and about refused calls
    and outages.
    """
    plan_some(db, account, "one", "two", "unknown-3", "jobfails-4", "refused-5")
    sandbox.inject("status", vendor=account, route="create", status=503)
    sandbox.inject("status", vendor=account, route="status", status=502)
    sandbox.inject("html", vendor=account, route="status")
    await run_all(stages, account)
    sandbox.clear_faults()
    before = sandbox.calls()[account]
    probed = await probe(stages, account)
    assert (probed.calls, probed.differences) == (CALLS.get(account, 1), 0)
    made = {name: n - before.get(name, 0) for name, n in sandbox.calls()[account].items()}
    assert made["create"] == 0
    (check,) = reply_shapes.checks(db, [account])
    assert check.drift == []
    assert check.checked_at > stages.clock() - timedelta(minutes=1)


RENAMED = {
    "besitos": ("status", "found_partner_user_ids", "data.data.summary.found_partner_user_ids"),
    "batch": ("status", "request_type", "request_type"),
    "id5": ("status", "jobStatus", "jobStatus"),
    "attentive": ("status", "processed", "processed"),
    "opendsr": ("status", "request_status", "request_status"),
}
CREATED = {
    "besitos": ("request_id", "request_id"),
    "batch": ("token", "token|id|request_id"),
    "id5": ("id", "id"),
    "attentive": ("id", "id"),
    "opendsr": ("subject_request_id", "subject_request_id"),
}


@pytest.mark.parametrize("account", VENDORS)
async def test_a_field_that_vanished_is_named(
    db: Database, stages: Stages, sandbox: Sandbox, account: str
) -> None:
    """The sentence names the account, the connection, the route, the field and what to do."""
    route, key, field = RENAMED[account]
    plan_some(db, account, "one")
    sandbox.inject("reshaped", vendor=account, route=route, renamed={key: MARKER}, times=None)
    await run_all(stages, account)
    sandbox.clear_faults()
    found = await drift(stages, account)
    assert f"The API of {account} (connection {account}_default) differs" in found
    assert f"Route status: the field {field} is missing" in found
    assert "Compare this with the vendor's documentation. Then upgrade" in found
    assert MARKER not in found


@pytest.mark.parametrize("account", [name for name in VENDORS if name != "opendsr"])
async def test_a_field_that_vanished_after_a_post_is_named(
    db: Database, stages: Stages, sandbox: Sandbox, account: str
) -> None:
    key, field = CREATED[account]
    plan_some(db, account, "one")
    sandbox.inject("reshaped", vendor=account, route="create", renamed={key: MARKER}, times=None)
    await run_all(stages, account)
    assert f"Route create: the field {field} is missing" in await drift(stages, account)


WORDS = {
    "besitos": ("status", "request.status"),
    "batch": ("status", "status"),
    "id5": ("jobStatus", "jobStatus"),
    "attentive": ("type", "type"),
    "opendsr": ("request_status", "request_status"),
}


@pytest.mark.parametrize("account", VENDORS)
async def test_a_new_state_is_named(db: Database, stages: Stages, sandbox: Sandbox, account: str) -> None:
    """A new state is named if replies about three jobs have it. If fewer replies have it, only the field is
    named.
    """
    key, field = WORDS[account]
    plan_some(db, account, "one")
    sandbox.inject("reshaped", vendor=account, route="status", values={key: "paused"}, times=None)
    await run_all(stages, account)
    first = await drift(stages, account)
    assert f"Route status: the field {field} has a new value (one that we do not repeat)" in first
    assert "paused" not in first
    plan_some(db, account, "two", "three", "four")
    await run_all_alone(stages, account)
    second = await drift(stages, account)
    assert f"Route status: the field {field} has a new value (paused)" in second
    assert "one that we do not repeat" not in second


async def run_all_alone(stages: Stages, account: str) -> None:
    """Runs submit and poll with one data subject per call."""
    await stages.submit(account, **({"users_per_call": 1} if VENDORS[account].users_per_call > 1 else {}))
    with suppress(DsarError):
        await stages.poll(account, seconds=1)


@pytest.mark.parametrize(
    ("account", "body"), [("batch", {"code": 77}), ("id5", {"error": {"code": 77}})], ids=["batch", "id5"]
)
async def test_a_new_error_code_is_named(
    db: Database, stages: Stages, sandbox: Sandbox, account: str, body: dict[str, Any]
) -> None:
    """Only the codes of vendors that document codes are compared."""
    plan_some(db, account, "one", "two", "three")
    sandbox.inject("status", vendor=account, route="create", status=400, body=json.dumps(body), times=None)
    await run_all(stages, account)
    assert "Route create: HTTP 400 has a new error code (77)" in await drift(stages, account)


@pytest.mark.parametrize("account", VENDORS)
@pytest.mark.parametrize("status", [405, 410, 301])
async def test_a_new_answer_about_a_job_that_does_not_exist(
    stages: Stages, sandbox: Sandbox, account: str, status: int
) -> None:
    """A route that moved answers with another HTTP status. 410 is a usual status for an unknown job."""
    sandbox.inject("status", vendor=account, route="status", status=status, times=None)
    found = await drift(stages, account)
    assert ("Route status: HTTP" in found) == (status != 410)
    assert status == 410 or f"HTTP {status} is new" in found


@pytest.mark.parametrize("account", VENDORS)
async def test_a_job_that_does_not_exist_is_suddenly_known(
    stages: Stages, sandbox: Sandbox, account: str
) -> None:
    sandbox.inject("body", vendor=account, route="status", body='{"zqmarker": 1}', times=None)
    found = await drift(stages, account)
    assert "For a job that does not exist, the API " in found
    assert MARKER not in found


@pytest.mark.parametrize("account", VENDORS)
async def test_an_error_in_another_shape(stages: Stages, sandbox: Sandbox, account: str) -> None:
    """A 404 about a job counts only in the vendor's own shape, so another shape is reported."""
    sandbox.inject("html", vendor=account, route="status", status=404, times=None)
    assert "For a job that does not exist, the API answers HTTP 404, not in" in await drift(stages, account)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"renamed": {"request_date": MARKER}}, "Route list: the field [].request_date is missing"),
        ({"renamed": {"value": MARKER}}, "Route list: the field [].id.value is missing"),
        ({"values": {"status": "paused"}}, "Route list: the field [].status has a new value (paused)"),
    ],
    ids=str,
)
async def test_a_changed_list(
    db: Database, stages: Stages, sandbox: Sandbox, fault: dict[str, Any], sentence: str
) -> None:
    plan_some(db, "batch", "one", "two", "three")
    await run_all(stages, "batch")
    sandbox.inject("reshaped", vendor="batch", route="list", **fault)
    found = await drift(stages, "batch")
    assert sentence in found
    assert MARKER not in found


async def test_a_list_inside_an_object(stages: Stages, sandbox: Sandbox) -> None:
    sandbox.inject("body", vendor="batch", route="list", body='{"zqmarker": []}')
    found = await drift(stages, "batch")
    assert "The list of jobs cannot be read: the list of requests is wrapped in an object" in found
    assert MARKER not in found


async def test_a_processor_that_stops_supporting_an_identity(stages: Stages, sandbox: Sandbox) -> None:
    """OpenDSR's discovery no longer lists what the connection needs. A processor may have no discovery."""
    sandbox.inject("status", vendor="opendsr", route="me", status=404)
    assert await drift(stages, "opendsr") == ""
    sandbox.inject("reshaped", vendor="opendsr", route="me", values={"identity_type": "email"})
    expected = "The API does not list what the connection needs: controller_customer_id raw"
    assert expected in await drift(stages, "opendsr")


@pytest.mark.parametrize("account", VENDORS)
async def test_no_data_reaches_the_ledger_the_log_or_the_error(
    db: Database, stages: Stages, sandbox: Sandbox, account: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every key and text of each reply is a marker, because a key or a state may be the id of a user."""
    caplog.set_level(logging.DEBUG)
    plan_some(db, account, "one", "two", "three")
    keys = ("id", "request", "status", "request_status", "jobStatus", "processed", "data", "type", "code")
    states = ("status", "jobStatus", "request_status", "type", "code", "processed")
    words, renamed = dict.fromkeys(states, f"{MARKER}-1"), dict.fromkeys(keys, MARKER)
    for route in ("status", "create", "list"):
        sandbox.inject("reshaped", vendor=account, route=route, values=words, times=3)
        sandbox.inject("reshaped", vendor=account, route=route, renamed=renamed, times=None)
    await run_all(stages, account)
    found = await drift(stages, account)
    assert "Route status: " in found
    stored = db.execute("SELECT s::text, (SELECT string_agg(c::text, ' ') FROM dsar.contract_check c) AS c"
                        " FROM dsar.reply_shape s").fetchall()  # fmt: skip
    assert stored
    for text in (found, repr(stored), caplog.text):
        assert MARKER not in text


async def test_credentials_that_are_refused(stages: Stages, db: Database) -> None:
    """The error names the connection, as in other stages. The last check stays unchanged."""
    await probe(stages, "besitos")
    before = reply_shapes.checks(db, ["besitos"])
    stages.advance(hours=1)
    with pytest.raises(CredentialsRefused, match="Password of connection besitos_default"):
        await probe(stages, "besitos", secret="wrong")
    with pytest.raises(ConfigurationError, match="connection batch_default"):
        await probe(stages, "batch", api_key="wrong")
    assert reply_shapes.checks(db, ["besitos", "batch"]) == before


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        ("list", {"kind": "status", "status": 503}), ("list", {"kind": "reset_before"}),
        ("list", {"kind": "empty"}), ("status", {"kind": "status", "status": 503}),
        ("status", {"kind": "reset_before"}),
    ],
)  # fmt: skip
async def test_a_vendor_that_does_not_answer(
    stages: Stages, sandbox: Sandbox, route: str, fault: dict[str, Any]
) -> None:
    """An outage does not count as a change of the API. A retry asks again."""
    sandbox.inject(vendor="batch", route=route, times=None, **fault)
    with pytest.raises(VendorUnavailable, match="batch: the API could not be compared"):
        await probe(stages, "batch")


async def test_observations_are_written_once_a_day(db: Database, stages: Stages) -> None:
    """A row is updated only if it is a day old. The check ignores a difference after eight days. The ledger
    deletes it after 90 days.
    """
    seen = [Observation("status", Kind.FIELD, "id"), Observation("status", Kind.REPLY)]
    first = stages.clock()

    def times() -> set[tuple[Any, Any]]:
        rows = db.execute("SELECT first_seen, last_seen FROM dsar.reply_shape").fetchall()
        return {(row["first_seen"], row["last_seen"]) for row in rows}

    for hours in (0, 23):
        reply_shapes.remember(db, "id5", seen, now=first + timedelta(hours=hours))
    assert times() == {(first, first)}
    reply_shapes.remember(db, "id5", seen, now=first + timedelta(hours=25))
    assert times() == {(first, first + timedelta(hours=25))}
    at = first + timedelta(days=9)
    assert len(reply_shapes.recent(db, "id5", now=at)) == 2
    assert reply_shapes.recent(db, "id5", now=at + timedelta(days=1)) == []
    assert reply_shapes.recent(db, "batch", now=first) == []
    reply_shapes.recent(db, "id5", now=first + timedelta(days=92))
    assert times() == set()


async def test_a_difference_that_a_new_version_declares_is_no_longer_reported() -> None:
    known = [
        Observation("status", Kind.WORD, "jobStatus", "SENT"),
        Observation("status", Kind.FIELD, "a field of an older version"),
        Observation("create", Kind.CODE, "HTTP 400", "user_object_invalid"),
        Observation("status", Kind.REPLY),
    ]
    assert differences(VENDORS["id5"], known) == []


async def test_the_replies_of_collect_and_of_reconciling_are_compared(
    db: Database, stages: Stages, sandbox: Sandbox
) -> None:
    def missing() -> set[tuple[str, str]]:
        rows = db.execute("SELECT route, name FROM dsar.reply_shape WHERE kind = 'field'").fetchall()
        return {(row["route"], row["name"]) for row in rows}

    plan_each(db, "batch", "u1", action=Action.ACCESS)
    await stages.submit("batch")
    await stages.poll("batch")
    assert missing() == set()
    sandbox.inject("reshaped", vendor="batch", route="status", renamed={"type": MARKER})
    with pytest.raises(VendorUnavailable):
        await stages.collect("batch")
    assert missing() == {("status", "id.type")}
    plan_each(db, "batch", "u2")
    sandbox.inject("reset_after", vendor="batch", route="create")
    sandbox.inject("reshaped", vendor="batch", route="list", renamed={"request_date": MARKER}, times=None)
    await stages.submit("batch")
    assert missing() == {("status", "id.type"), ("list", "[].request_date")}
    plan_each(db, "opendsr", "a@example.com")
    sandbox.inject("reset_after", vendor="opendsr", route="create")
    await stages.submit("opendsr")  # asks for the job of the lost call
    assert "status" in {one.route for one in reply_shapes.recent(db, "opendsr", now=stages.clock())}


async def test_the_differences_of_a_stage_that_fails_are_remembered(
    db: Database, stages: Stages, sandbox: Sandbox
) -> None:
    plan_each(db, "id5", "a@example.com", action=Action.ERASURE)
    await stages.submit("id5")
    sandbox.inject("status", vendor="id5", route="status", status=401, times=None)
    with pytest.raises(CredentialsRefused):
        await stages.poll("id5")
    routes = db.execute("SELECT route FROM dsar.reply_shape ORDER BY route").fetchall()
    assert [row["route"] for row in routes] == ["create", "status"]
