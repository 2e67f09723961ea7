"""The outcome breaker holds implausible outcomes for an operator. No request with such an outcome is
closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError, DsarError, OperatorActionRequired
from include.dsar.intake.decisions import Decision, decide
from include.dsar.intake.source import Source
from include.dsar.ledger.database import Database
from include.dsar.model import Action, IdentityKind
from include.dsar.stages.package import Package
from include.dsar.stages.report import Report
from tests.integration.requests_given import events, plan, put_into, request, rows, states, submission
from tests.integration.stage_runs import Stages, plan_each

NOW = datetime.now(UTC)
WAVE = [f"ID5*unknown-{n}" for n in range(25)]  # data subjects that no vendor knows


def given(
    db: Database,
    outcomes: Sequence[tuple[str, int]],
    *,
    account: str = "batch",
    closed: bool = False,
    finished_at: datetime = NOW,
    prefix: str = "r",
) -> list[int]:
    """Adds requests with these outcomes of an account. Closed requests are the account's history."""
    names = [f"{prefix}-{state}-{n}" for state, count in outcomes for n in range(count)]
    plan(db, *(request(name, submission(name, account)) for name in names))
    by_name = {row["request_id"]: row["id"] for row in rows(db)}
    ids = [by_name[name] for name in names]
    for state in {state for state, _ in outcomes}:
        of_state = [by_name[name] for name in names if name.startswith(f"{prefix}-{state}-")]
        put_into(db, of_state, {"state": state, "attempts": 1, "finished_at": finished_at})
    if closed:
        put_into(db, ids, {"identifiers": None})
        db.execute(
            "UPDATE dsar.request SET status = 'completed', closed_at = %s, source_updated = true"
            " WHERE request_id = ANY(%s)",
            [finished_at, names],
        )
    return ids


def slow_requests(db: Database, count: int) -> None:
    """Adds requests without data at Batch. They stay open, because Besitos has not finished."""
    names = [f"slow-{n}" for n in range(count)]
    plan(db, *(request(name, submission(name, "batch"), submission(name)) for name in names))
    at_batch = [row["id"] for row in rows(db) if row["request_id"] in names and row["account"] == "batch"]
    put_into(db, at_batch, {"state": "no_data", "finished_at": NOW, "attempts": 1})


def package(db: Database, source_table: Source, storage: Storage) -> int:
    """Runs the package stage. Returns the number of requests that it closed."""
    done = Package(db, source_table, storage).run()
    return done.completed + done.partial + done.failed


def decided(db: Database, line: str, **extra: Any) -> int:
    return decide(db, [Decision.parse(line)], by="alice in run-7", now=datetime.now(UTC), **extra)


def waiting(db: Database) -> int:
    return sum(row["is_unconfirmed"] for row in rows(db))


@pytest.mark.parametrize(
    ("account", "action"),
    [("besitos", Action.ACCESS), ("besitos", Action.ERASURE), ("batch", Action.ACCESS),
     ("batch", Action.ERASURE), ("id5", Action.ERASURE)],
)  # fmt: skip
async def test_not_found_for_every_data_subject_closes_nothing(
    db: Database,
    source_table: Source,
    storage: Storage,
    stages: Stages,
    account: str,
    action: Action,
) -> None:
    """A wrong but valid API key can cause `not_found` for every data subject. The task says what to check.
    No identifier is erased.
    """
    kind = IdentityKind.ID5_ID if account == "id5" else None
    plan(db, *(request(value, submission(value, account, kind), action=action) for value in WAVE))
    await stages.submit(account)
    with pytest.raises(OperatorActionRequired, match=f"connection {account}_default") as caught:
        await stages.poll(account, seconds=5)
        await stages.collect(account)
    assert "25 outcomes `no_data` wait for an operator" in str(caught.value)
    assert "Of 25 outcomes of open requests, 25 are not `completed`" in str(caught.value)
    assert package(db, source_table, storage) == 0
    assert set(states(db).values()) == {"no_data"}
    assert all(row["identifiers"] for row in rows(db))
    assert {row["status"] for row in db.execute("SELECT status FROM dsar.request")} == {"in_progress"}


@pytest.mark.parametrize("state", ["no_data", "failed", "rejected"])
def test_package_holds_implausible_outcomes_that_no_stage_has_held(
    db: Database, source_table: Source, storage: Storage, state: str
) -> None:
    """If no earlier stage held the implausible outcomes, for example because a worker died, the stage
    package holds them.
    """
    given(db, [(state, 20)])
    given(db, [("completed", 5)], account="id5", prefix="other")
    assert package(db, source_table, storage) == 5
    assert waiting(db) == 20
    assert {event["leaves"] for event in events(db)} == {event["enters"] for event in events(db)} == {state}


@pytest.mark.parametrize(
    ("usual", "today", "held"),
    [
        ([], [("no_data", 19)], 0),  # fewer than 20 outcomes
        ([], [("no_data", 20)], 20),
        ([], [("no_data", 10), ("failed", 8), ("completed", 2)], 18),  # 90 %
        ([], [("no_data", 17), ("completed", 3)], 0),
        ([("completed", 49)], [("no_data", 20), ("completed", 20)], 0),  # too short a history
        ([("completed", 60)], [("no_data", 20), ("completed", 20)], 20),
        ([("completed", 60)], [("no_data", 10)], 0),
        ([("completed", 60), ("no_data", 60)], [("no_data", 30), ("completed", 20)], 0),  # as usual
        ([("completed", 60), ("no_data", 60)], [("no_data", 50)], 50),
    ],
)
def test_the_history_of_the_account_says_what_is_plausible(
    db: Database,
    source_table: Source,
    storage: Storage,
    usual: Sequence[tuple[str, int]],
    today: Sequence[tuple[str, int]],
    held: int,
) -> None:
    """If an account has fewer than 50 earlier outcomes, fixed limits apply. Outcomes are implausible if
    there are at least 20, and at least 90 % are not `completed`.
    """
    if usual:
        given(db, usual, closed=True, finished_at=NOW - timedelta(days=9), prefix="old")
    given(db, today)
    package(db, source_table, storage)
    assert waiting(db) == held


def test_implausible_outcomes_are_not_hidden_by_earlier_outcomes_of_open_requests(
    db: Database, source_table: Source, storage: Storage
) -> None:
    """Requests may stay open for weeks while another account is slow. Their earlier outcomes could hide new
    implausible outcomes, so the outcomes of one day are also checked separately.
    """
    given(db, [("completed", 100)], finished_at=NOW - timedelta(days=5), prefix="old")
    given(db, [("no_data", 30)])
    plan(db, *(request(f"slow-{n}", submission(f"s{n}"), submission(f"s{n}", "attentive")) for n in range(2)))
    package(db, source_table, storage)
    assert waiting(db) == 30


def test_implausible_outcomes_of_several_days_are_held_together(
    db: Database, source_table: Source, storage: Storage
) -> None:
    """With few requests a day, the outcomes of one day are too few. All outcomes of open requests count."""
    given(db, [("no_data", 10)], finished_at=NOW - timedelta(days=2), prefix="old")
    given(db, [("no_data", 10)])
    assert package(db, source_table, storage) == 0
    assert waiting(db) == 20


async def test_an_operator_discards_outcomes(
    db: Database, source_table: Source, storage: Storage, stages: Stages
) -> None:
    """Discarded submissions are sent again. An event of each submission records the operator and the
    reason.
    """
    given(db, [("no_data", 20), ("failed", 5), ("rejected", 5)])
    assert package(db, source_table, storage) == 0
    assert decided(db, "batch discard_outcomes wrong key, mended") == 30
    reason = "decided by alice in run-7: the outcome is discarded, send again (wrong key, mended)"
    assert [event["reason"] for event in events(db)][-30:] == [reason] * 30
    assert set(states(db).values()) == {"planned"}
    assert (await stages.submit("batch")).submitted == 30
    assert waiting(db) == 0


def test_an_operator_confirms_outcomes(db: Database, source_table: Source, storage: Storage) -> None:
    """The requests close and are never held again. An event of each submission records the operator and
    reason.
    """
    ids = given(db, [("no_data", 25)])
    package(db, source_table, storage)
    assert decided(db, "batch confirm_outcomes a test list of unknown users") == 25
    reason = "decided by alice in run-7: the outcome is confirmed (a test list of unknown users)"
    confirmed = [event["submission"] for event in events(db) if event["reason"] == reason]
    assert sorted(confirmed) == sorted(ids)
    assert package(db, source_table, storage) == 25


def test_a_confirmed_outcome_is_not_held_while_its_request_is_open(
    db: Database, source_table: Source, storage: Storage
) -> None:
    """The request may stay open for weeks because of another account. The confirmed outcomes then are a
    part of the baseline for later outcomes.
    """
    slow_requests(db, 60)
    given(db, [("no_data", 1)], prefix="closes")
    assert package(db, source_table, storage) == 0
    assert decided(db, "batch confirm_outcomes checked with Batch") == 61
    given(db, [("no_data", 20)], prefix="later")
    assert package(db, source_table, storage) == 21
    assert waiting(db) == 0


def test_confirmed_outcomes_do_not_make_later_ones_implausible(
    db: Database, source_table: Source, storage: Storage
) -> None:
    """Confirmed outcomes are not counted again while their requests are open. No confirmed outcome is held
    again.
    """
    given(db, [("completed", 200)], closed=True, finished_at=NOW - timedelta(days=9), prefix="old")
    slow_requests(db, 25)
    given(db, [("no_data", 1)], prefix="closes")
    package(db, source_table, storage)
    assert decided(db, "batch confirm_outcomes checked") == 26
    given(db, [("no_data", 5)], prefix="few")
    assert package(db, source_table, storage) == 6
    given(db, [("no_data", 20)], prefix="wave")
    assert package(db, source_table, storage) == 0
    assert waiting(db) == 20


def test_a_decision_covers_only_what_waited_when_it_was_made(
    db: Database, source_table: Source, storage: Storage
) -> None:
    """If the run is cleared later, its decision does not apply to outcomes that came after the decision."""
    given(db, [("no_data", 20)], finished_at=NOW - timedelta(hours=2), prefix="old")
    given(db, [("no_data", 20)], finished_at=NOW, prefix="new")
    package(db, source_table, storage)
    assert decided(db, "batch confirm_outcomes checked", made_at=NOW - timedelta(hours=1)) == 20
    assert waiting(db) == 20
    with pytest.raises(ConfigurationError, match=r"id5 \(no outcome waits for an operator\)"):
        decided(db, "id5 confirm_outcomes checked")


def test_a_decision_on_outcomes_needs_a_reason() -> None:
    """The reason is necessary because the ledger keeps the decision for years."""
    for line in ("batch confirm_outcomes", "batch discard_outcomes "):
        with pytest.raises(ConfigurationError, match="confirm_outcomes <reason>"):
            Decision.parse(line)


def test_the_report_asks_for_a_decision_until_there_is_one(
    db: Database, source_table: Source, storage: Storage
) -> None:
    """Each report asks for the decision until there is one. The report does not suggest retry_failed,
    because the failed outcomes may be wrong.
    """
    given(db, [("failed", 20)])
    package(db, source_table, storage)
    for _ in range(2):
        report = Report(db, storage, NOW, ["batch"], connections={"batch": "batch_default"})
        (sentence,) = report.run()
        report.mark_reported()
        assert sentence.startswith("batch gave implausible outcomes for 20 requests")
        assert "batch discard_outcomes <reason>" in sentence
        assert "connection batch_default" in sentence


async def test_the_error_of_a_stage_is_not_replaced(db: Database, stages: Stages) -> None:
    """The outcomes are held even if the stage fails for another reason."""
    given(db, [("no_data", 25)])
    plan_each(db, "batch", "u1")
    with pytest.raises(DsarError, match="refused our credentials"):
        await stages.submit("batch", secret="wrong")
    assert waiting(db) == 25
