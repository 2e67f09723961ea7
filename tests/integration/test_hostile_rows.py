"""Hostile rows pass through the whole pipeline and do no harm. All other rows are processed."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from include.accounts import ACCOUNTS
from include.dsar.delivery.storage import Storage
from include.dsar.intake.source import Source
from include.dsar.ledger.database import Database
from include.dsar.stages.intake import Intake
from include.dsar.stages.package import Package
from include.dsar.stages.report import Report
from tests.integration.conftest import LISTS, source_rows
from tests.integration.requests_given import RULES
from tests.integration.stage_runs import Stages

LONG = 1_000_000
UNSAFE_IDS = [
    "../../../etc/cron.d/x", "/etc/passwd", "..", ".", "", " ", "a/b", "a\\b", "..%2fx", "a\nb", "a\tb",
    "\x1b[2J", "=1+1", "-rf", ".hidden", "<script>", "'; DROP TABLE dsar.request; --", "x" * LONG, "é", "ａ",
    "a b ", "a\u202eb",
]  # fmt: skip
UNSAFE_VALUES = [
    "x" * LONG,
    "a\x07b",
    "a\nb",
    "a\u2028b",
    '["\\ud800"]',
    '["a", "\\udfff"]',
    '["\\u0000"]',
    "[1",
]
ODD_VALUES = [  # valid, because user ids may hold any text
    "'; DROP TABLE dsar.submission; --", '"; DELETE FROM public.dsar_requests; --', "%(id)s %s :status",
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "{% raw %}",
    "${jndi:ldap://x}",
    "=HYPERLINK(\"https://evil.example\")", "+1+cmd|' /C calc'!A0", "@SUM(1+1)", "-2+3", "\u202egpj.exe",
    "../../../../tmp/harm", "/etc/passwd", "u1?admin=1#x", "a/../b", "a%00b", "null",
    "undefined", "𝕏" * 100,
]  # fmt: skip
SCRIPT = re.compile(r"<script|<img|javascript:", re.IGNORECASE)
FORMULA = re.compile(r"[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)*")


async def test_hostile_rows_do_no_harm(
    dsn: str,
    db: Database,
    source_table: Source,
    storage: Storage,
    stages: Stages,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Unsafe rows are invalid with a reason. Odd but valid rows are processed as usual."""
    caplog.set_level(logging.DEBUG)
    _loosen(dsn)
    rows = [("good-access", "access", "u1"), ("good-erasure", "erasure", "u2")]
    rows += [(request_id, "erasure", "u3") for request_id in UNSAFE_IDS]
    rows += [(f"bad-{n}", "access", value) for n, value in enumerate(UNSAFE_VALUES)]
    rows += [(f"odd-{n}", "access", value) for n, value in enumerate(ODD_VALUES)]
    rows += [("type-1", "<script>" * 1000, "u4"), ("type-2", "access\x0b'; --", "u5")]
    with psycopg.connect(dsn) as source:
        source.cursor().executemany(
            "INSERT INTO public.dsar_requests (request_id, request_type, regulation, received_at, user_id)"
            " VALUES (%s, %s, 'GDPR', '2026-11-01', %s)",
            rows,
        )

    intake = Intake(db, source_table, RULES).run()
    for account in ("besitos", "batch"):
        await stages.submit(account)
        await stages.poll(account, seconds=20)
        await stages.collect(account)
    Package(db, source_table, storage).run()
    Report(db, storage, datetime.now(UTC) - timedelta(minutes=5), [a.name for a in ACCOUNTS]).run()

    told = source_rows(dsn)
    served = {"good-access", "good-erasure", *(f"odd-{n}" for n in range(len(ODD_VALUES)))}
    assert {name for name, row in told.items() if row["status"] == "completed"} == served
    assert {row["status"] for name, row in told.items() if name not in served} == {"invalid"}
    assert intake.invalid == len(rows) - len(served)
    hostile = [value for value in (*UNSAFE_VALUES, *ODD_VALUES, *UNSAFE_IDS) if len(value) > 4]
    for reason in filter(None, (row["status_reason"] for row in told.values())):
        assert len(reason) < 200 and not any(value in reason for value in hostile)
    assert not [value for value in hostile if value in caplog.text]

    root = tmp_path / "storage"
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    expected = {f"requests/{name}/receipt.json" for name in served}
    expected |= {f"requests/{name}/package.zip" for name in served - {"good-erasure"}}
    assert {name for name in files if not name.startswith("register/")} == expected
    assert {path.name for path in tmp_path.iterdir()} == {"storage"}
    for name in sorted(served - {"good-erasure"}):
        _is_harmless(root / "requests" / name / "package.zip")
    for register in root.glob("register/*.csv"):
        _cells_are_harmless(register.read_text())


def _loosen(dsn: str) -> None:
    """Changes the source so that it accepts everything: text in every column, and no key."""
    with psycopg.connect(dsn) as source:
        source.execute("ALTER TABLE public.dsar_requests DROP CONSTRAINT dsar_requests_pkey")
        for column in sorted(LISTS):
            source.execute(
                sql.SQL("ALTER TABLE public.dsar_requests ALTER COLUMN {} TYPE text").format(
                    sql.Identifier(column)
                )
            )


def _is_harmless(path: Path) -> None:
    with zipfile.ZipFile(path) as package:
        page = package.read("index.html").decode()
        assert not SCRIPT.search(re.sub(r"&lt;\w+", "", page)), "a value is markup"
        for name in package.namelist():
            assert re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", name) and ".." not in name
            if name.endswith(".csv"):
                _cells_are_harmless(package.read(name).decode("utf-8-sig"))
            if name.endswith(".json"):
                json.loads(package.read(name))


def _cells_are_harmless(text: str) -> None:
    for row in csv.reader(io.StringIO(text)):
        for cell in row:
            assert not FORMULA.match(cell) or NUMBER.fullmatch(cell), f"a spreadsheet would calculate {cell}"
