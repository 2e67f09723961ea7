"""The operators are run by `dag.test()`, with connections from the environment."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from include.accounts import ACCOUNTS
from include.dsar.accounts import OutcomeBreaker
from include.dsar.ledger import database
from include.dsar.ledger.database import Database
from include.sandbox import Sandbox
from tests.conftest import RunDaily, SetConnection
from tests.integration.conftest import Row, put, source_rows, submissions
from tests.integration.requests_given import plan, put_into, request, rows, submission

ROWS = (
    Row("a-1", "access", user_id="u1"),
    Row("e-1", "erasure", user_id="u2", email="b@example.com", phone="+12025550123"),
    Row("e-2", "erasure", "CCPA", user_id="u3", email="c@example.com"),
)


def statuses(dsn: str) -> dict[str, str]:
    return {name: row["status"] for name, row in source_rows(dsn).items()}


def sent(sandbox: Sandbox) -> dict[str, set[str]]:
    """Returns the values that each vendor received."""
    got: dict[str, set[str]] = {}
    for job in sandbox.jobs():
        got.setdefault(job.vendor, set()).update(job.values)
    return got


def test_a_run_delivers_the_answers_of_all_vendors(
    dsn: str, db: Database, deployment: Path, sandbox: Sandbox, run_daily: RunDaily
) -> None:
    """All tasks succeed. The source has every status, and storage has the receipts and packages."""
    put(dsn, *ROWS)
    ran = run_daily()
    assert {name for name, state in ran.states.items() if state != "success"} == {"approve_volume"}
    assert statuses(dsn) == dict.fromkeys(("a-1", "e-1", "e-2"), "completed")
    assert sent(sandbox)["besitos"] == {"u1", "u2", "u3"}
    assert sent(sandbox)["attentive"] == {"b@example.com", "+12025550123", "c@example.com"}
    assert sent(sandbox)["id5"] == {
        hashlib.sha256(email).hexdigest() for email in (b"b@example.com", b"c@example.com")
    }
    row = source_rows(dsn)["a-1"]
    package = deployment / "requests/a-1/package.zip"
    assert row["export_uri"] == package.as_uri()
    names = zipfile.ZipFile(package).namelist()
    assert any(name.startswith("data/besitos/") for name in names)
    receipt = json.loads((deployment / "requests/e-1/receipt.json").read_text())
    outcomes = {one["account"]: one["outcome"] for one in receipt["accounts"]}
    assert outcomes == {account.name: "completed" for account in ACCOUNTS}
    assert len(list((deployment / "register").glob("*.csv"))) == 1
    assert "nothing needs manual action" in ran.log


def test_a_second_run_sends_nothing_again(
    dsn: str, deployment: Path, sandbox: Sandbox, run_daily: RunDaily
) -> None:
    """The second run sends only the new request."""
    put(dsn, ROWS[0])
    run_daily(only="intake|besitos.*|batch.*|package")
    before = len(sandbox.jobs())
    put(dsn, Row("a-2", "access", user_id="u9"))
    ran = run_daily(only="intake|besitos.*|batch.*|package")
    assert set(ran.states.values()) == {"success"}
    assert [job.values for job in sandbox.jobs()[before:]] == [["u9"], ["u9"]]
    assert statuses(dsn) == {"a-1": "completed", "a-2": "completed"}


def test_a_dry_run_prints_counts_and_sends_nothing(
    dsn: str, db: Database, deployment: Path, sandbox: Sandbox, run_daily: RunDaily
) -> None:
    """The log has the counts of each account. Source and ledger stay unchanged."""
    put(dsn, *ROWS)
    ran = run_daily(dry_run=True, decisions=["e-1 id5 send_again"])
    assert ran.states.pop("intake") == "success"
    assert "dry run: 1 decision is not applied" in ran.log
    assert set(ran.states.values()) == {"skipped"}
    assert "besitos would be sent: 1 access, 2 erasure" in ran.log
    assert "id5 would be sent: 2 erasure" in ran.log
    assert sandbox.jobs() == []
    assert submissions(db) == {}
    assert set(statuses(dsn).values()) == {"pending"}
    assert not deployment.exists()


def test_a_dry_run_with_a_failed_intake_fails(dsn: str, deployment: Path, run_daily: RunDaily) -> None:
    """The last task of the dry run fails, so Airflow counts the run as failed."""
    ran = run_daily(dry_run=True, request_ids=["r-9"])
    assert (ran.states["intake"], ran.states["report"]) == ("failed", "failed")
    assert "Task intake failed" in ran.log


def test_a_dry_run_counts_only_the_chosen_accounts_and_requests(
    dsn: str, deployment: Path, run_daily: RunDaily
) -> None:
    put(dsn, *ROWS)
    ran = run_daily(only="intake", dry_run=True, accounts=["besitos"], request_ids=["e-1", "e-2"])
    assert "besitos would be sent: 2 erasure" in ran.log
    assert "batch would be sent" not in ran.log


def test_a_run_limited_to_an_account_leaves_the_others_for_later(
    dsn: str, db: Database, deployment: Path, sandbox: Sandbox, run_daily: RunDaily
) -> None:
    """The tasks of the other accounts are skipped, and their submissions stay planned."""
    put(dsn, *ROWS)
    ran = run_daily(accounts=["id5"])
    of_accounts = {name: state for name, state in ran.states.items() if "." in name}
    assert {name for name, state in of_accounts.items() if state == "success"} == {
        "id5.submit", "id5.await_completion"
    }  # fmt: skip
    assert set(of_accounts.values()) == {"success", "skipped"}
    assert set(sent(sandbox)) == {"id5"}
    assert {state for (_, account, _), state in submissions(db).items() if account == "besitos"} == {
        "planned"
    }
    assert statuses(dsn)["e-1"] == "in_progress"


@pytest.mark.parametrize("dry_run", [True, False])
def test_unknown_request_ids_are_named_and_fail_intake(
    dsn: str, deployment: Path, run_daily: RunDaily, dry_run: bool
) -> None:
    """A dry run with an unknown request id fails too. The requests that exist are processed."""
    put(dsn, ROWS[1])
    ran = run_daily(only="intake", dry_run=dry_run, request_ids=["e-1", "e-9", "E-1"])
    assert ran.states["intake"] == "failed"
    assert "these request_ids are neither pending in the source nor in the ledger: E-1, e-9." in ran.log
    assert statuses(dsn) == {"e-1": "pending" if dry_run else "in_progress"}


def test_a_run_limited_to_requests_changes_no_other(
    dsn: str, deployment: Path, sandbox: Sandbox, run_daily: RunDaily
) -> None:
    """The run sends, polls and closes no other request, whether the other request is new or open."""
    put(dsn, ROWS[1])
    run_daily(only="intake")
    put(dsn, ROWS[0], ROWS[2])
    run_daily(request_ids=["e-2"])
    assert sent(sandbox)["besitos"] == {"u3"}
    assert statuses(dsn) == {"a-1": "pending", "e-1": "in_progress", "e-2": "completed"}


WRONG = {
    "no partner_id": (
        {"extra": {"partner_id": ""}}, "connection besitos_default: partner_id is missing in Extra"),
    "refused password": (
        {"password": "wrong"}, "Fix the secret in Password of connection besitos_default"),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_connection_fails_without_a_retry(
    fields: dict[str, Any], sentence: str, dsn: str, db: Database, deployment: Path,
    set_connection: SetConnection, run_daily: RunDaily,
) -> None:  # fmt: skip
    """The log names the connection and says what to fix. No call is made."""
    put(dsn, *ROWS)
    set_connection("besitos", **fields)
    ran = run_daily(only="intake|besitos.submit|report", retries=3)
    assert (ran.states["besitos.submit"], ran.tries["besitos.submit"]) == ("failed", 1)
    assert sentence in ran.log
    assert "Task besitos.submit failed" in ran.log
    tried = db.execute("SELECT sum(attempts) AS n FROM dsar.submission").fetchone()
    assert tried == {"n": 0}


def test_a_changed_hash_key_is_retried_and_named(
    dsn: str, db: Database, deployment: Path, run_daily: RunDaily, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the secrets backend is unavailable, the key seems to have changed, because the variable is
    missing. No request is planned, and the task is retried.
    """
    monkeypatch.setenv("AIRFLOW_VAR_DSAR_HASH_KEY", "the-key-marker")
    put(dsn, ROWS[0])
    run_daily(only="intake")
    before = submissions(db)
    put(dsn, ROWS[1])
    monkeypatch.delenv("AIRFLOW_VAR_DSAR_HASH_KEY")
    ran = run_daily(only="intake", retries=1)
    assert (ran.states["intake"], ran.tries["intake"]) == ("failed", 2)
    assert "Variable dsar_hash_key is not the key of this ledger's hashes" in ran.log
    assert submissions(db) == before
    monkeypatch.setenv("AIRFLOW_VAR_DSAR_HASH_KEY", "the-key-marker")
    assert run_daily(only="intake").states["intake"] == "success"
    assert len(submissions(db)) > len(before)


def test_one_failed_account_does_not_stop_the_others(
    dsn: str, deployment: Path, sandbox: Sandbox, set_connection: SetConnection, run_daily: RunDaily
) -> None:
    """One failed account does not stop the others. After the connection of this account is fixed, its tasks
    run again and its requests are delivered.
    """
    put(dsn, *ROWS, Row("only-id5", email="d@example.com", accounts=["id5"]))
    set_connection("batch", password="wrong")
    ran = run_daily()
    assert {name for name, state in ran.states.items() if state == "failed"} == {"batch.submit", "report"}
    assert statuses(dsn) == {
        "a-1": "in_progress", "e-1": "in_progress", "e-2": "in_progress", "only-id5": "completed"
    }  # fmt: skip
    set_connection("batch")
    ran = run_daily(only=r"batch\..*|package|report")
    assert set(ran.states.values()) == {"success"}
    assert set(statuses(dsn).values()) == {"completed"}
    assert len([job for job in sandbox.jobs() if job.vendor == "id5"]) == 3


def test_the_report_says_what_an_operator_must_do(dsn: str, deployment: Path, run_daily: RunDaily) -> None:
    """The task fails without a retry. Its log has a sentence for each required action."""
    put(
        dsn,
        Row("e-1", user_id="refused-1", accounts=["besitos"]),
        Row("e-2", user_id="jobfails-2", accounts=["batch"]),
        Row("x-1", "nonsense", user_id="u"),
    )
    ran = run_daily(only="intake|besitos.*|batch.*|package|report", retries=3)
    assert {name: state for name, state in ran.states.items() if state != "success"} == {"report": "failed"}
    assert ran.tries["report"] == 1
    assert "besitos refused the identifiers of 1 request (e-1)" in ran.log
    assert "batch failed for 1 request (e-2)" in ran.log
    assert "The source has rows that cannot be accepted: 1 row (x-1: unknown request_type" in ran.log


def test_a_failure_is_reported_until_it_is_acknowledged(
    dsn: str, deployment: Path, run_daily: RunDaily
) -> None:
    """Each report fails because of the failure. This ends when an operator gives an acknowledgement without
    an end.
    """
    put(dsn, Row("e-2", user_id="jobfails-2", accounts=["batch"]))
    assert set(run_daily(only="intake|batch.*|package").states.values()) == {"success"}
    for _ in range(2):
        ran = run_daily(only="report")
        assert "batch failed for 1 request (e-2)" in ran.log
        assert ran.states["report"] == "failed"
    ran = run_daily(only="intake|report", decisions=["e-2 acknowledge always answered by post"])
    assert set(ran.states.values()) == {"success"}


def test_package_keeps_the_limits_of_the_account(
    db: Database, deployment: Path, run_daily: RunDaily, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One outcome without data waits for an operator, because the settings of its account say so."""
    strict = [replace(account, breaker=OutcomeBreaker(min_count=1)) for account in ACCOUNTS]
    monkeypatch.setattr("include.accounts.ACCOUNTS", strict)
    plan(db, request("r-1", submission("u1", "batch")))
    put_into(db, [rows(db)[0]["id"]], {"state": "no_data", "finished_at": datetime.now(UTC)})
    assert run_daily(only="package").states["package"] == "success"
    assert rows(db)[0]["is_unconfirmed"]


def test_rows_that_share_a_request_id_are_reported(dsn: str, deployment: Path, run_daily: RunDaily) -> None:
    """Equal rows are harmless. Rows that differ are invalid."""
    with database.connect(dsn) as source:
        source.execute("ALTER TABLE public.dsar_requests DROP CONSTRAINT dsar_requests_pkey")
    put(dsn, ROWS[0], ROWS[0], ROWS[1], Row("e-1", "erasure", user_id="somebody else"))
    ran = run_daily(only="intake|report")
    assert "The source has 1 row with the request_id and content of an earlier row" in ran.log
    assert (
        "The source has rows that cannot be accepted: 1 row (e-1: the source has this request_id" in ran.log
    )
    assert "somebody else" not in ran.log
