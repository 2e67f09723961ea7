"""For uncertain submissions, each vendor has a policy to find out whether it accepted a lost call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError
from include.dsar.http.messages import HttpReply
from include.dsar.intake.decisions import Decision, decide
from include.dsar.ledger import attention
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.ledger.uncertain import MAX_UNCERTAIN_ATTEMPTS
from include.dsar.model import Action, IdentityKind, State
from include.dsar.sending import consequences, reconcile
from include.dsar.stages.report import Report
from include.dsar.stages.submit import AFTER_UNCERTAIN
from include.dsar.vendors import VENDORS
from include.dsar.vendors.batch import Batch
from include.dsar.vendors.vendor import ListedJob
from include.sandbox import Sandbox, SandboxSettings, run_in_thread
from tests.integration.requests_given import plan, put_into, request, rows, states, submission
from tests.integration.stage_runs import Stages, plan_each, reasons

MAIL = "a@example.com"
DAILY_LIMIT = "HTTP 403, code api_rate_limit_error"
LOST = [
    ("reset_after", {}, True), ("empty", {}, True), ("truncated", {}, True), ("html", {}, False),
    ("hang", {"seconds": 0.1}, False), ("redirect", {}, False), ("reset_before", {}, False),
    ("status", {"status": 502, "body": ""}, False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "was_taken"), LOST, ids=[kind for kind, *_ in LOST])
async def test_batch_is_asked_for_its_list_after_a_lost_reply(
    db: Database, sandbox: Sandbox, stages: Stages, kind: str, fields: Mapping[str, Any], was_taken: bool
) -> None:
    """The job is found in the list of Batch. If the list does not contain the job, the call is sent again
    after the pause. Finally there is one job.
    """
    plan_each(db, "batch", "slow-1")
    sandbox.inject(kind, vendor="batch", route="create", **fields)
    assert (await stages.submit("batch")).uncertain == 1
    assert reasons(db)[0][:2] == ("submitting", "uncertain")
    if was_taken:
        assert reasons(db)[1:] == [("uncertain", "submitted", reconcile.FOUND)]
    else:
        assert states(db) == {"slow-1": "uncertain"}
        stages.clock.advance(seconds=61)
        await stages.submit("batch")
        assert reasons(db)[1:2] == [("uncertain", "planned", reconcile.NOT_FOUND)]
    assert states(db) == {"slow-1": "submitted"}
    (job,) = sandbox.jobs()
    assert rows(db)[0]["job_id"] == job.job_id


async def test_a_vendor_whose_clock_is_ahead_delays_no_poll(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """If the vendor's request time is in the future, the polls of a found job are counted from the present
    time.
    """
    plan_each(db, "batch", "slow-1")
    sandbox.advance(7200)
    sandbox.inject("reset_after", vendor="batch", route="create")
    await stages.submit("batch")
    assert states(db) == {"slow-1": "submitted"}
    assert rows(db)[0]["submitted_at"] <= stages.clock()


async def test_a_job_is_found_although_the_vendors_clock_is_slow(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The request time of the vendor may be up to two minutes before our call."""
    stages.clock.advance(seconds=100)
    plan(db, request("r-1", submission("slow-1", "batch")), now=stages.clock())
    sandbox.inject("reset_after", vendor="batch", route="create")
    await stages.submit("batch")
    (job,) = sandbox.jobs()
    assert (rows(db)[0]["state"], rows(db)[0]["job_id"]) == ("submitted", job.job_id)


async def test_a_409_of_batch_is_resolved_with_the_running_job(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The list has the running job, so this job also serves the new request. Many 409s do not stop the
    account.
    """
    plan_each(db, "batch", *(f"busy-{n}" for n in range(15)))
    done = await stages.submit("batch", max_concurrency=1)
    assert set(states(db).values()) == {"submitted"}
    assert (done.uncertain, done.left) == (15, 0)
    by_value = {job.values[0]: job.job_id for job in sandbox.jobs()}
    assert {row["request_id"]: row["job_id"] for row in rows(db)} == by_value
    assert len(sandbox.jobs()) == 15
    assert ("uncertain", "submitted", reconcile.FOUND) in reasons(db)


async def test_a_409_of_batch_about_another_action_is_retried_every_hour(
    db: Database, stages: Stages
) -> None:
    """The list has no job for our action. The request is sent again at once, and then every hour."""
    plan_each(db, "batch", "slow-1")
    with run_in_thread(SandboxSettings(batch_one_at_a_time=True, slow_seconds=7200)) as own:
        await stages.others_job("batch", "slow-1", action=Action.ACCESS, base_url=own.url)
        for _ in range(11):
            await stages.submit("batch", base_url=own.url)
            assert states(db)["slow-1"] in ("uncertain", "planned")
            stages.advance(own, minutes=5)
        assert own.calls()["batch"]["create"] == 1 + 2
        stages.advance(own, hours=2)
        await stages.submit("batch", base_url=own.url)
        assert [job.action for job in own.jobs()] == ["access", "erasure"]
    assert states(db) == {"slow-1": "submitted"}
    assert reasons(db) == [
        ("submitting", "uncertain", "HTTP 409"),
        ("uncertain", "planned", reconcile.NOT_FOUND),
        ("submitting", "planned", consequences.OTHER_JOB.format(error="HTTP 409")),
        ("submitting", "submitted", f"{AFTER_UNCERTAIN}: HTTP 409"),
    ]


async def test_an_earlier_job_that_has_ended_does_not_count_as_found(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The earlier job did not erase data that came in after it, so the request is sent again."""
    plan_each(db, "batch", "u1")
    await stages.submit("batch")
    ended = {"state": "completed", "finished_at": datetime.now(UTC) + timedelta(days=9)}
    put_into(db, [row["id"] for row in rows(db)], ended)
    plan(db, request("later", submission("u1", "batch")))
    sandbox.inject("reset_before", vendor="batch", route="create")
    stages.advance(seconds=600)
    await stages.submit("batch")
    stages.clock.advance(seconds=61)
    await stages.submit("batch")
    first, second = (row["job_id"] for row in rows(db))
    assert first != second
    assert len(sandbox.jobs()) == 2


async def test_a_running_job_from_before_the_request_is_not_adopted(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The running job belongs to another request or to another system. When it has ended, the request gets
    its own job.
    """
    await stages.others_job("batch", "slow-1")
    stages.advance(minutes=10)
    plan(db, request("r-1", submission("slow-1", "batch")), now=stages.clock())
    for _ in range(4):
        await stages.submit("batch")
        assert states(db)["r-1"] in ("uncertain", "planned")
        stages.advance(minutes=5)
    sandbox.advance(86_400)
    stages.advance(hours=2)
    await stages.submit("batch")
    first, second = sandbox.jobs()
    assert rows(db)[0]["job_id"] == second.job_id != first.job_id


async def test_a_job_from_the_list_is_shared_only_by_the_vendors_time(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The job began after the first request and before the second request, so its outcome counts only for
    the first request.
    """

    def take_in(name: str) -> None:
        plan(db, request(name, submission("slow-1", "batch")), now=stages.clock())

    take_in("first")
    stages.advance(minutes=3)
    await stages.others_job("batch", "slow-1")
    stages.advance(minutes=7)
    take_in("second")
    stages.advance(minutes=5)
    for _ in range(2):
        assert (await stages.submit("batch")).shared == 0
    assert states(db) == {"first": "submitted", "second": "planned"}
    (job,) = sandbox.jobs()
    assert (rows(db)[0]["job_id"], rows(db)[0]["reason"]) == (job.job_id, reconcile.FOUND)
    age = stages.clock() - rows(db)[0]["submitted_at"]
    assert timedelta(minutes=11) < age < timedelta(minutes=13)


async def test_a_job_from_the_list_is_found_in_another_spelling(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """Upper and lower case of an advertising id do not matter."""
    given = "38400000-8CF0-11BD-B23E-10B96E40000D"
    plan(db, request("r-1", submission(given, "batch", IdentityKind.ADVERTISING_ID)))
    sandbox.inject("reset_after", vendor="batch", route="create")
    listed = {
        "request_id": "j-1", "request_type": "remove", "status": "pending",
        "request_date": stages.clock().replace(tzinfo=None).isoformat(),
        "id": {"type": "advertising_id", "value": given.lower()},
    }  # fmt: skip
    sandbox.inject("body", vendor="batch", route="list", body=json.dumps([listed]))
    await stages.submit("batch")
    assert rows(db)[0]["job_id"] == "j-1"


@pytest.mark.parametrize("account", ["besitos", "attentive"])
async def test_besitos_and_attentive_get_the_call_again_after_a_pause(
    db: Database, sandbox: Sandbox, stages: Stages, account: str
) -> None:
    """A second call does no harm at these vendors. An event records the reason for the second call."""
    plan_each(db, account, MAIL)
    sandbox.inject("reset_after", vendor=account, route="create")
    for seconds in (30, 31):
        await stages.submit(account)
        assert (states(db), len(sandbox.jobs())) == ({MAIL: "uncertain"}, 1)
        stages.clock.advance(seconds=seconds)
    await stages.submit(account)
    assert (states(db), len(sandbox.jobs())) == ({MAIL: "submitted"}, 2)
    sent_again = f"{AFTER_UNCERTAIN}: {reasons(db)[0][2]}"
    assert reasons(db)[1:] == [
        ("uncertain", "planned", reconcile.REPEATED),
        ("submitting", "submitted", sent_again),
    ]
    assert (rows(db)[0]["attempts"], rows(db)[0]["reason"]) == (2, sent_again)


async def test_id5_gets_the_call_again_on_the_next_utc_day(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """On the same day, ID5's limit for the identifier would refuse the call."""
    plan_each(db, "id5", MAIL)
    sandbox.inject("empty", vendor="id5", route="create")
    stages.advance_to_noon()
    for hours in (11, 2):
        await stages.submit("id5")
        assert states(db) == {MAIL: "uncertain"}
        stages.advance(hours=hours)
    await stages.submit("id5")
    assert states(db) == {MAIL: "submitted"}
    assert reasons(db)[1:] == [
        ("uncertain", "planned", reconcile.NEXT_DAY),
        ("submitting", "submitted", f"{AFTER_UNCERTAIN}: {reasons(db)[0][2]}"),
    ]


async def test_a_daily_limit_of_id5_after_a_lost_reply_stays_uncertain(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """ID5 probably accepted the lost call. Only a new job on a later day confirms the deletion."""
    plan_each(db, "id5", MAIL)
    sandbox.inject("empty", vendor="id5", route="create")
    stages.advance_to_noon()
    await stages.submit("id5")
    stages.clock.advance(hours=13)  # our next day starts before the vendor's
    for _ in range(2):
        done = await stages.submit("id5")
        assert states(db) == {MAIL: "uncertain"}
    assert (done.uncertain, sandbox.calls()["id5"]["create"]) == (0, 2)
    stages.advance(days=1)
    sandbox.inject("status", vendor="id5", route="create", status=429)
    await stages.submit("id5")
    assert states(db) == {MAIL: "planned"}
    stages.advance(minutes=5)
    await stages.submit("id5")
    taken_today = consequences.PROBABLY_TAKEN.format(error=DAILY_LIMIT)
    confirmed = f"{AFTER_UNCERTAIN}: {taken_today}"
    (found,) = rows(db)
    assert (found["state"], found["attempts"], found["reason"]) == ("submitted", 4, confirmed)
    assert found["job_id"] == sandbox.jobs()[-1].job_id
    assert reasons(db)[1:] == [
        ("uncertain", "planned", reconcile.NEXT_DAY),
        ("submitting", "uncertain", taken_today),
        ("uncertain", "planned", reconcile.NEXT_DAY),
        ("submitting", "planned", "HTTP 429, code internal_id5_error"),
        ("submitting", "submitted", confirmed),
    ]


async def test_a_recorded_job_id_resolves_an_uncertain_submission(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The recorded job fails, and the call is sent again. ID5 refuses this call because of its daily limit.
    The submission does not become uncertain, because the recorded job has used up the limit.
    """
    plan_each(db, "id5", MAIL)
    sandbox.inject("empty", vendor="id5", route="create")
    stages.advance_to_noon()
    await stages.submit("id5")
    stages.advance(hours=13)
    await stages.submit("id5")
    (found,) = rows(db)
    for leave, to in ((State.SUBMITTED, State.FAILED), (State.FAILED, State.PLANNED)):
        assert move(db, [Move(found["id"], to, "no")], leave=leave, now=stages.clock())
    await stages.submit("id5")
    assert reasons(db)[-1] == ("submitting", "planned", DAILY_LIMIT)


@pytest.mark.parametrize("account", VENDORS)
async def test_hold_leaves_the_submission_to_an_operator(
    db: Database, sandbox: Sandbox, stages: Stages, account: str
) -> None:
    """The vendor gets no further call, however long the decision takes."""
    plan_each(db, account, MAIL)
    sandbox.inject("reset_after", vendor=account, route="create")
    for _ in range(3):
        await stages.submit(account, on_uncertain="hold")
        stages.clock.advance(days=3)
    assert states(db) == {MAIL: "uncertain"}
    assert sandbox.calls()[account] == {"create": 1}


@pytest.mark.parametrize("account", VENDORS)
async def test_after_the_last_uncertain_attempt_an_operator_decides(
    db: Database, sandbox: Sandbox, stages: Stages, account: str
) -> None:
    """The report names the request. The operator's decision starts one more attempt."""
    plan_each(db, account, MAIL)
    sandbox.inject("status", vendor=account, route="create", status=451, times=None)
    stages.advance_to_noon()
    for _ in range(20):
        await stages.submit(account)
        calls = sandbox.calls()[account]["create"]
        stages.advance(hours=13)
        held = attention.attention(db, now=stages.clock(), since=None, held=[]).held
        assert held == ({} if calls < MAX_UNCERTAIN_ATTEMPTS else {account: [MAIL]})
    assert (states(db), calls) == ({MAIL: "uncertain"}, MAX_UNCERTAIN_ATTEMPTS)
    decide(db, [Decision(MAIL, account, None)], by="somebody", now=stages.clock())
    sandbox.clear_faults()
    await stages.submit(account)
    assert states(db) == {MAIL: "submitted"}


async def test_the_pause_doubles_with_each_uncertain_attempt(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """A vendor with an outage gets a call after one, two, four and eight minutes."""
    plan_each(db, "attentive", MAIL)
    sandbox.inject("empty", vendor="attentive", route="create", times=None)
    await stages.submit("attentive")
    for calls, minutes in enumerate((1, 2, 4, 8), start=1):
        stages.clock.advance(minutes=minutes, seconds=-5)
        await stages.submit("attentive")
        assert sandbox.calls()["attentive"]["create"] == calls
        stages.clock.advance(seconds=10)
        await stages.submit("attentive")
        assert sandbox.calls()["attentive"]["create"] == calls + 1


class UnreadableList(Batch):
    """The module of the vendor Batch, changed so that its list cannot be read."""

    def __init__(self, change: Callable[[HttpReply], HttpReply]) -> None:
        self.change = change

    def read_listing(self, reply: HttpReply) -> Sequence[ListedJob]:
        return super().read_listing(self.change(reply))


WRAPPED = "wrapped in an object"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda reply: HttpReply(200, b'{"requests": ' + reply.body + b"}", {}), WRAPPED),
        (lambda reply: HttpReply(200, reply.body, {"link": '</next>; rel="next"'}), "one of several pages"),
        (lambda reply: HttpReply(500, b"", {}), "HTTP 500"),
        (lambda reply: HttpReply(403, b"", {}), "HTTP 403"),
    ],
    ids=["wrapped", "paged", "500", "403"],
)
async def test_an_unreadable_list_is_reported_after_two_runs(
    db: Database,
    sandbox: Sandbox,
    stages: Stages,
    storage: Storage,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[HttpReply], HttpReply],
    what: str,
) -> None:
    """After two runs, the report and the task's log name the connection and the part of the list that
    cannot be read.
    """
    plan_each(db, "batch", "u1")
    sandbox.inject("reset_before", vendor="batch", route="create")
    batch = UnreadableList(change)

    async def one_run() -> list[str]:
        caplog.clear()
        with suppress(ConfigurationError):
            await stages.submit("batch", vendor=batch)
        accounts, connections = ["batch"], {"batch": "batch_default"}
        began = stages.clock() - timedelta(seconds=10)
        report = Report(db, storage, began, accounts, connections=connections, clock=stages.clock)
        return report.run()

    assert await one_run() == []
    stages.advance(hours=23)
    (sentence,) = await one_run()
    assert sentence.startswith("It is not known whether batch accepted 1 request (u1), the oldest since ")
    assert "the vendor's list of jobs could not be read" in sentence
    assert what in sentence
    assert "connection batch_default" in sentence
    assert states(db) == {"u1": "uncertain"}
    if what != "HTTP 403":  # this one makes the task red
        (said,) = {record.getMessage() for record in caplog.records if record.levelname == "ERROR"}
        assert what in said
        assert "Check connection batch_default" in said
    await stages.submit("batch")
    assert states(db) == {"u1": "submitted"}
