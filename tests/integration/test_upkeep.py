"""The weekly DAG compares the API of each account. The board and the daily report show the results."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow.sdk import TriggerRule

from include.accounts import ACCOUNTS
from include.dsar.accounts import Account
from include.dsar.delivery.storage import Storage
from include.dsar.ledger.database import Database
from include.dsar.ledger.reply_shapes import ContractCheck, checks, put_check
from include.dsar.stages.report import Report
from include.sandbox import Sandbox
from tests.conftest import Ran

if TYPE_CHECKING:
    from airflow.sdk import DAG

RunUpkeep = Callable[..., Ran]
NAMES = [account.name for account in ACCOUNTS]


def test_it_runs_weekly_beside_the_daily_run(upkeep: DAG, daily: DAG) -> None:
    """The daily run begins at midnight. One run is active at a time, and a run that hangs ends."""
    assert upkeep.timetable.expression == "0 12 * * 0"
    assert (upkeep.max_active_runs, upkeep.catchup) == (1, False)
    assert upkeep.allowed_run_types == daily.allowed_run_types
    limits = [task.execution_timeout for task in upkeep.tasks]
    assert all(limits) and sum(limits, timedelta()) < upkeep.dagrun_timeout


def test_the_summary_follows_the_probes_of_all_accounts(upkeep: DAG) -> None:
    probe, summary = upkeep.get_task("probe_contract"), upkeep.get_task("summary")
    assert probe.is_mapped
    assert probe.downstream_task_ids == {"summary"}
    assert summary.trigger_rule == TriggerRule.ALL_DONE


def test_an_api_that_did_not_change_is_green(deployment: Path, run_upkeep: RunUpkeep, db: Database) -> None:
    """The DAG needs no earlier run of the daily DAG."""
    ran = run_upkeep()
    assert set(ran.states.values()) == {"success"}
    assert len(ran.states) == len(ACCOUNTS) + 1
    assert {check.account: check.drift for check in checks(db, NAMES)} == {name: [] for name in NAMES}
    assert "upkeep: nothing needs manual action" in ran.log


def test_one_red_account_does_not_stop_the_others(
    deployment: Path,
    run_upkeep: RunUpkeep,
    sandbox: Sandbox,
    db: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing connection and a changed API each make one account red. The summary names each of these two
    faults once.
    """
    monkeypatch.delenv("AIRFLOW_CONN_BESITOS_DEFAULT")
    sandbox.inject("status", vendor="id5", route="status", status=405, times=None)
    put_check(db, ContractCheck("besitos", datetime.now(UTC) - timedelta(days=7), ["an old difference"]))
    ran = run_upkeep()
    red = {NAMES.index("besitos"), NAMES.index("id5")}
    states = {f"probe_contract[{n}]": "failed" if n in red else "success" for n in range(len(NAMES))}
    assert ran.states == {**states, "summary": "failed"}
    assert "connection besitos_default does not exist or cannot be read. Create it in Admin" in ran.log
    summary = ran.log.rpartition("An operator must act:")[2]
    assert "- Task probe_contract of besitos failed. Fix what its log says" in summary
    assert "- The API of id5 (connection id5_default) differs" in summary
    assert "Route status: HTTP 405 is new" in summary
    assert "probe_contract of id5" not in summary
    assert "an old difference" not in summary


@pytest.mark.parametrize(
    "dags", [{"ACCOUNTS": (Account("ios", "batch", "batch_default", shards=4),)}], indirect=True
)
def test_an_account_with_shards_has_one_probe(
    deployment: Path, run_upkeep: RunUpkeep, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = (Account("ios", "batch", "batch_default", shards=4),)
    monkeypatch.setattr("dsar_airflow.connections.accounts.ACCOUNTS", accounts)
    ran = run_upkeep()
    assert ran.states == {"probe_contract[0]": "success", "summary": "success"}
    assert sandbox.calls()["batch"] == {"status": 1, "list": 1}


def report(db: Database, storage: Storage, at: datetime) -> list[str]:
    one = Report(db, storage, at, ["batch", "id5"], connections={"id5": "id5_default"}, clock=lambda: at)
    sentences = one.run()
    one.mark_reported()
    return sentences


def test_the_report_lists_drift(db: Database, storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    """The first report after the check asks an operator to act. Later reports only list the difference in
    their log.

    A check of an account that was removed does not count.
    """
    now = datetime.now(UTC)
    put_check(db, ContractCheck("batch", now, []))
    put_check(db, ContractCheck("gone", now, ["Route status: the field id is missing"]))
    put_check(db, ContractCheck("id5", now, ["Route status: the field id is missing"]))
    sentence = "The API of id5 (connection id5_default) differs from what this version expects. "
    (found,) = report(db, storage, now + timedelta(hours=1))
    assert found.startswith(f"{sentence}Route status: the field id is missing. Compare this")
    assert report(db, storage, now + timedelta(days=1)) == []
    assert f"reported before: {sentence}" in caplog.text
    put_check(db, ContractCheck("id5", now + timedelta(days=1, hours=1), ["Route status: HTTP 405 is new"]))
    assert len(report(db, storage, now + timedelta(days=2))) == 1
