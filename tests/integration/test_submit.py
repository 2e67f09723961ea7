"""Submit: what is sent, in which order, and what becomes of it where a call goes wrong."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Protocol

import pytest

from include.dsar.errors import ConfigurationError, CredentialsRefused, VendorUnavailable
from include.dsar.intake.decisions import Decision, decide
from include.dsar.ledger import database, reporting, uncertain
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import Action, IdentityKind, Regulation, State, Subject
from include.dsar.sending import consequences, reconcile
from include.dsar.stages import submit as submit_module
from include.dsar.stages.submit import Submitted, submit
from include.dsar.vendors.besitos import Besitos
from include.sandbox import Entry, Sandbox, SandboxSettings, run_in_thread
from tests.integration.conftest import OpenWork
from tests.integration.requests_given import (
    Clock,
    events,
    plan,
    put_into,
    request,
    rows,
    states,
    submission,
)

pytestmark = pytest.mark.asyncio

PROJECT = Path(__file__).parents[2]
SOON = datetime.now(UTC) + timedelta(days=9)


class Run(Protocol):
    async def __call__(self, account: str, clock: Clock | None = None, **extra: Any) -> Submitted: ...


@pytest.fixture
def run(open_work: OpenWork, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A submit stage that does not wait for what is postponed: the next run takes that up."""
    monkeypatch.setattr(submit_module, "MAX_WAIT", timedelta(0))

    async def run_one(account: str, clock: Clock | None = None, **extra: Any) -> Submitted:
        async with open_work(account, **extra) as work:
            return await submit(replace(work, clock=clock or Clock()))

    return run_one


def taken(sandbox: Sandbox, account: str = "besitos") -> list[Entry]:
    return [entry for entry in sandbox.book() if entry.vendor == account]


def reasons(db: Database) -> list[tuple[str, str, str]]:
    return [(event["leaves"], event["enters"], event["reason"]) for event in events(db)]


def one_each(db: Database, account: str, *values: str, kind: IdentityKind = IdentityKind.USER_ID) -> None:
    """A request for each value, named after it, due in this order."""
    plan(
        db,
        *(
            request(value, submission(value, account, kind), due_at=SOON + timedelta(hours=n))
            for n, value in enumerate(values)
        ),
    )


async def test_what_is_due_soonest_is_sent_first(db: Database, sandbox: Sandbox, run: Run) -> None:
    """Whatever the order in which requests were planned."""
    order = ["c", "a", "e", "b", "d"]
    plan(
        db, *(request(f"r-{v}", submission(v, "batch"), due_at=SOON + timedelta(days=ord(v))) for v in order)
    )
    done = await run("batch", max_concurrency=1)
    assert [entry.values for entry in taken(sandbox, "batch")] == [["a"], ["b"], ["c"], ["d"], ["e"]]
    assert (done.submitted, done.calls, done.left) == (5, 5, 0)


async def test_besitos_gets_full_batches_of_one_action_each(db: Database, sandbox: Sandbox, run: Run) -> None:
    """Few calls; the last of each action holds the rest."""
    plan(
        db,
        *(
            request(f"r-{n}", submission(f"u{n}"), action=Action.ACCESS if n % 2 else Action.ERASURE)
            for n in range(23)
        ),
    )
    done = await run("besitos", users_per_call=5)
    sizes = sorted((entry.action, len(entry.subjects)) for entry in taken(sandbox))
    assert sizes == [("access", 1), ("access", 5), ("access", 5), *[("erasure", n) for n in (2, 5, 5)]]
    for entry in taken(sandbox):
        assert {int(value[1:]) % 2 for value in entry.values} == {int(entry.action == "access")}
    assert (done.calls, done.submitted) == (6, 23)
    assert {row["job_id"] for row in rows(db)} == {entry.job_id for entry in taken(sandbox)}


async def test_one_refused_id_never_costs_the_others_of_its_batch(
    db: Database, sandbox: Sandbox, run: Run
) -> None:
    """The batch is split until the bad ids stand alone; each is on record with the vendor's code."""
    one_each(db, "besitos", *(f"u{n}" for n in range(40)), "refused-1", "refused-2")
    done = await run("besitos", users_per_call=50)
    assert done.rejected == 0
    for _ in range(3):
        done = await run("besitos", users_per_call=50)
    found = states(db)
    assert {found[f"u{n}"] for n in range(40)} == {"submitted"}
    assert (found["refused-1"], found["refused-2"]) == ("rejected", "rejected")
    assert sorted(v for entry in taken(sandbox) for v in entry.values) == sorted(f"u{n}" for n in range(40))
    assert {row["reason"] for row in rows(db) if row["state"] == "rejected"} == {"HTTP 422"}


async def test_batches_are_split_within_one_run_where_it_may_wait(
    db: Database, sandbox: Sandbox, open_work: OpenWork
) -> None:
    """No person waits for tomorrow because of another's bad id."""
    one_each(db, "besitos", "u1", "u2", "refused-1")
    async with open_work("besitos") as work:
        done = await submit(work)
    assert (done.submitted, done.rejected, done.left) == (2, 1, 0)


async def test_a_person_batch_works_on_already_is_found_in_the_list(
    db: Database, sandbox: Sandbox, run: Run
) -> None:
    """409 is settled at once: the job that runs is this request's too. Many of them are no failure."""
    one_each(db, "batch", *(f"busy-{n}" for n in range(15)))
    done = await run("batch", max_concurrency=1)
    assert set(states(db).values()) == {"submitted"}
    assert (done.uncertain, done.left) == (15, 0)
    by_value = {entry.values[0]: entry.job_id for entry in taken(sandbox, "batch")}
    assert {row["request_id"]: row["job_id"] for row in rows(db)} == by_value
    assert len(taken(sandbox, "batch")) == 15
    assert ("uncertain", "submitted", reconcile.FOUND) in reasons(db)


async def test_a_person_on_whom_batch_does_other_work_is_sent_once_that_has_ended(
    db: Database, run: Run, open_work: OpenWork
) -> None:
    """409 may speak of a job of the other action, which the list shows and which is none of ours: the
    request is tried once more, then from hour to hour, each time on record."""
    one_each(db, "batch", "slow-1")
    other = Subject(0, {IdentityKind.USER_ID: "slow-1"}, Regulation.GDPR, "somebody else's")
    with run_in_thread(SandboxSettings(batch_one_at_a_time=True, slow_seconds=7200)) as own:
        async with open_work("batch", base_url=own.url) as work:
            await work.client.send(work.vendor.create(work.settings, Action.ACCESS, [other]))
        clock = Clock()
        for _ in range(11):
            await run("batch", clock, base_url=own.url)
            assert states(db)["slow-1"] in ("uncertain", "planned")
            forward(own, clock, minutes=5)
        assert own.calls()["batch"]["create"] == 1 + 2
        forward(own, clock, hours=2)
        await run("batch", clock, base_url=own.url)
        assert [entry.action for entry in own.book()] == ["access", "erasure"]
    assert states(db) == {"slow-1": "submitted"}
    assert reasons(db) == [
        ("submitting", "uncertain", "HTTP 409"),
        ("uncertain", "planned", reconcile.NOT_FOUND),
        ("submitting", "planned", consequences.OTHER_JOB.format(error="HTTP 409")),
        ("submitting", "submitted", f"{submit_module.AFTER_UNCERTAIN}: HTTP 409"),
    ]


LOST = [
    ("reset_after", {}, True), ("empty", {}, True), ("truncated", {}, True), ("html", {}, False),
    ("hang", {"seconds": 0.1}, False), ("redirect", {}, False), ("reset_before", {}, False),
    ("status", {"status": 502, "body": ""}, False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "was_taken"), LOST, ids=[kind for kind, *_ in LOST])
async def test_a_lost_reply_is_uncertain_until_batch_was_asked(
    db: Database, sandbox: Sandbox, run: Run, kind: str, fields: Mapping[str, Any], was_taken: bool
) -> None:
    """Found in its list, or sent again once the pause is over: one job in the end, the reason on record."""
    one_each(db, "batch", "slow-1")
    sandbox.inject(kind, vendor="batch", route="create", **fields)
    clock = Clock()
    done = await run("batch", clock)
    assert done.uncertain == 1
    assert reasons(db)[0][:2] == ("submitting", "uncertain")
    if was_taken:
        assert reasons(db)[1:] == [("uncertain", "submitted", reconcile.FOUND)]
    else:
        assert states(db) == {"slow-1": "uncertain"}
        clock.advance(seconds=61)
        await run("batch", clock)
        assert reasons(db)[1:2] == [("uncertain", "planned", reconcile.NOT_FOUND)]
    assert states(db) == {"slow-1": "submitted"}
    (job,) = taken(sandbox, "batch")
    assert rows(db)[0]["job_id"] == job.job_id


async def test_an_earlier_job_that_has_ended_is_not_taken_for_this_one(
    db: Database, sandbox: Sandbox, run: Run
) -> None:
    """What came in after it would not be erased: the request is sent again."""
    one_each(db, "batch", "u1")
    await run("batch")
    put_into(db, [row["id"] for row in rows(db)], {"state": "completed", "finished_at": SOON})
    sandbox.advance(600)
    plan(db, request("later", submission("u1", "batch")))
    sandbox.inject("reset_before", vendor="batch", route="create")
    clock = Clock()
    clock.advance(seconds=600)
    await run("batch", clock)
    clock.advance(seconds=61)
    await run("batch", clock)
    first, second = (row["job_id"] for row in rows(db))
    assert first != second
    assert len(taken(sandbox, "batch")) == 2


@pytest.mark.parametrize("account", ["besitos", "attentive"])
async def test_besitos_and_attentive_are_sent_again_after_a_pause(
    db: Database, sandbox: Sandbox, run: Run, account: str
) -> None:
    """Repeating does no harm there; why it was repeated is on record."""
    one_each(db, account, "u1", kind=IdentityKind.USER_ID if account == "besitos" else IdentityKind.EMAIL)
    sandbox.inject("reset_after", vendor=account, route="create")
    clock = Clock()
    await run(account, clock)
    clock.advance(seconds=30)
    await run(account, clock)
    assert (states(db), len(taken(sandbox, account))) == ({"u1": "uncertain"}, 1)
    clock.advance(seconds=31)
    await run(account, clock)
    assert (states(db), len(taken(sandbox, account))) == ({"u1": "submitted"}, 2)
    sent_again = f"{submit_module.AFTER_UNCERTAIN}: {reasons(db)[0][2]}"
    assert reasons(db)[1:] == [
        ("uncertain", "planned", reconcile.REPEATED),
        ("submitting", "submitted", sent_again),
    ]
    assert (rows(db)[0]["attempts"], rows(db)[0]["reason"]) == (2, sent_again)


async def test_id5_is_asked_again_on_the_next_utc_day(db: Database, sandbox: Sandbox, run: Run) -> None:
    """On the same day its limit for the identifier would refuse the repeat."""
    one_each(db, "id5", "a@example.com", kind=IdentityKind.EMAIL)
    sandbox.inject("empty", vendor="id5", route="create")
    clock = at_noon(sandbox)
    await run("id5", clock)
    forward(sandbox, clock, hours=11)
    await run("id5", clock)
    assert set(states(db).values()) == {"uncertain"}
    forward(sandbox, clock, hours=2)
    await run("id5", clock)
    assert set(states(db).values()) == {"submitted"}
    assert reasons(db)[1:] == [
        ("uncertain", "planned", reconcile.NEXT_DAY),
        ("submitting", "submitted", f"{submit_module.AFTER_UNCERTAIN}: {reasons(db)[0][2]}"),
    ]


async def test_id5s_limit_on_a_repeat_says_that_the_lost_call_was_taken(
    db: Database, sandbox: Sandbox, run: Run
) -> None:
    """It stays in doubt until a later day's job confirms it; the events and the final reason say so."""
    one_each(db, "id5", "a@example.com", kind=IdentityKind.EMAIL)
    sandbox.inject("empty", vendor="id5", route="create")
    clock = at_noon(sandbox)
    await run("id5", clock)
    clock.advance(hours=13)  # our next day begins before the vendor's
    for _ in range(2):
        done = await run("id5", clock)
        assert set(states(db).values()) == {"uncertain"}
    assert (done.uncertain, sandbox.calls()["id5"]["create"]) == (0, 2)
    taken_today = consequences.PROBABLY_TAKEN.format(error="HTTP 403, code api_rate_limit_error")
    forward(sandbox, clock, days=1)
    sandbox.inject("status", vendor="id5", route="create", status=429)
    await run("id5", clock)
    assert set(states(db).values()) == {"planned"}
    forward(sandbox, clock, minutes=5)
    await run("id5", clock)
    (found,) = rows(db)
    confirmed = f"{submit_module.AFTER_UNCERTAIN}: {taken_today}"
    assert (found["state"], found["attempts"], found["reason"]) == ("submitted", 4, confirmed)
    assert found["job_id"] == sandbox.book()[-1].job_id
    assert reasons(db)[1:] == [
        ("uncertain", "planned", reconcile.NEXT_DAY),
        ("submitting", "uncertain", taken_today),
        ("uncertain", "planned", reconcile.NEXT_DAY),
        ("submitting", "planned", "HTTP 429, code internal_id5_error"),
        ("submitting", "submitted", confirmed),
    ]


async def test_a_doubt_ends_with_its_job(db: Database, sandbox: Sandbox, run: Run) -> None:
    """Tried again after it failed, ID5's limit of the day speaks of the job that we know."""
    one_each(db, "id5", "a@example.com", kind=IdentityKind.EMAIL)
    sandbox.inject("empty", vendor="id5", route="create")
    clock = at_noon(sandbox)
    await run("id5", clock)
    forward(sandbox, clock, hours=13)
    await run("id5", clock)
    (found,) = rows(db)
    for leave, to in ((State.SUBMITTED, State.FAILED), (State.FAILED, State.PLANNED)):
        assert move(db, [Move(found["id"], to, "no")], leave=leave, now=clock())
    await run("id5", clock)
    assert reasons(db)[-1] == ("submitting", "planned", "HTTP 403, code api_rate_limit_error")


@pytest.mark.parametrize("account", ["besitos", "batch", "id5", "attentive"])
async def test_hold_leaves_it_to_a_person(db: Database, sandbox: Sandbox, run: Run, account: str) -> None:
    """Nothing is asked and nothing sent again, however long it takes."""
    kind = IdentityKind.USER_ID if account in ("besitos", "batch") else IdentityKind.EMAIL
    one_each(db, account, "a@example.com", kind=kind)
    sandbox.inject("reset_after", vendor=account, route="create")
    clock = Clock()
    for _ in range(3):
        await run(account, clock, on_uncertain="hold")
        clock.advance(days=3)
    assert states(db) == {"a@example.com": "uncertain"}
    assert sandbox.calls()[account] == {"create": 1}


@pytest.mark.parametrize("account", ["besitos", "batch", "id5", "attentive"])
async def test_what_stays_in_doubt_is_sent_ever_more_rarely_and_left_to_a_person_in_the_end(
    db: Database, sandbox: Sandbox, run: Run, account: str
) -> None:
    """A vendor whose replies we cannot read is not asked for ever. A person's word begins one more try."""
    kind = IdentityKind.USER_ID if account in ("besitos", "batch") else IdentityKind.EMAIL
    one_each(db, account, "a@example.com", kind=kind)
    sandbox.inject("status", vendor=account, route="create", status=451, times=None)
    clock = at_noon(sandbox)
    sent = []
    for _ in range(20):
        await run(account, clock)
        sent.append(sandbox.calls()[account]["create"])
        forward(sandbox, clock, hours=13)
        told = reporting.attention(db, now=clock(), since=None, held=[]).held
        assert told == ({} if sent[-1] < uncertain.MAX_UNCERTAIN_ATTEMPTS else {account: ["a@example.com"]})
    assert states(db) == {"a@example.com": "uncertain"}
    assert sent[-1] == uncertain.MAX_UNCERTAIN_ATTEMPTS
    await run(account, clock)
    decide(db, [Decision("a@example.com", account, None)], by="somebody", now=clock())
    sandbox.clear_faults()
    await run(account, clock)
    assert states(db) == {"a@example.com": "submitted"}


async def test_the_pause_between_two_doubts_doubles(db: Database, sandbox: Sandbox, run: Run) -> None:
    """A minute, two, four: a vendor in trouble is not hammered."""
    one_each(db, "attentive", "a@example.com", kind=IdentityKind.EMAIL)
    sandbox.inject("empty", vendor="attentive", route="create", times=None)
    clock = Clock()
    await run("attentive", clock)
    for minutes in (1, 2, 4, 8):
        before = sandbox.calls()["attentive"]["create"]
        clock.advance(minutes=minutes, seconds=-5)
        await run("attentive", clock)
        assert sandbox.calls()["attentive"]["create"] == before
        clock.advance(seconds=10)
        await run("attentive", clock)
        assert sandbox.calls()["attentive"]["create"] == before + 1


def at_noon(sandbox: Sandbox) -> Clock:
    """Both clocks at noon of the next day, in UTC: midnight is far from what a test does there."""
    clock = Clock()
    noon = clock().replace(hour=12, minute=0, second=0) + timedelta(days=1)
    forward(sandbox, clock, seconds=(noon - clock()).total_seconds())
    return clock


def forward(sandbox: Sandbox, clock: Clock, **units: float) -> None:
    clock.advance(**units)
    sandbox.advance(timedelta(**units).total_seconds())


async def test_what_exceeds_the_accounts_quota_stays_planned_for_tomorrow(
    db: Database, sandbox: Sandbox, run: Run
) -> None:
    """No call is made beyond it; the next UTC day goes on with what is due soonest."""
    mails = [f"{c}@example.com" for c in "abcdefg"]
    one_each(db, "id5", *mails, kind=IdentityKind.EMAIL)
    clock = at_noon(sandbox)
    done = await run("id5", clock, daily_quota=3)
    assert (done.submitted, done.left, done.quota_used) == (3, 4, True)
    again = await run("id5", clock, daily_quota=3)
    assert (again.submitted, again.left) == (0, 4)
    assert sandbox.calls()["id5"]["create"] == 3
    assert [name for name, state in states(db).items() if state == "submitted"] == mails[:3]
    forward(sandbox, clock, hours=13)
    done = await run("id5", clock, daily_quota=3)
    assert (done.submitted, done.left) == (3, 1)


async def test_the_quota_that_id5_itself_tells_stops_the_run(
    db: Database, run: Run, open_work: OpenWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where other systems use the same account, the rest waits for tomorrow without further calls."""
    one_each(db, "id5", *(f"{c}@example.com" for c in "abcdefg"), kind=IdentityKind.EMAIL)
    with run_in_thread(SandboxSettings(id5_daily_limit=2)) as own:
        clock = at_noon(own)
        done = await run("id5", clock, base_url=own.url, max_concurrency=1)
        assert (done.submitted, done.left, done.quota_used) == (2, 5, True)
        assert own.calls()["id5"]["create"] == 3
        forward(own, clock, hours=13)
        done = await run("id5", clock, base_url=own.url, max_concurrency=1)
        assert done.submitted == 2


async def test_an_identifier_that_had_its_call_today_waits_and_the_others_go_on(
    db: Database, sandbox: Sandbox, run: Run
) -> None:
    """ID5 takes one call a day for each, and reads these two as one; the reason is on record."""
    mails = ["a.b@gmail.com", "ab+c@gmail.com", "other@example.com"]
    one_each(db, "id5", *mails, kind=IdentityKind.EMAIL)
    clock = at_noon(sandbox)
    await run("id5", clock, max_concurrency=1)
    assert [states(db)[mail] for mail in mails] == ["submitted", "planned", "submitted"]
    assert reasons(db) == [("submitting", "planned", "HTTP 403, code api_rate_limit_error")]
    forward(sandbox, clock, hours=13)
    await run("id5", clock, max_concurrency=1)
    assert set(states(db).values()) == {"submitted"}


async def test_attentive_gets_email_and_phone_together(db: Database, sandbox: Sandbox, run: Run) -> None:
    """One call for the subscriber, with the request's id for the audit trail."""
    both = {IdentityKind.EMAIL: "a@example.com", IdentityKind.PHONE: "+12025550123"}
    joined = replace(
        submission("x", "attentive", IdentityKind.EMAIL), identity="email+phone", identifiers=both
    )
    plan(db, request("r-1", joined))
    await run("attentive")
    (job,) = taken(sandbox, "attentive")
    assert {s.kind: s.value for s in job.subjects} == {
        "subjectEmail": "a@example.com",
        "subjectPhone": "+12025550123",
    }
    assert job.details == {"requestMsg": "r-1"}


@pytest.mark.parametrize(
    ("account", "extra"),
    [
        ("besitos", {"secret": "no"}), ("batch", {"secret": "no"}), ("id5", {"secret": "no"}),
        ("attentive", {"secret": "no"}), ("besitos", {"partner_id": "wrong"}),
        ("id5", {"partner_id": "wrong"}),
    ],
)  # fmt: skip
async def test_refused_credentials_name_the_connection_and_count_as_no_try(
    db: Database, sandbox: Sandbox, run: Run, account: str, extra: dict[str, str]
) -> None:
    """All is planned as before, and goes out once the connection is mended."""
    kind = IdentityKind.USER_ID if account in ("besitos", "batch") else IdentityKind.EMAIL
    one_each(db, account, *(f"{n}@example.com" for n in range(40)), kind=kind)
    with pytest.raises(
        ConfigurationError, match=f"connection {account}_default, then clear this task"
    ) as raised:
        await run(account, **extra)
    assert isinstance(raised.value, CredentialsRefused) or extra == {"partner_id": "wrong"}
    assert "sandbox-secret" not in str(raised.value)
    assert {(row["state"], row["attempts"], row["worker"]) for row in rows(db)} == {("planned", 0, None)}
    assert events(db) == []
    assert (await run(account)).submitted == 40


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_a_floor_and_the_pace_is_halved(
    db: Database, sandbox: Sandbox, open_work: OpenWork, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No call of the account before it is over, other workers' included."""
    monkeypatch.setattr(consequences, "MIN_RETRY_DELAY", timedelta(0))
    one_each(db, "batch", *(f"u{n}" for n in range(6)))
    at = datetime.now(UTC) + timedelta(seconds=3)
    told = "2" if form == "seconds" else format_datetime(at, usegmt=True)
    sandbox.inject("status", vendor="batch", route="create", status=429, headers={"Retry-After": told})
    async with open_work("batch", requests_per_second=100, max_concurrency=1) as work:
        began = time.monotonic()
        done = await submit(work)
        assert time.monotonic() - began >= (2 if form == "seconds" else 1)
        assert work.client._pacer._rate <= 50
    assert (done.submitted, done.postponed, done.left) == (6, 1, 0)
    assert min(entry.created_at for entry in sandbox.book()) - at.timestamp() > -1.1
    assert reasons(db) == [("submitting", "planned", "HTTP 429")]


async def test_a_long_retry_after_does_not_hold_the_run(db: Database, sandbox: Sandbox, run: Run) -> None:
    """What is not sent is planned again for when the vendor wants it, and no claim waits for hours."""
    one_each(db, "batch", *(f"u{n}" for n in range(30)))
    headers = {"Retry-After": "7200"}
    sandbox.inject("status", vendor="batch", route="create", status=429, headers=headers, times=None)
    began = time.monotonic()
    with pytest.raises(VendorUnavailable, match="long pause"):
        await run("batch", max_concurrency=4)
    assert time.monotonic() - began < 30
    assert sandbox.calls()["batch"]["create"] <= 4
    assert set(states(db).values()) == {"planned"}
    waiting = [row["not_before"] for row in rows(db) if row["not_before"]]
    assert min(waiting) > datetime.now(UTC) + timedelta(hours=1.9)


async def test_a_vendor_that_cannot_be_reached_loses_nothing(
    db: Database, run: Run, sandbox: Sandbox
) -> None:
    """After some tries the account is left alone; all is planned, and sent by a later run."""
    one_each(db, "besitos", *(f"u{n}" for n in range(60)))
    with pytest.raises(VendorUnavailable, match="besitos: no usable answer to many calls in a row"):
        await run("besitos", base_url="http://127.0.0.1:1", users_per_call=1)
    assert set(states(db).values()) == {"planned"}
    assert {enters for _, enters, _ in reasons(db)} == {"planned"}
    assert sum(row["attempts"] for row in rows(db)) < 40
    clock = Clock()
    clock.advance(seconds=10)
    assert (await run("besitos", clock)).submitted == 60


async def test_a_vendor_that_only_breaks_is_left_alone(db: Database, run: Run, sandbox: Sandbox) -> None:
    """After ten lost replies in a row; not one call more than those under way."""
    one_each(db, "attentive", *(f"{n}@example.com" for n in range(40)), kind=IdentityKind.EMAIL)
    sandbox.inject("status", vendor="attentive", status=500, times=None)
    with pytest.raises(VendorUnavailable, match="HTTP 500"):
        await run("attentive", max_concurrency=2)
    assert sandbox.calls()["attentive"]["create"] <= 12
    assert sorted(set(states(db).values())) == ["planned", "uncertain"]
    assert {row["attempts"] for row in rows(db) if row["state"] == "planned"} == {0}


class Stumbling(Besitos):
    """Besitos' module with a mistake in it."""

    name = "stumbling"

    def create(self, settings: Any, action: Any, subjects: Any) -> Any:
        if any("poison" in value for s in subjects for value in s.identifiers.values()):
            raise KeyError("a value that must not be shown")
        return super().create(settings, action, subjects)

    def read_created(self, reply: Any) -> str:
        if reply.status == 418:
            raise KeyError("a value that must not be shown")
        return super().read_created(reply)


async def test_a_request_that_no_call_can_be_made_of_stops_nobody_else(
    db: Database, sandbox: Sandbox, open_work: OpenWork
) -> None:
    """It alone is rejected, with the kind of our own error as its reason."""
    one_each(db, "besitos", *(f"u{n}" for n in range(25)), "poison")
    async with open_work("besitos", users_per_call=30) as work:
        done = await submit(replace(work, vendor=Stumbling()))
    assert (done.submitted, done.rejected, done.left) == (25, 1, 0)
    (row,) = (row for row in rows(db) if row["state"] == "rejected")
    assert row["reason"] == "no call can be made of it (KeyError)"
    assert "shown" not in repr(events(db))


async def test_a_reply_that_our_reader_stumbles_over_is_uncertain(
    db: Database, sandbox: Sandbox, open_work: OpenWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor may have taken the call; the others' are read as ever."""
    monkeypatch.setattr(submit_module, "MAX_WAIT", timedelta(0))
    one_each(db, "besitos", "u1", "u2", "u3")
    sandbox.inject("status", vendor="besitos", route="create", status=418)
    async with open_work("besitos", users_per_call=1, max_concurrency=1) as work:
        done = await submit(replace(work, vendor=Stumbling()))
    assert (done.submitted, done.uncertain) == (2, 1)
    assert reasons(db) == [("submitting", "uncertain", "its reply could not be read (KeyError)")]


DYING = """
import asyncio, sys
from include.accounts import ACCOUNTS
from include.dsar.http.client import client
from include.dsar.ledger import database, reporting
from include.dsar.execution.account_work import AccountWork
from include.dsar.stages.submit import submit
from include.dsar.vendors import settings, vendor

async def main(dsn, url):
    account = next(a for a in ACCOUNTS if a.name == "besitos")
    resolved = settings(account, base_url=url, secret="sandbox-secret", extra={"partner_id": "demo"})
    with database.connect(dsn) as db:
        async with client(resolved) as http:
            await submit(AccountWork(db, vendor("besitos"), resolved, http))

asyncio.run(main(*sys.argv[1:]))
"""


OTHER_SESSIONS = """
SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def until(true: Callable[[], object]) -> None:
    """Returns once it is."""
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - what it waits for is in another process or thread
            await asyncio.sleep(0.02)


async def test_a_killed_workers_claims_become_uncertain_in_the_next_run(
    dsn: str, db: Database, sandbox: Sandbox, run: Run
) -> None:
    """While it lives nobody touches them; its death is on record, and all is sent in the end."""
    one_each(db, "besitos", "u1", "u2")
    sandbox.inject("hang", vendor="besitos", seconds=60)
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", DYING, dsn, sandbox.url, cwd=PROJECT)
    try:
        await until(sandbox.calls)
        clock = Clock()
        await run("besitos", clock)
        assert set(states(db).values()) == {"submitting"}
    finally:
        worker.kill()
        await worker.wait()
    await until(lambda: not db.execute(OTHER_SESSIONS).fetchall())
    await run("besitos", clock)
    assert reasons(db) == [("submitting", "uncertain", uncertain.WORKER_DIED)] * 2
    clock.advance(seconds=61)
    done = await run("besitos", clock)
    assert (done.submitted, set(states(db).values())) == (2, {"submitted"})


async def test_two_runs_at_once_never_send_the_same(
    db: Database, sandbox: Sandbox, open_work: OpenWork
) -> None:
    """Each submission goes out once."""
    one_each(db, "batch", *(f"u{n:03}" for n in range(150)))
    slow = {"requests_per_second": 40, "max_concurrency": 4}
    async with open_work("batch", **slow) as one, open_work("batch", **slow) as two:
        done = await asyncio.gather(submit(one), submit(two))
    assert sum(result.submitted for result in done) == 150
    assert all(result.submitted for result in done)
    sent = [entry.values[0] for entry in taken(sandbox, "batch")]
    assert len(sent) == len(set(sent)) == 150
    assert {row["attempts"] for row in rows(db)} == {1}


async def test_a_run_limited_to_some_requests_sends_no_other(
    db: Database, sandbox: Sandbox, open_work: OpenWork
) -> None:
    """Neither planned nor uncertain submissions of others are touched."""
    one_each(db, "besitos", "u1", "u2", "u3")
    one, _, three = rows(db)
    put_into(db, [three["id"]], {"state": "uncertain", "attempted_at": SOON - timedelta(days=30)})
    async with open_work("besitos") as work:
        await submit(replace(work, request_pks=[one["request"]]))
    assert states(db) == {"u1": "submitted", "u2": "planned", "u3": "uncertain"}


async def test_a_ledger_that_breaks_off_breaks_no_call_off(
    dsn: str, db: Database, sandbox: Sandbox, open_work: OpenWork, run: Run
) -> None:
    """The run fails, every call that was made is in the ledger as claimed, and the next run finds it."""
    one_each(db, "batch", *(f"u{n:03}" for n in range(60)))
    with pytest.raises(Exception, match=r"terminat|lost|closed") as raised:
        async with open_work("batch", requests_per_second=60) as work:
            running = asyncio.create_task(submit(work))
            await until(lambda: len(taken(sandbox, "batch")) >= 20)
            with database.connect(dsn) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [work.db.info.backend_pid])
            await running
    assert not isinstance(raised.value, ExceptionGroup)
    sent = {entry.values[0] for entry in taken(sandbox, "batch")}
    assert {row["request_id"] for row in rows(db) if row["state"] in ("submitting", "submitted")} >= sent
    clock = Clock()
    await run("batch", clock)
    clock.advance(seconds=61)
    await run("batch", clock)
    assert set(states(db).values()) == {"submitted"}
    assert {row["job_id"] for row in rows(db)} == {entry.job_id for entry in taken(sandbox, "batch")}
    assert len(taken(sandbox, "batch")) == 60
