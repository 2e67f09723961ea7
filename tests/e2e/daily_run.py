"""Requests for a run of the whole stack, the result of the run, and checks of the result."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from include.sandbox import Job, SandboxSettings, Subject, decide
from tests.e2e.conftest import RunningStack

SETTINGS = SandboxSettings(min_seconds=2, max_seconds=6)
STATES = {"completed": "completed", "no_data": "no_data", "failed": "failed", "refused": "rejected"}
ALL = ("besitos", "batch", "id5", "attentive")


@dataclass(frozen=True)
class SourceRow:
    """A row of the source, with identifiers in the form that vendors must receive."""

    request_id: str
    action: str
    accounts: tuple[str, ...]
    user_id: str | None = None
    email: str | None = None
    phone: str | None = None
    advertising_id: str | None = None

    @property
    def values(self) -> set[str]:
        return {v for v in (self.user_id, self.email, self.phone, self.advertising_id) if v}

    def sent(self) -> dict[tuple[str, str], list[str]]:
        """Returns the values that each account must receive, by account and kind of identifier."""
        digest = self.email and hashlib.sha256(self.email.encode()).hexdigest()
        attentive = [value for value in (self.email, self.phone) if value]
        kinds = "+".join(kind for kind in ("email", "phone") if getattr(self, kind))
        possible = {
            ("besitos", "user_id"): [self.user_id],
            ("batch", "user_id"): [self.user_id],
            ("batch", "advertising_id"): [self.advertising_id],
            ("id5", "email"): [digest],
            ("id5", "advertising_id"): [self.advertising_id],
            ("attentive", kinds): attentive,
        }
        return {
            (account, kind): [value for value in values if value]
            for (account, kind), values in possible.items()
            if account in self.accounts
            and any(values)
            and (self.action == "erasure" or account in ("besitos", "batch"))
        }

    def expected(self) -> dict[tuple[str, str], str]:
        """Returns the expected final state of each submission, as the sandbox decides it."""
        return {
            (account, kind): STATES[decide(account, self.action, values, SETTINGS).outcome]
            for (account, kind), values in self.sent().items()
        }


@dataclass(frozen=True)
class RunResult:
    """The state of Airflow, source, ledger and sandbox after a run."""

    run_id: str
    state: str
    tasks: dict[str, str]
    source: dict[str, dict[str, Any]]
    submissions: dict[tuple[str, str, str], str]
    jobs: list[Job]
    now: float


def insert(stack: RunningStack, *rows: SourceRow) -> None:
    with psycopg.connect(stack.dsn) as db:
        for row in rows:
            db.execute(
                "INSERT INTO public.dsar_requests (regulation, received_at, request_id, request_type,"
                " accounts, user_id, email, phone, advertising_id)"
                " VALUES ('GDPR', now(), %s, %s, %s, %s, %s, %s, %s)",
                [row.request_id, row.action, list(row.accounts)]
                + [[v] if v else None for v in (row.user_id, row.email, row.phone, row.advertising_id)],
            )


def sandbox(stack: RunningStack, method: str, path: str, body: Any = None) -> Any:
    reply = httpx.request(
        method, f"{stack.sandbox_url}/_sandbox/{path}", json=body, trust_env=False, timeout=30
    ).raise_for_status()
    return reply.json() if reply.content else None


def result_of(stack: RunningStack, run_id: str, state: str) -> RunResult:
    with psycopg.connect(stack.dsn, row_factory=dict_row) as db:
        source = {row["request_id"]: row for row in db.execute("SELECT * FROM public.dsar_requests")}
        submissions = {
            (row["request_id"], row["account"], row["identity"]): row["state"]
            for row in db.execute(
                "SELECT r.request_id, s.account, s.identity, s.state "
                "FROM dsar.submission s JOIN dsar.request r ON r.id = s.request"
            )
        }
    jobs = [
        Job(**{**job, "subjects": tuple(Subject(**one) for one in job["subjects"])})
        for job in sandbox(stack, "GET", "jobs")
    ]
    now = sandbox(stack, "POST", "clock", {"advance": 0})["now"]
    return RunResult(run_id, state, stack.task_states(run_id), source, submissions, jobs, now)


def check_outcomes(result: RunResult, rows: Sequence[SourceRow]) -> None:
    """Check that every outcome in the ledger and every status in the source agrees with the sandbox's
    decision.
    """
    expected = {(row.request_id, *key): state for row in rows for key, state in row.expected().items()}
    assert {key: state for key, state in result.submissions.items() if state != "not_applicable"} == expected
    for row in rows:
        outcomes = set(row.expected().values())
        bad = outcomes & {"failed", "rejected"}
        status = "completed" if not bad else "failed" if outcomes == bad else "partial"
        assert result.source[row.request_id]["status"] == status, row.request_id


def expected_calls(rows: Sequence[SourceRow]) -> set[tuple[str, str]]:
    """Returns the (account, value) pairs that the sandbox must accept."""
    return {
        (account, value)
        for row in rows
        for (account, kind), values in row.sent().items()
        if row.expected()[account, kind] != "rejected"
        for value in values
    }


def check_files(stack: RunningStack, result: RunResult, rows: Sequence[SourceRow]) -> None:
    """Check that each request has a receipt and each access request has a package, and that their hashes
    match.
    """
    for row in rows:
        folder = stack.storage / "requests" / row.request_id
        receipt = json.loads((folder / "receipt.json").read_text())
        outcomes = {
            (account["account"], one["identity"]): one["outcome"]
            for account in receipt["accounts"]
            for one in account["submissions"]
            if one["outcome"] != "not_applicable"
        }
        assert outcomes == row.expected()
        assert receipt["status"] == result.source[row.request_id]["status"]
        package = folder / "package.zip"
        assert package.exists() == (row.action == "access")
        delivered = package if row.action == "access" else folder / "receipt.json"
        assert result.source[row.request_id]["export_uri"] == delivered.as_uri()
        if row.action == "access":
            check_package(package, receipt)
    assert not list((stack.storage / "work").glob("*"))


def check_package(package: Path, receipt: dict[str, Any]) -> None:
    with zipfile.ZipFile(package) as archive:
        assert archive.testzip() is None
        assert "index.html" in archive.namelist()
        manifest = json.loads(archive.read("manifest.json"))
        for file in manifest["files"]:
            assert hashlib.sha256(archive.read(file["path"])).hexdigest() == file["sha256"]
        files = [file for account in receipt["accounts"] for file in account["files"]]
        completed = [a for a in receipt["accounts"] if a["outcome"] == "completed"]
        assert len(files) >= len(completed)
        for file in files:
            assert hashlib.sha256(archive.read(file["path"])).hexdigest() == file["sha256"]


def identifiers(rows: Sequence[SourceRow]) -> list[str]:
    """Returns every identifier in the rows, and the hashes of e-mail addresses."""
    values = {value for row in rows for value in row.values} | {"zq7x"}
    hashes = {hashlib.sha256(value.encode()).hexdigest() for value in values if "@" in value}
    return sorted(values | hashes)


def process_logs(stack: RunningStack) -> list[Path]:
    """Returns all logs except the sandbox's."""
    return [file for file in stack.logs.rglob("*") if file.is_file() and file.name != "sandbox.log"]


def leaks(files: Sequence[Path], values: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the files that contain one of the values."""
    return [
        (file.name, value)
        for file in files
        for text in [file.read_text(errors="replace")]
        for value in values
        if value in text
    ]
