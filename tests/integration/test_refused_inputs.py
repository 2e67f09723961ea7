"""A vendor refuses calls because of their content. Only requests that cause a refusal are rejected."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from include.dsar.errors import ConfigurationError, VendorUnavailable
from include.dsar.ledger import planning
from include.dsar.ledger.database import Database
from include.dsar.sending.refused_inputs import MAX_IDENTICAL_REFUSALS, MAX_REFUSALS_AFTER_ACCEPTED
from include.dsar.vendors import VENDORS
from include.sandbox import Sandbox
from tests.integration.requests_given import NOW, plan, put_into, request, rows, states, submission
from tests.integration.stage_runs import Stages, plan_each


def refusal(status: int, body: object) -> dict[str, Any]:
    return {"kind": "status", "status": status, "body": json.dumps(body)}


ID5_CODES = ("request_format_invalid", "user_objects_invalid")
WAVES = [
    *(("batch", refusal(400, {"code": code, "message": "m"})) for code in (30, 31, 32)),
    *(("id5", refusal(400, {"error": {"code": code}})) for code in ID5_CODES),
    ("besitos", refusal(200, {"success": False, "message": "m"})),
    ("attentive", refusal(400, {"message": "Invalid request body"})),
]


@pytest.mark.parametrize(("account", "wave"), WAVES, ids=[f"{a}-{w['body']}" for a, w in WAVES])
async def test_the_same_refusal_of_every_call_rejects_no_submission(
    db: Database, sandbox: Sandbox, stages: Stages, account: str, wave: dict[str, Any]
) -> None:
    """The account is stopped after a few calls. The error names the connection and the vendor's answer."""
    plan_each(db, account, *(f"u{n}@example.com" for n in range(60)))
    sandbox.inject(vendor=account, route="create", times=None, **wave)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=f"connection {account}_default") as caught:
            await stages.submit(account, users_per_call=1, max_concurrency=1)
        assert f"HTTP {wave['status']}" in str(caught.value)
        assert set(states(db).values()) == {"planned"}
    assert sandbox.calls()[account]["create"] <= 3 * MAX_IDENTICAL_REFUSALS  # suspects once more
    sandbox.clear_faults()
    await stages.submit(account)
    assert set(states(db).values()) == {"submitted"}


async def test_a_refusal_of_every_batch_rejects_no_submission(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """First the batches are split. Then the refusals of the smaller batches stop the account."""
    plan_each(db, "besitos", *(f"u{n}" for n in range(60)))
    sandbox.inject(vendor="besitos", route="create", times=None, **refusal(200, {"success": False}))
    await stages.submit("besitos", users_per_call=20)
    with pytest.raises(ConfigurationError, match="connection besitos_default"):
        await stages.submit("besitos", users_per_call=20)
    assert {row["batch_limit"] for row in rows(db)} <= {1, 2}
    assert set(states(db).values()) == {"planned"}


@pytest.mark.parametrize("account", VENDORS)
@pytest.mark.parametrize("works", [True, False])
async def test_a_single_refusal_rejects_only_if_the_account_works(
    db: Database, sandbox: Sandbox, stages: Stages, account: str, works: bool
) -> None:
    """If no other call was accepted, the probe shows whether the account works."""
    plan_each(db, account, "refused-1@example.com")
    body = {"code": 31} if account == "batch" else {"error": {"code": "user_objects_invalid"}}
    sandbox.inject(vendor=account, route="create", times=None, **refusal(400, body))
    if works:
        assert (await stages.submit(account)).rejected == 1
        return
    for route in ("status", "list", "me"):
        sandbox.inject("status", vendor=account, route=route, status=500, times=None)
    with pytest.raises(VendorUnavailable, match=f"connection {account}_default"):
        await stages.submit(account)
    assert set(states(db).values()) == {"planned"}
    assert [row["attempts"] for row in rows(db)] == [0]


async def test_a_stage_that_is_stopped_before_it_knows_the_cause_rejects_no_submission(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The task is cancelled at its time limit, before the vendor has answered the probe. The submissions
    stay planned.
    """
    plan_each(db, "batch", "refused-1")
    sandbox.inject("hang", vendor="batch", route="list", times=None)
    stage = asyncio.create_task(stages.submit("batch"))
    while "list" not in sandbox.calls().get("batch", ()):  # noqa: ASYNC110 - it happens in another thread
        await asyncio.sleep(0.01)
    stage.cancel()
    with suppress(asyncio.CancelledError):
        await stage
    assert set(states(db).values()) == {"planned"}
    assert [row["attempts"] for row in rows(db)] == [0]


async def test_bad_requests_at_the_front_do_not_block_the_others_for_ever(
    db: Database, stages: Stages
) -> None:
    """The first attempt stops the account. In the second attempt the bad requests are suspects, and the
    other requests are sent.
    """
    bad = [f"refused-{n}" for n in range(MAX_IDENTICAL_REFUSALS)]
    plan_each(db, "batch", *bad, *(f"u{n}" for n in range(5)))
    with pytest.raises(ConfigurationError):
        await stages.submit("batch", max_concurrency=1)
    done = await stages.submit("batch", max_concurrency=1)
    assert (done.rejected, done.submitted) == (len(bad), 5)


async def test_a_call_that_is_accepted_after_the_refusals_does_not_stop_the_account(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The first call is still under way when the limit of refusals is reached. Then the vendor accepts this
    call, so the other requests are sent in the same run.
    """
    bad = [f"refused-{n}" for n in range(MAX_IDENTICAL_REFUSALS)]
    plan_each(db, "batch", "u0", *bad, *(f"u{n}" for n in range(1, 6)))
    sandbox.inject("slow_drip", vendor="batch", route="create", seconds=2)
    done = await stages.submit("batch", max_concurrency=2)
    assert (done.rejected, done.submitted, done.left) == (len(bad), 6, 0)


async def test_an_account_that_breaks_while_a_call_is_under_way_rejects_no_submission(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """After many refusals in a row, one accepted call does not prove that the account works."""
    plan_each(db, "batch", "u0", "u1", *(f"refused-{n}" for n in range(40)))
    sandbox.inject("slow_drip", vendor="batch", route="create", seconds=4)
    with pytest.raises(ConfigurationError, match="calls in a row"):
        await stages.submit("batch", max_concurrency=2)
    assert set(states(db).values()) == {"planned", "submitted"}


async def test_an_account_that_breaks_in_the_middle_of_a_run_rejects_no_submission(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """Many refusals in a row mean that the account is the cause, even after earlier calls were accepted."""
    plan_each(db, "batch", *(f"u{n}" for n in range(3)), *(f"refused-{n}" for n in range(40)))
    with pytest.raises(ConfigurationError, match=f"refused {MAX_REFUSALS_AFTER_ACCEPTED} calls in a row"):
        await stages.submit("batch", max_concurrency=1)
    assert set(states(db).values()) == {"planned", "submitted"}


@pytest.mark.parametrize("is_closed", [False, True])
async def test_retry_failed_reopens_what_was_rejected(db: Database, is_closed: bool) -> None:
    """A rejected submission is reopened whether its request is open or closed."""
    asked = request("r-1", submission("u1", "batch"))
    plan(db, asked)
    put_into(db, [1], {"state": "rejected", "finished_at": NOW, "identifiers": None if is_closed else "{}"})
    if is_closed:
        db.execute("UPDATE dsar.request SET status = 'failed', closed_at = now()")
        assert plan(db, asked, retry_failed=True).reopened == 1
        assert rows(db)[0]["identifiers"] == {"user_id": "u1"}
    else:
        assert planning.retry_open(db, now=NOW, request_ids=None) == 1
    assert states(db) == {"r-1": "planned"}
