"""An operator can decide about uncertain submissions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError, VendorUnavailable
from include.dsar.intake.decisions import Decision, decide
from include.dsar.ledger.database import Database
from include.dsar.stages.report import Report
from include.sandbox import Sandbox
from tests.integration.conftest import Row, SubmitRows, submissions
from tests.integration.requests_given import put_into, rows, states
from tests.integration.stage_runs import Stages, reasons

HOLD = {"on_uncertain": "hold"}


def decided(db: Database, line: str) -> int:
    return decide(db, [Decision.parse(line)], by="run-7", now=datetime.now(UTC))


@pytest.fixture
async def held(sandbox: Sandbox, submit_rows: SubmitRows) -> datetime:
    """Makes a submission uncertain: Besitos accepts a call, the reply is lost, and on_uncertain is hold.
    Returns a time before the call.
    """
    before = datetime.now(UTC)
    sandbox.inject("reset_after", vendor="besitos", route="create")
    await submit_rows("besitos", Row("r1", user_id="u1", accounts=["besitos"]), **HOLD)
    return before


async def test_a_held_submission_is_sent_again_by_a_decision(
    db: Database, storage: Storage, sandbox: Sandbox, stages: Stages, held: datetime
) -> None:
    """The report asks for a decision. An event records the decision and its author."""
    assert (await stages.submit("besitos", **HOLD)).submitted == 0
    (asked,) = Report(db, storage, datetime.now(UTC), ["besitos"], held=["besitos"]).run()
    assert "r1 besitos send_again" in asked
    assert decided(db, "r1 besitos send_again") == 1
    assert (await stages.submit("besitos", **HOLD)).submitted == 1
    assert reasons(db)[-2][1:] == ("planned", "decided by run-7: the vendor did not accept it, send again")
    assert len(sandbox.jobs()) == 2


async def test_a_held_submission_continues_with_the_job_of_a_decision(
    db: Database, sandbox: Sandbox, stages: Stages, held: datetime
) -> None:
    """The vendor is not called again. The submission gets the outcome of the job that the operator named."""
    (job,) = sandbox.jobs()
    decided(db, f"r1 besitos taken {job.job_id}")
    await stages.poll("besitos")
    assert states(db) == {"r1": "completed"}
    assert len(sandbox.jobs()) == 1


async def test_one_job_is_refused_for_several_identifiers(
    db: Database, sandbox: Sandbox, submit_rows: SubmitRows
) -> None:
    """An ID5 job has one identifier, so it cannot prove that another identifier was deleted."""
    sandbox.inject("reset_after", vendor="id5", route="create", times=2)
    await submit_rows("id5", Row("r1", email="a@example.com", id5_id="ID5*abc", accounts=["id5"]), **HOLD)
    job = next(each for each in sandbox.jobs() if each.subjects[0].kind == "email").job_id
    with pytest.raises(ConfigurationError, match=r"2 are uncertain, .* add one of email, id5_id"):
        decided(db, f"r1 id5 taken {job}")
    assert set(submissions(db).values()) == {"uncertain"}
    assert decided(db, f"r1 id5 taken {job} email") == 1
    assert submissions(db) == {("r1", "id5", "email"): "submitted", ("r1", "id5", "id5_id"): "uncertain"}
    assert decided(db, "r1 id5 send_again id5_id") == 1


async def test_a_number_selects_one_of_two_identifiers_of_one_kind(
    db: Database, storage: Storage, sandbox: Sandbox, submit_rows: SubmitRows
) -> None:
    """One job cannot belong to both identifiers. The error and the report list the names to choose from.
    The numbers follow the order in the source, and stay the same when the other submission is decided.
    """
    sandbox.inject("reset_before", vendor="id5", route="create", times=4)
    mails, ids = ["z@example.com", "a@example.com"], ["ID5*z", "ID5*a"]
    await submit_rows("id5", Row("r1", email=mails, id5_id=ids, accounts=["id5"]), **HOLD)
    (asked,) = Report(db, storage, datetime.now(UTC), ["id5"], held=["id5"]).run()
    assert "r1 has several uncertain submissions, so add one of email#1, email#2, id5_id#1, id5_id#2" in asked
    with pytest.raises(ConfigurationError, match=r"add one of email#1, email#2, id5_id#1, id5_id#2\)"):
        decided(db, "r1 id5 taken 4711")
    with pytest.raises(ConfigurationError, match=r"add one of email#1, email#2\)"):
        decided(db, "r1 id5 taken 4711 email")
    with pytest.raises(ConfigurationError, match="no submission is uncertain"):
        decided(db, "r1 id5 taken 4711 email#3")
    assert {row["state"] for row in rows(db)} == {"uncertain"}
    for decision in ("taken 1 email#1", "taken 2 email#2", "taken 3 id5_id#1", "send_again id5_id#2"):
        assert decided(db, f"r1 id5 {decision}") == 1
    found = {value: row["job_id"] for row in rows(db) for value in row["identifiers"].values()}
    assert found == {"z@example.com": "1", "a@example.com": "2", "ID5*z": "3", "ID5*a": None}


@pytest.mark.parametrize("action", ["access", "erasure"])
async def test_a_job_of_another_data_subject_ends_nothing(
    db: Database, sandbox: Sandbox, stages: Stages, submit_rows: SubmitRows, action: str
) -> None:
    """Batch's reply names the identifier of a job. Therefore a mistyped job id ends no submission and
    collects no result.
    """
    sandbox.inject("reset_before", vendor="batch", route="create")
    names = {"alice", "bob"}
    given = [Row(name, action, user_id=name, accounts=["batch"]) for name in sorted(names)]
    await submit_rows("batch", *given, **HOLD, max_concurrency=1)
    (job,) = sandbox.jobs()
    (lost,) = names - {*job.values}
    stages.advance(hours=1)
    await stages.poll("batch", seconds=0.2)
    assert states(db)[job.values[0]] == ("ready" if action == "access" else "completed")
    decide(db, [Decision.parse(f"{lost} batch taken {job.job_id}")], by="run-7", now=stages.clock())
    stages.advance(hours=1)
    await stages.poll("batch", seconds=0.2)
    assert states(db)[lost] == "submitted"
    put_into(db, [row["id"] for row in rows(db) if row["request_id"] == lost], {"state": "ready"})
    if action == "access":  # the state that an earlier version would have left
        with pytest.raises(VendorUnavailable, match="another data subject"):
            await stages.collect("batch")
        assert states(db)[lost] == "ready"


async def test_a_decision_does_not_apply_to_what_became_uncertain_after_it(
    db: Database, held: datetime
) -> None:
    """If an intake task is cleared, it repeats the decisions of its run. The decisions do not apply to
    submissions that became uncertain later.
    """
    again = [Decision.parse("r1 besitos send_again")]
    with pytest.raises(ConfigurationError, match="no submission is uncertain since before the run"):
        decide(db, again, by="run-7", now=datetime.now(UTC), made_at=held)
    assert states(db) == {"r1": "uncertain"}
    assert decide(db, again, by="run-8", now=datetime.now(UTC), made_at=datetime.now(UTC)) == 1


def test_a_decision_about_nothing_is_refused(db: Database) -> None:
    """The error names the request and the account. A line with another form is refused too."""
    with pytest.raises(ConfigurationError, match=r"r9 at besitos \(no submission is uncertain"):
        decided(db, "r9 besitos send_again")
    for text in (
        "",
        "r9 besitos",
        "r9 besitos taken",
        "r9 besitos send_again email now",
        "r9 besitos maybe",
        "r9 besitos send_again email#0",
        "r9 besitos taken 1 email#",
        "r9 besitos taken 1 email#x",
    ):
        with pytest.raises(ConfigurationError, match="must have the form"):
            Decision.parse(text)
