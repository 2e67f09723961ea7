"""An operator can decide about uncertain submissions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from include.accounts import ACCOUNTS
from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError, VendorUnavailable
from include.dsar.execution.account_work import AccountWork
from include.dsar.intake.decisions import Decision, decide
from include.dsar.intake.rows import Rules
from include.dsar.intake.source import Source
from include.dsar.ledger.database import Database
from include.dsar.stages.collect import collect
from include.dsar.stages.intake import Intake
from include.dsar.stages.poll import poll_open_jobs
from include.dsar.stages.report import Report
from include.dsar.stages.submit import submit
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork, Row, put, submissions
from tests.integration.requests_given import Clock, put_into, rows

RULES = Rules(ACCOUNTS, None, b"key")


async def hold_one(
    dsn: str, db: Database, source_table: Source, open_work: OpenWork, sandbox: Sandbox
) -> None:
    """Makes a submission uncertain: Besitos accepts a call, the reply is lost, and on_uncertain is hold."""
    put(dsn, Row("r1", user_id="u1", accounts=["besitos"]))
    Intake(db, source_table, RULES).run()
    sandbox.inject("reset_after", vendor="besitos", route="create")
    async with open_work("besitos", on_uncertain="hold") as work:
        assert (await submit(work)).uncertain == 1
        assert (await submit(work)).submitted == 0


async def test_a_held_submission_is_sent_again_by_a_decision(
    dsn: str,
    db: Database,
    source_table: Source,
    open_work: OpenWork,
    sandbox: Sandbox,
    storage: Storage,
) -> None:
    """The report asks for a decision. An event records the decision and its author."""
    await hold_one(dsn, db, source_table, open_work, sandbox)
    report = Report(db, storage, datetime.now(UTC), ["besitos"], held=["besitos"])
    (asked,) = report.run()
    assert "r1 besitos send_again" in asked
    assert decide(db, [Decision.parse("r1 besitos send_again")], by="run-7", now=datetime.now(UTC)) == 1
    async with open_work("besitos", on_uncertain="hold") as work:
        assert (await submit(work)).submitted == 1
    events = db.execute("SELECT enters, reason FROM dsar.event ORDER BY id").fetchall()
    assert events[-2] == {
        "enters": "planned",
        "reason": "decided by run-7: the vendor did not accept it, send again",
    }
    assert len(sandbox.jobs()) == 2


async def test_a_held_submission_continues_with_the_job_of_a_decision(
    dsn: str, db: Database, source_table: Source, open_work: OpenWork, sandbox: Sandbox
) -> None:
    """The vendor is not called again. The submission gets the outcome of the job that the operator named."""
    await hold_one(dsn, db, source_table, open_work, sandbox)
    (job,) = sandbox.jobs()
    decide(db, [Decision.parse(f"r1 besitos taken {job.job_id}")], by="run-7", now=datetime.now(UTC))
    async with open_work("besitos", on_uncertain="hold") as work:
        now = datetime.now(UTC)
        await poll_open_jobs(work, since=now, until=now + timedelta(seconds=5))
    assert submissions(db) == {("r1", "besitos", "user_id"): "completed"}
    assert len(sandbox.jobs()) == 1


async def test_one_job_is_refused_for_several_identifiers(
    dsn: str, db: Database, source_table: Source, open_work: OpenWork, sandbox: Sandbox
) -> None:
    """An ID5 job has one identifier, so it cannot prove that another identifier was deleted."""
    row = Row("r1", email="a@example.com", id5_id="ID5*abc", accounts=["id5"])
    put(dsn, row)
    Intake(db, source_table, RULES).run()
    sandbox.inject("reset_after", vendor="id5", route="create", times=2)
    async with open_work("id5", on_uncertain="hold") as work:
        await submit(work)
    job = next(each for each in sandbox.jobs() if each.subjects[0].kind == "email").job_id
    taken, now = f"r1 id5 taken {job}", datetime.now(UTC)
    with pytest.raises(ConfigurationError, match="2 are uncertain, of email, id5_id"):
        decide(db, [Decision.parse(taken)], by="run-7", now=now)
    assert set(submissions(db).values()) == {"uncertain"}
    assert decide(db, [Decision.parse(f"{taken} email")], by="run-7", now=now) == 1
    assert submissions(db) == {("r1", "id5", "email"): "submitted", ("r1", "id5", "id5_id"): "uncertain"}
    assert decide(db, [Decision.parse("r1 id5 send_again id5_id")], by="run-7", now=now) == 1


async def test_a_job_is_refused_for_two_identifiers_of_one_kind(
    dsn: str, db: Database, source_table: Source, open_work: OpenWork, sandbox: Sandbox
) -> None:
    """The ledger cannot know which of the two identifiers has the job. The error says which decision to
    enter instead.
    """
    row = Row("r1", email=["a@example.com", "b@example.com"], id5_id="ID5*abc", accounts=["id5"])
    put(dsn, row)
    Intake(db, source_table, RULES).run()
    sandbox.inject("reset_before", vendor="id5", route="create", times=3)
    async with open_work("id5", on_uncertain="hold") as work:
        await submit(work)
    now = datetime.now(UTC)
    again = "there are 2 of email, and the ledger cannot tell them apart: decide `r1 id5 send_again email`"
    with pytest.raises(ConfigurationError, match=f"add which: id5_id; {again}"):
        decide(db, [Decision.parse("r1 id5 taken 4711")], by="run-7", now=now)
    with pytest.raises(ConfigurationError, match=f"one of them; {again}"):
        decide(db, [Decision.parse("r1 id5 taken 4711 email")], by="run-7", now=now)
    assert {row["state"] for row in rows(db)} == {"uncertain"}
    for decision, reconciled in (("r1 id5 send_again email", 2), ("r1 id5 taken 4711 id5_id", 1)):
        assert decide(db, [Decision.parse(decision)], by="run-7", now=now) == reconciled
    async with open_work("id5", on_uncertain="hold") as work:
        assert (await submit(work)).submitted == 2
    assert {row["state"] for row in rows(db)} == {"submitted"}


@pytest.mark.parametrize("action", ["access", "erasure"])
async def test_a_job_of_another_data_subject_ends_nothing(
    dsn: str,
    db: Database,
    source_table: Source,
    open_work: OpenWork,
    sandbox: Sandbox,
    storage: Storage,
    action: str,
) -> None:
    """Batch's reply names the identifier of a job. Therefore a mistyped job id ends no submission and
    collects no result.
    """
    put(dsn, Row("alice", action, user_id="alice", accounts=["batch"]))
    put(dsn, Row("bob", action, user_id="bob", accounts=["batch"]))
    Intake(db, source_table, RULES).run()
    sandbox.inject("reset_before", vendor="batch", route="create")
    clock = Clock()

    async def look(base: AccountWork) -> None:
        work, now = replace(base, clock=clock), clock()
        await poll_open_jobs(work, since=now, until=now + timedelta(seconds=0.2))

    async with open_work("batch", on_uncertain="hold", max_concurrency=1) as work:
        await submit(replace(work, clock=clock))
        (job,) = sandbox.jobs()
        (lost,) = {"alice", "bob"} - {*job.values}
        clock.advance(hours=1)
        sandbox.advance(3600)
        await look(work)
        ended = "ready" if action == "access" else "completed"
        assert submissions(db)[job.values[0], "batch", "user_id"] == ended
        decide(db, [Decision.parse(f"{lost} batch taken {job.job_id}")], by="run-7", now=clock())
        clock.advance(hours=1)
        await look(work)
        assert submissions(db)[lost, "batch", "user_id"] == "submitted"
        put_into(db, [row["id"] for row in rows(db) if row["request_id"] == lost], {"state": "ready"})
        if action == "access":  # the state that an earlier version would have left
            with pytest.raises(VendorUnavailable, match="another data subject"):
                await collect(replace(work, clock=clock), storage)
            assert submissions(db)[lost, "batch", "user_id"] == "ready"


@pytest.mark.asyncio
async def test_a_decision_does_not_apply_to_what_became_uncertain_after_it(
    dsn: str, db: Database, source_table: Source, open_work: OpenWork, sandbox: Sandbox
) -> None:
    """If an intake task is cleared, it repeats the decisions of its run. The decisions do not apply to
    submissions that became uncertain later.
    """
    made_at = datetime.now(UTC)
    await hold_one(dsn, db, source_table, open_work, sandbox)
    again = [Decision.parse("r1 besitos send_again")]
    with pytest.raises(ConfigurationError, match="no submission is uncertain since before the run"):
        decide(db, again, by="run-7", now=datetime.now(UTC), made_at=made_at)
    assert set(submissions(db).values()) == {"uncertain"}
    assert decide(db, again, by="run-8", now=datetime.now(UTC), made_at=datetime.now(UTC)) == 1


def test_a_decision_about_nothing_is_refused(db: Database) -> None:
    """The error names the request and the account. A line with another form is refused too."""
    with pytest.raises(ConfigurationError, match=r"r9 at besitos \(no submission is uncertain"):
        decide(db, [Decision.parse("r9 besitos send_again")], by="run-7", now=datetime.now(UTC))
    for text in ("", "r9 besitos", "r9 besitos taken", "r9 besitos send_again email now", "r9 besitos maybe"):
        with pytest.raises(ConfigurationError, match="must have the form"):
            Decision.parse(text)
