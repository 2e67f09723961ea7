"""Requests pass through all stages without Airflow."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from datetime import UTC, datetime, timedelta

import pytest

from include.accounts import ACCOUNTS
from include.dsar.delivery.storage import Storage
from include.dsar.intake.source import Source
from include.dsar.ledger.database import Database
from include.dsar.stages.collect import collect
from include.dsar.stages.intake import Intake
from include.dsar.stages.package import Package
from include.dsar.stages.report import Report
from include.dsar.stages.submit import submit
from tests.integration.conftest import OpenWork, Row, put, source_rows, submissions
from tests.integration.requests_given import RULES
from tests.integration.stage_runs import Stages, poll


async def test_each_stage_logs_its_start_and_its_result(
    dsn: str,
    db: Database,
    source_table: Source,
    storage: Storage,
    stages: Stages,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log lines are in this order and contain counts."""
    caplog.set_level(logging.INFO, "include.dsar")
    put(dsn, Row("a-1", "access", user_id="u1", accounts=["batch"]))
    Intake(db, source_table, RULES).run()
    await stages.submit("batch")
    await stages.poll("batch")
    await stages.collect("batch")
    Package(db, source_table, storage).run()
    Report(db, storage, run_after=datetime.now(UTC), accounts=["batch"]).run()
    messages = iter([record.getMessage() for record in caplog.records])
    for expected in (
        "read 1 rows so far",
        "compared and planned 1 rows so far",
        "batch: 1 access to send; at most",
        "batch: submitted: 1",
        "batch: polling 1 open jobs",
        "batch: ended: 0, ready: 1",
        "batch: 1 results to collect",
        "batch: collected: 1",
        "package: 1 requests to close",
        "package: completed: 1",
        "report: writing the register of",
        "report: the register is in ",
    ):
        assert any(expected in line for line in messages), expected


async def test_every_kind_of_request_ends_as_the_sandbox_decides(
    dsn: str, db: Database, source_table: Source, storage: Storage, open_work: OpenWork
) -> None:
    """The source gets statuses, storage gets receipts and packages, and the ledger erases identifiers."""
    put(
        dsn,
        Row("a-1", "access", user_id="u1"),
        Row("a-2", "export", user_id=["u2", "unknown-2"], email="a@example.com"),
        Row("e-1", "erasure", user_id="u3", email=["b@example.com", "c@example.com"], phone="+12025550123"),
        Row("e-2", "delete", "ccpa", user_id="refused-4", email="d@example.com"),
        Row("e-3", "deletion", user_id="jobfails-batch", accounts=["batch"]),
        Row("x-1", "nonsense", user_id="u5"),
    )
    intake = Intake(db, source_table, RULES).run()
    assert (intake.new, intake.invalid) == (5, 1)
    assert source_rows(dsn)["x-1"]["status"] == "invalid"
    for account in ("besitos", "batch", "id5", "attentive"):
        async with open_work(account) as work:
            done = await submit(work)
            assert done.left == 0
            await poll(work)
            if account in ("besitos", "batch"):
                await collect(work, storage)
    assert submissions(db)["a-2", "besitos", "user_id"] in {"completed", "no_data"}
    delivered = Package(db, source_table, storage).run()
    rows = source_rows(dsn)
    assert {name: row["status"] for name, row in rows.items()} == {
        "a-1": "completed", "a-2": "completed", "e-1": "completed", "e-2": "partial", "e-3": "failed",
        "x-1": "invalid",
    }  # fmt: skip
    assert (delivered.completed, delivered.partial, delivered.failed) == (3, 1, 1)
    receipt = json.loads(storage.open("requests/e-1/receipt.json").read())
    assert [a["outcome"] for a in receipt["accounts"]] == ["completed"] * 4
    package = zipfile.ZipFile(io.BytesIO(storage.open("requests/a-1/package.zip").read()))
    assert "index.html" in package.namelist()
    assert not storage.exists("work/a-1")
    kept = db.execute("SELECT count(*) AS n FROM dsar.submission WHERE identifiers IS NOT NULL").fetchone()
    assert kept == {"n": 0}
    todo = Report(db, storage, datetime.now(UTC) - timedelta(minutes=5), [a.name for a in ACCOUNTS]).run()
    for sentence in (
        "The source has rows that cannot be accepted: 1 row (x-1: ",
        "batch failed for 1 request (e-3)",
        "besitos refused the identifiers of 1 request (e-2)",
        "id5 may hold data of 1 request (a-2) and was not asked",
        "attentive may hold data of 1 request (a-2) and was not asked",
    ):
        assert [one for one in todo if one.startswith(sentence)], sentence
