"""The submit stage sends submissions in the right order and speed. A failed call does not stop other
calls.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.dsar.errors import ConfigurationError, CredentialsRefused, VendorUnavailable
from include.dsar.ledger.database import Database
from include.dsar.model import Action, IdentityKind
from include.dsar.sending import consequences
from include.dsar.stages.submit import submit
from include.dsar.vendors import VENDORS
from include.dsar.vendors.besitos import Besitos
from include.sandbox import Sandbox, SandboxSettings, run_in_thread
from tests.integration.conftest import OpenWork
from tests.integration.requests_given import events, plan, put_into, request, rows, states, submission
from tests.integration.stage_runs import Stages, plan_each, reasons, sent

MAILS = [f"{letter}@example.com" for letter in "abcdefg"]


async def test_the_soonest_due_date_is_sent_first(db: Database, sandbox: Sandbox, stages: Stages) -> None:
    """The order in which requests were planned does not matter."""
    now = datetime.now(UTC)
    plan(db, *(request(v, submission(v, "batch"), due_at=now + timedelta(days=9 + ord(v))) for v in "caebd"))
    done = await stages.submit("batch", max_concurrency=1)
    assert sent(sandbox) == ["a", "b", "c", "d", "e"]
    assert (done.submitted, done.calls, done.left) == (5, 5, 0)


async def test_besitos_gets_full_batches_of_one_action_each(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """Only the last batch of each action is smaller."""
    plan_each(db, "besitos", *(f"a{n}" for n in range(11)), action=Action.ACCESS)
    plan_each(db, "besitos", *(f"e{n}" for n in range(12)))
    done = await stages.submit("besitos", users_per_call=5)
    sizes = sorted((job.action, len(job.subjects)) for job in sandbox.jobs())
    assert sizes == [("access", 1), ("access", 5), ("access", 5), *[("erasure", n) for n in (2, 5, 5)]]
    for job in sandbox.jobs():
        assert {value[0] for value in job.values} == {job.action[0]}
    assert (done.calls, done.submitted) == (6, 23)
    assert {row["job_id"] for row in rows(db)} == {job.job_id for job in sandbox.jobs()}


async def test_attentive_gets_email_and_phone_in_one_call(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The call also has the request id, for the audit trail."""
    both = {IdentityKind.EMAIL: "a@example.com", IdentityKind.PHONE: "+12025550123"}
    plan(db, request("r-1", replace(submission("x", "attentive"), identity="email+phone", identifiers=both)))
    await stages.submit("attentive")
    (job,) = sandbox.jobs()
    assert {s.kind: s.value for s in job.subjects} == {
        "subjectEmail": "a@example.com",
        "subjectPhone": "+12025550123",
    }
    assert job.details == {"requestMsg": "r-1"}


async def test_a_run_limited_to_some_requests_sends_no_others(
    db: Database, sandbox: Sandbox, open_work: OpenWork
) -> None:
    """Planned and uncertain submissions of other requests stay unchanged."""
    plan_each(db, "besitos", "u1", "u2", "u3")
    one, _, three = rows(db)
    put_into(db, [three["id"]], {"state": "uncertain", "attempted_at": datetime.now(UTC) - timedelta(days=9)})
    async with open_work("besitos") as work:
        await submit(replace(work, request_pks=[one["request"]]))
    assert states(db) == {"u1": "submitted", "u2": "planned", "u3": "uncertain"}


async def test_one_refused_id_does_not_stop_its_batch(db: Database, sandbox: Sandbox, stages: Stages) -> None:
    """The batch is split until each bad id is alone. Its rejection has the HTTP status as reason."""
    plan_each(db, "besitos", *(f"u{n}" for n in range(40)), "refused-1", "refused-2")
    assert (await stages.submit("besitos", users_per_call=50)).rejected == 0
    for _ in range(3):
        await stages.submit("besitos", users_per_call=50)
    found = states(db)
    assert {found[f"u{n}"] for n in range(40)} == {"submitted"}
    assert (found["refused-1"], found["refused-2"]) == ("rejected", "rejected")
    assert sorted(sent(sandbox)) == sorted(f"u{n}" for n in range(40))
    assert {row["reason"] for row in rows(db) if row["state"] == "rejected"} == {"HTTP 422"}


async def test_a_run_waits_for_its_smaller_batches(
    db: Database, sandbox: Sandbox, open_work: OpenWork
) -> None:
    """One bad id does not delay the other submissions until the next day."""
    plan_each(db, "besitos", "u1", "u2", "refused-1")
    async with open_work("besitos") as work:
        done = await submit(work)
    assert (done.submitted, done.rejected, done.left) == (2, 1, 0)


async def test_submissions_over_the_daily_quota_stay_planned(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """Submissions over the quota stay planned. On the next UTC day they are sent in the order of their due
    dates.
    """
    plan_each(db, "id5", *MAILS)
    stages.advance_to_noon()
    done = await stages.submit("id5", daily_quota=3)
    assert (done.submitted, done.left, done.quota_used) == (3, 4, True)
    again = await stages.submit("id5", daily_quota=3)
    assert (again.submitted, again.left) == (0, 4)
    assert sandbox.calls()["id5"]["create"] == 3
    assert [name for name, state in states(db).items() if state == "submitted"] == MAILS[:3]
    stages.advance(hours=13)
    done = await stages.submit("id5", daily_quota=3)
    assert (done.submitted, done.left) == (3, 1)


async def test_a_quota_reported_by_id5_stops_the_run(db: Database, stages: Stages) -> None:
    """Another system may use the same account. The remaining submissions wait for the next day."""
    plan_each(db, "id5", *MAILS)
    with run_in_thread(SandboxSettings(id5_daily_limit=2)) as own:
        stages.advance_to_noon(own)
        done = await stages.submit("id5", base_url=own.url, max_concurrency=1)
        assert (done.submitted, done.left, done.quota_used) == (2, 5, True)
        assert own.calls()["id5"]["create"] == 3
        stages.advance(own, hours=13)
        assert (await stages.submit("id5", base_url=own.url, max_concurrency=1)).submitted == 2


async def test_an_identifier_over_its_daily_limit_waits_for_the_next_day(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """ID5 accepts one call a day for each e-mail address. Here ID5 treats two different addresses as the
    same address.
    """
    mails = ["a.b@gmail.com", "ab+c@gmail.com", "other@example.com"]
    plan_each(db, "id5", *mails)
    stages.advance_to_noon()
    await stages.submit("id5", max_concurrency=1)
    assert [states(db)[mail] for mail in mails] == ["submitted", "planned", "submitted"]
    assert reasons(db) == [("submitting", "planned", "HTTP 403, code api_rate_limit_error")]
    stages.advance(hours=13)
    await stages.submit("id5", max_concurrency=1)
    assert set(states(db).values()) == {"submitted"}


@pytest.mark.parametrize(
    ("account", "extra"),
    [
        *((name, {"secret": "no"}) for name in VENDORS),
        ("besitos", {"partner_id": "wrong"}),
        ("id5", {"partner_id": "wrong"}),
    ],
)
async def test_refused_credentials_name_the_connection_and_count_as_no_attempt(
    db: Database, stages: Stages, account: str, extra: dict[str, str]
) -> None:
    """All submissions stay planned, and are sent after the connection was fixed."""
    plan_each(db, account, *(f"{n}@example.com" for n in range(40)))
    with pytest.raises(
        ConfigurationError, match=f"connection {account}_default, then clear this task"
    ) as raised:
        await stages.submit(account, **extra)
    assert isinstance(raised.value, CredentialsRefused) or extra == {"partner_id": "wrong"}
    assert "sandbox-secret" not in str(raised.value)
    assert {(row["state"], row["attempts"], row["worker"]) for row in rows(db)} == {("planned", 0, None)}
    assert events(db) == []
    assert (await stages.submit(account)).submitted == 40


async def test_retry_after_delays_the_next_call_and_halves_the_rate(
    db: Database, sandbox: Sandbox, open_work: OpenWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short pause ends within the run. The refused call is recorded as an event."""
    monkeypatch.setattr(consequences, "MIN_RETRY_DELAY", timedelta(0))
    plan_each(db, "batch", *(f"u{n}" for n in range(6)))
    sandbox.inject("status", vendor="batch", route="create", status=429, headers={"Retry-After": "2"})
    async with open_work("batch", requests_per_second=100, max_concurrency=1) as work:
        started = time.monotonic()
        done = await submit(work)
        assert time.monotonic() - started >= 2
        assert work.client._pacer._rate <= 50
    assert (done.submitted, done.postponed, done.left) == (6, 1, 0)
    assert reasons(db) == [("submitting", "planned", "HTTP 429")]


async def test_an_unreachable_vendor_is_not_called_again_and_nothing_is_lost(
    db: Database, stages: Stages, sandbox: Sandbox
) -> None:
    """After some attempts the stage stops. A later run sends everything."""
    plan_each(db, "besitos", *(f"u{n}" for n in range(60)))
    with pytest.raises(VendorUnavailable, match="besitos: no usable answer to many calls in a row"):
        await stages.submit("besitos", base_url="http://127.0.0.1:1", users_per_call=1)
    assert set(states(db).values()) == {"planned"}
    assert {enters for _, enters, _ in reasons(db)} == {"planned"}
    assert sum(row["attempts"] for row in rows(db)) < 40
    stages.clock.advance(seconds=10)
    assert (await stages.submit("besitos")).submitted == 60


class FaultyBesitos(Besitos):
    """Besitos' module with a fault in it."""

    name = "faulty"

    def create(self, settings: Any, action: Any, subjects: Any) -> Any:
        if any("poison" in value for s in subjects for value in s.identifiers.values()):
            raise KeyError("a value that must not be shown")
        return super().create(settings, action, subjects)

    def read_created(self, reply: Any) -> str:
        if reply.status == 418:
            raise KeyError("a value that must not be shown")
        return super().read_created(reply)


async def test_a_request_that_no_call_can_be_made_of_is_rejected_alone(db: Database, stages: Stages) -> None:
    """The batch of the bad request is split until the request is alone. The reason of the rejection
    contains only the type of our own error.
    """
    plan_each(db, "besitos", *(f"u{n}" for n in range(25)), "poison")
    for _ in range(3):
        await stages.submit("besitos", users_per_call=30, vendor=FaultyBesitos())
    found = states(db)
    assert (found.pop("poison"), set(found.values())) == ("rejected", {"submitted"})
    (row,) = (row for row in rows(db) if row["state"] == "rejected")
    assert row["reason"] == "we cannot build a call for this submission (KeyError)"
    assert "shown" not in repr(events(db))


async def test_a_reply_that_our_reader_fails_on_is_uncertain(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """If our code cannot read a reply, the submission is uncertain, because the vendor may have accepted
    the call. Other replies are read as usual.
    """
    plan_each(db, "besitos", "u1", "u2", "u3")
    sandbox.inject("status", vendor="besitos", route="create", status=418)
    done = await stages.submit("besitos", users_per_call=1, max_concurrency=1, vendor=FaultyBesitos())
    assert (done.submitted, done.uncertain) == (2, 1)
    assert reasons(db) == [("submitting", "uncertain", "the vendor's reply could not be read (KeyError)")]


async def test_two_runs_at_once_send_each_submission_once(
    db: Database, sandbox: Sandbox, open_work: OpenWork
) -> None:
    """Both runs share the work. Neither run treats the other run's submissions as abandoned."""
    plan_each(db, "batch", *(f"u{n:03}" for n in range(150)))
    slow = {"requests_per_second": 40, "max_concurrency": 4}
    async with open_work("batch", **slow) as one, open_work("batch", **slow) as two:
        done = await asyncio.gather(submit(one), submit(two))
    assert sum(result.submitted for result in done) == 150
    assert all(result.submitted for result in done)
    assert len(sent(sandbox)) == len(set(sent(sandbox))) == 150
    assert {row["attempts"] for row in rows(db)} == {1}
    assert events(db) == []
