"""Intake runs may be repeated, limited, dry, stopped in the middle, or use retry_failed or another hash
key.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from include.dsar.accounts import VolumeLimit
from include.dsar.errors import SettingDiffers
from include.dsar.intake import source as source_module
from include.dsar.ledger import planning, staging
from include.dsar.ledger.database import Database
from tests.integration.conftest import Row
from tests.integration.intake.conftest import IntakeCase
from tests.integration.requests_given import NOW, RULES, events, put_into


def test_a_second_run_plans_nothing_twice(case: IntakeCase) -> None:
    """A row may still be pending although its request is in the ledger. Then intake only writes the status
    of the row again.
    """
    case.put(Row("r-1", user_id="u1"), Row("r-2", user_id="u2"))
    case.run()
    before = case.submissions
    case.change_source("UPDATE public.dsar_requests SET status = 'pending' WHERE request_id = 'r-2'")
    again = case.run()
    assert (again.rows, again.new, again.known) == (1, 0, 1)
    assert case.submissions == before
    assert case.in_source["r-2"]["status"] == "in_progress"


def test_only_the_given_requests_are_taken_in(case: IntakeCase) -> None:
    """Other rows stay unchanged, including invalid rows. A dry run counts only the given requests."""
    case.put(
        *(Row(f"r-{n}", user_id=f"u{n}", accounts=["batch"]) for n in range(3)), Row("../x", user_id="u")
    )
    case.run(request_ids=["r-0"])
    assert set(case.requests) == {"r-0"}
    assert [row["status"] for row in case.in_source.values()].count("pending") == 3
    dry = case.run(request_ids=["r-1"], dry_run=True)
    assert (dry.rows, dry.would_send) == (1, {"batch": {"erasure": 1}})


def test_a_dry_run_counts_exactly_and_changes_nothing(
    case: IntakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run counts new requests, planned submissions of earlier runs, and failed submissions to send
    again. After a real run, exactly these submissions are planned.
    """
    monkeypatch.setattr(source_module, "CHUNK_ROWS", 2)
    monkeypatch.setattr(staging, "ROWS_PER_TRANSACTION", 2)
    case.put(*(Row(n, user_id=n, accounts=["batch"]) for n in ("planned", "open-failed", "closed-failed")))
    case.run()
    case.end("open-failed", closed=False, state="failed")
    case.end("closed-failed", closed=True, state="failed")
    case.change_source("UPDATE public.dsar_requests SET status = 'failed' WHERE request_id = 'closed-failed'")
    case.put(*(Row(f"n-{n}", "access", user_id=f"n{n}", accounts=["batch", "besitos"]) for n in range(3)))
    case.put(Row("bad", user_id="\x07"), Row("id5", email="a@example.com", accounts=["id5"]))
    before = case.everything()
    dry = case.run(dry_run=True, retry_failed=True)
    assert case.everything() == before
    assert dry.would_send == {
        "batch": {"access": 3, "erasure": 3},
        "besitos": {"access": 3},
        "id5": {"erasure": 1},
    }
    real = case.run(retry_failed=True)
    assert planning.planned(case.db) == dry.would_send
    assert vars(real) == {**vars(dry), "would_send": {}}
    assert (real.new, real.reopened, real.invalid, real.retried) == (4, 1, 1, 1)


def test_intake_sends_what_is_urgent_although_it_is_on_hold(case: IntakeCase) -> None:
    """Otherwise a due date would pass while nobody answers."""
    case.put(*(Row(f"r-{n}", user_id=f"u{n}", accounts=["batch"]) for n in range(3)))
    limit = VolumeLimit(at_least=2, without_history=2)
    case.run(volume=limit)
    assert [s["is_held"] for s in case.submissions] == [True] * 3
    case.run(volume=limit, clock=lambda: case.submissions[0]["due_at"] - timedelta(days=3))
    assert [s["is_held"] for s in case.submissions].count(False) == 2


def test_retry_failed_plans_failed_submissions_again(case: IntakeCase) -> None:
    """The identifiers are read from the source again and matched by their hashes. An event has the reason."""
    case.put(Row("r-1", user_id=["a", "b"], email="x@example.com", accounts=["batch", "id5"]))
    case.run()
    one, two, mail = case.submissions
    put_into(case.db, [one["id"], mail["id"]], {"state": "completed", "attempts": 1, "finished_at": NOW})
    case.end("r-1", closed=True, state="failed", reason="the job failed")
    assert all(s["identifiers"] is None for s in case.submissions)
    case.change_source("UPDATE public.dsar_requests SET status = 'partial', user_id = ARRAY['b', 'a']")
    assert case.run().rows == 0
    again = case.run(retry_failed=True)
    assert (again.reopened, again.retried, again.known) == (1, 0, 0)
    after = case.submissions
    assert [s["state"] for s in after] == ["completed", "planned", "completed"]
    assert [s["identifiers"] for s in after] == [None, two["identifiers"], None]
    assert (case.requests["r-1"]["status"], case.requests["r-1"]["closed_at"]) == ("in_progress", None)
    assert case.in_source["r-1"]["status"] == "in_progress"
    (noted,) = events(case.db)
    assert (noted["leaves"], noted["enters"], noted["reason"]) == ("failed", "planned", planning.REASON_RETRY)


def test_only_the_given_requests_are_retried(case: IntakeCase) -> None:
    """The identifiers of a closed request are read from the source again. Other requests stay closed."""
    case.put(Row("r-1", user_id="a", accounts=["batch"]), Row("r-2", user_id="b", accounts=["batch"]))
    case.run()
    for name in ("r-1", "r-2"):
        case.end(name, closed=True, state="failed", reason="the job failed")
    case.change_source("UPDATE public.dsar_requests SET status = 'failed'")
    assert case.run(retry_ids=["r-2"]).reopened == 1
    assert {name: one["status"] for name, one in case.requests.items()} == {
        "r-1": "failed",
        "r-2": "in_progress",
    }
    assert {name: one["is_unresolved"] for name, one in case.requests.items()} == {"r-1": True, "r-2": False}
    assert [s["state"] for s in case.submissions] == ["failed", "planned"]
    assert {name: row["status"] for name, row in case.in_source.items()} == {
        "r-1": "failed",
        "r-2": "in_progress",
    }


def test_retry_failed_works_after_an_account_was_added(case: IntakeCase) -> None:
    """A new account does not change what the data subject asked for."""
    case.put(Row("r-1", user_id="a"))
    case.run(replace(RULES, accounts=RULES.accounts[:2]))
    case.end("r-1", closed=True, state="failed")
    case.change_source("UPDATE public.dsar_requests SET status = 'failed'")
    again = case.run(retry_failed=True)
    assert (again.reopened, again.changed) == (1, 0)


@pytest.mark.parametrize("retry_failed", [True, False])
@pytest.mark.parametrize("dry_run", [True, False])
def test_another_hash_key_is_refused_before_anything_is_planned(
    case: IntakeCase, retry_failed: bool, dry_run: bool
) -> None:
    """After the error, intake continues with the right key. The ledger does not contain the key."""
    case.put(Row("r-1", user_id="a"))
    case.run()
    case.put(Row("r-2", user_id="b"))
    before = case.everything()
    with pytest.raises(SettingDiffers, match="dsar_hash_key"):
        case.run(replace(RULES, hash_key=b"another"), retry_failed=retry_failed, dry_run=dry_run)
    assert case.everything() == before
    assert case.run().new == 1
    (remembered,) = case.db.execute("SELECT name, value FROM dsar.deployment").fetchall()
    assert remembered["name"] == "hash_key"
    assert RULES.hash_key.decode() not in remembered["value"]
    assert RULES.hash_key.hex() not in remembered["value"]


def test_a_dry_run_does_not_remember_its_hash_key(case: IntakeCase) -> None:
    """A real run after the dry run can use another key."""
    case.put(Row("r-1", user_id="a"))
    case.run(dry_run=True)
    assert case.run(replace(RULES, hash_key=b"another")).new == 1


def test_a_run_that_stops_in_the_middle_is_completed_by_the_next(
    case: IntakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that were planned before the stop have all their submissions. The next run plans the other
    requests.
    """
    monkeypatch.setattr(staging, "ROWS_PER_TRANSACTION", 2)
    case.put(*(Row(f"r-{n}", user_id=f"u{n}", accounts=["batch"]) for n in range(1, 6)))
    plan = planning.plan

    def plan_the_first_two(db: Database, numbers: range, **options: Any) -> Any:
        if numbers.start > 1:
            raise psycopg.OperationalError("the server stopped")
        return plan(db, numbers, **options)

    with monkeypatch.context() as patch:
        patch.setattr(planning, "plan", plan_the_first_two)
        with pytest.raises(psycopg.OperationalError):
            case.run()
    assert [s["request_id"] for s in case.submissions] == ["r-1", "r-2"]
    taken = case.run()
    assert (taken.rows, taken.new, taken.known) == (5, 3, 2)
    assert [s["request_id"] for s in case.submissions] == [f"r-{n}" for n in range(1, 6)]


def test_thousands_of_rows_are_planned_in_bulk(case: IntakeCase) -> None:
    """Intake plans thousands of rows in bulk. No statement runs once for each row."""
    case.change_source(
        "INSERT INTO public.dsar_requests (request_id, request_type, regulation, received_at, user_id)"
        " SELECT 'r-' || n, 'erasure', 'GDPR', now(), ARRAY['u' || n] FROM generate_series(1, 5000) n"
    )
    began = datetime.now(UTC)
    assert case.run().new == 5000
    assert datetime.now(UTC) - began < timedelta(seconds=20)
    assert len(case.submissions) == 4 * 5000
