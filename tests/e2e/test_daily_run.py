"""Two runs of `dsar_daily` with a real scheduler, triggerer and API server; every submission is checked.

The fixtures are the runs in their order. `first`: its triggerer is killed while tasks are deferred. `second`:
it continues the first, and Batch rejects our credentials. `cleared`: the second run after its failed task is
cleared.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from include.sandbox import Job, SandboxSettings, Subject, decide
from include.stack import postgres
from include.stack.environment import METADATA_DATABASE
from tests.e2e.conftest import RunningStack
from tests.e2e.drill import wait_for

SECRET = "sandbox-secret"
SETTINGS = SandboxSettings(min_seconds=2, max_seconds=6)
STATES = {"completed": "completed", "no_data": "no_data", "failed": "failed", "refused": "rejected"}
CLOSED = {"completed", "partial", "failed"}


def email_whose_hash_ends_with(digits: str) -> str:
    """ID5 receives hashes. The sandbox reacts to the last digits of a hash."""
    for n in count():
        email = f"zq7x.hash{n}@example.org"
        if hashlib.sha256(email.encode()).hexdigest().endswith(digits):
            return email
    raise AssertionError


@dataclass(frozen=True)
class SourceRow:
    """A row of the source. Its identifiers are in the form that vendors must receive."""

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
        """The values that each account must receive, by account and kinds of identifiers."""
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
        """The expected final state of each submission, as the sandbox decides it."""
        return {
            (account, kind): STATES[decide(account, self.action, values, SETTINGS).outcome]
            for (account, kind), values in self.sent().items()
        }


ALL = ("besitos", "batch", "id5", "attentive")
ROWS = [
    *[
        SourceRow(f"acc-{n}", "access", ALL, user_id=f"zq7x-acc-{n}{mark}", email=f"zq7x.acc{n}@example.com")
        for n, mark in enumerate(["", "", "-unknown", "-jobfails", ""])
    ],
    *[
        SourceRow(
            f"era-{n}", "erasure", ALL,
            user_id=f"zq7x-era-{n}{mark}", email=f"zq7x.era{n}@example.com", phone=f"+1202555{n:04}",
            advertising_id=f"0f0e0d0c-77aa-4bbb-8ccc-{n:012x}",
        )
        for n, mark in enumerate(["", "", "", "-refused", "-jobfails", "-unknown", "-slow", ""])
    ],
    *[
        SourceRow(f"id5-{n}", "erasure", ("id5",), email=email_whose_hash_ends_with(digits))
        for n, digits in enumerate(["dead", "fa11", "bad0"])
    ],
    SourceRow("att-0", "erasure", ("attentive",), email="zq7x.slow.att@example.net", phone="+12025559999"),
    SourceRow("att-1", "erasure", ("attentive",), phone="+12025559998"),
]  # fmt: skip
LATE = SourceRow("late", "erasure", ("batch", "id5"), user_id="zq7x-late", email="zq7x.late@example.com")
INVALID = {"bad-0": ("erasure", None), "bad-1": ("nonsense", "zq7x-bad-1")}


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


def triggers(stack: RunningStack) -> list[dict[str, Any]]:
    """Each trigger in Airflow's database. Airflow stores its arguments in clear text."""
    with psycopg.connect(postgres.url(stack.stack.home, "airflow"), row_factory=dict_row) as db:
        return db.execute("SELECT classpath, kwargs, triggerer_id FROM trigger").fetchall()


@pytest.fixture(scope="module")
def seen_triggers() -> list[dict[str, Any]]:
    return []


@pytest.fixture(scope="module")
def first(stack: RunningStack, seen_triggers: list[dict[str, Any]]) -> RunResult:
    """A run with a triggerer that is killed while tasks are deferred."""
    insert(stack, *ROWS)
    with psycopg.connect(stack.dsn) as db:
        for request_id, (kind, user) in INVALID.items():
            db.execute(
                "INSERT INTO public.dsar_requests (regulation, received_at, request_id, request_type,"
                " user_id) VALUES ('GDPR', now(), %s, %s, %s)",
                [request_id, kind, [user] if user else None],
            )
    run_id = stack.trigger({"await_minutes": 1})

    # Both have a job that takes an hour, so they stay deferred for the whole minute.
    slow = {f"{account}.await_completion" for account in ("besitos", "batch")}

    def both_deferred() -> bool:
        seen_triggers.extend(triggers(stack))
        deferred = {name for name, state in stack.task_states(run_id).items() if state == "deferred"}
        return deferred >= slow and all(one["triggerer_id"] for one in triggers(stack))

    wait_for("two deferred tasks", 120, both_deferred)
    stack.stack.processes.kill("triggerer")
    stack.stack.processes.restart_ended()
    return result_of(stack, run_id, stack.wait(run_id, 200))


@pytest.fixture(scope="module")
def second(stack: RunningStack, first: RunResult) -> RunResult:
    """Two hours later the slow jobs have ended. Batch rejects our credentials for new requests."""
    sandbox(stack, "POST", "clock", {"advance": 7200})
    sandbox(
        stack, "POST", "faults",
        {"kind": "status", "vendor": "batch", "route": "create", "status": 401, "times": None},
    )  # fmt: skip
    insert(stack, LATE)
    run_id = stack.trigger({"await_minutes": 1})
    return result_of(stack, run_id, stack.wait(run_id, 150))


@pytest.fixture(scope="module")
def cleared(stack: RunningStack, second: RunResult) -> RunResult:
    """The second run after its failed task and the downstream tasks were cleared."""
    sandbox(stack, "DELETE", "faults")
    stack.api(
        "POST", "/dags/dsar_daily/clearTaskInstances",
        {"dry_run": False, "dag_run_id": second.run_id, "task_ids": ["batch.submit"],
         "include_downstream": True, "only_failed": False},
    )  # fmt: skip
    wait_for(
        "the cleared run", 30, lambda: stack.stack.api.run_state("dsar_daily", second.run_id) != "failed"
    )
    return result_of(stack, second.run_id, stack.wait(second.run_id, 150))


def test_a_run_survives_a_killed_triggerer(first: RunResult) -> None:
    """Only the report fails, because an operator must look at invalid rows and failed jobs."""
    assert {name: state for name, state in first.tasks.items() if state != "success"} == {"report": "failed"}
    assert first.state == "failed"


def test_after_the_first_run_every_submission_matches_its_job(first: RunResult) -> None:
    """It has the sandbox's outcome if the job has ended. Otherwise it is open. None is missing."""
    jobs = {(job.vendor, value): job for job in first.jobs for value in job.values}
    assert set(first.submissions) >= {
        (row.request_id, *key) for row in ROWS for key in row.sent()
    }  # fmt: skip
    carried_over = 0
    for row in ROWS:
        for (account, kind), values in row.sent().items():
            state, job = first.submissions[row.request_id, account, kind], jobs.get((account, values[0]))
            expected = row.expected()[account, kind]
            if state in ("planned", "submitted"):
                failed_with_others = job is not None and job.outcome == "failed" and len(job.subjects) > 1
                assert failed_with_others or (job is not None and job.ends_at > first.now)
                carried_over += 1
            else:
                assert state == expected, (row.request_id, account, kind)
                assert (job is None) == (state == "rejected")
    assert carried_over >= 4


def test_the_source_has_the_status_of_each_request(first: RunResult) -> None:
    """Open requests are in_progress. Invalid rows have a reason. All others have a due date."""
    for row in ROWS:
        states = {state for (request, _, _), state in first.submissions.items() if request == row.request_id}
        written = first.source[row.request_id]
        assert (written["status"] == "in_progress") == bool(states & {"planned", "submitted"})
        assert written["due_at"] is not None
        assert (written["closed_at"] is not None) == (written["status"] in CLOSED)
    for request_id in INVALID:
        assert first.source[request_id]["status"] == "invalid"
        assert first.source[request_id]["status_reason"]


def test_trigger_arguments_contain_no_identifier_and_no_secret(
    seen_triggers: list[dict[str, Any]], first: RunResult
) -> None:
    """There is one trigger per account, for any number of jobs."""
    assert len({one["kwargs"] for one in seen_triggers}) in (2, 3, 4)
    for one in seen_triggers:
        assert one["classpath"] == "dsar_airflow.triggers.PollTrigger"
        assert not [value for value in identifiers() if value in one["kwargs"]]
        assert SECRET not in one["kwargs"]


def test_the_second_run_continues_the_first(second: RunResult) -> None:
    """Rejected credentials fail one task of one account. The other accounts' requests are delivered."""
    red = {name for name, state in second.tasks.items() if state != "success"}
    assert red == {"batch.submit", "report"}
    assert second.submissions["late", "id5", "email"] == "completed"
    assert second.submissions["late", "batch", "user_id"] == "planned"
    assert {name for name, row in second.source.items() if row["status"] == "in_progress"} == {"late"}


def test_clearing_the_failed_task_finishes_the_rest(cleared: RunResult) -> None:
    """The task succeeds and its request is closed. The report still fails, for the failed jobs."""
    assert {name: state for name, state in cleared.tasks.items() if state != "success"} == {
        "report": "failed"
    }
    assert cleared.source["late"]["status"] == "completed"


def test_every_final_outcome_is_the_sandboxs_decision(cleared: RunResult) -> None:
    """No request is lost, and no outcome differs from the vendor's reply."""
    expected = {
        (row.request_id, *key): state for row in [*ROWS, LATE] for key, state in row.expected().items()
    }
    assert {key: state for key, state in cleared.submissions.items() if state != "not_applicable"} == expected
    for row in [*ROWS, LATE]:
        outcomes = set(row.expected().values())
        bad = outcomes & {"failed", "rejected"}
        status = "completed" if not bad else "failed" if outcomes == bad else "partial"
        assert cleared.source[row.request_id]["status"] == status, row.request_id


def test_nothing_is_sent_twice_or_to_the_wrong_account(cleared: RunResult) -> None:
    """Only a failed batch is sent again. No account receives an identifier that it does not hold."""
    sent = Counter(
        (job.vendor, value)
        for job in cleared.jobs
        for value in job.values
        if not (job.vendor == "besitos" and job.outcome == "failed")
    )
    expected = {
        (account, value)
        for row in [*ROWS, LATE]
        for (account, kind), values in row.sent().items()
        if row.expected()[account, kind] != "rejected"
        for value in values
    }
    again = {(v, value) for v, value in expected if v == "besitos" and "jobfails" in value}
    assert set(sent) == expected - again
    assert set(sent.values()) == {1}


def test_receipts_and_packages_are_complete(stack: RunningStack, cleared: RunResult) -> None:
    """Each closed request has a receipt. Each access has a package with the documented hashes."""
    for row in [*ROWS, LATE]:
        folder = stack.storage / "requests" / row.request_id
        receipt = json.loads((folder / "receipt.json").read_text())
        outcomes = {
            (account["account"], one["identity"]): one["outcome"]
            for account in receipt["accounts"]
            for one in account["submissions"]
            if one["outcome"] != "not_applicable"
        }
        assert outcomes == row.expected()
        assert receipt["status"] == cleared.source[row.request_id]["status"]
        package = folder / "package.zip"
        assert package.exists() == (row.action == "access")
        delivered = package if row.action == "access" else folder / "receipt.json"
        assert cleared.source[row.request_id]["export_uri"] == delivered.as_uri()
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


def test_the_api_rejects_invalid_params(stack: RunningStack, cleared: RunResult) -> None:
    """It checks the Params' schemas before a run starts."""
    for conf in ({"accounts": ["nosuch"]}, {"request_ids": ["../x"]}, {"await_minutes": -1}):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            stack.trigger(conf)
        assert refused.value.response.status_code == 400


def identifiers() -> list[str]:
    """Every identifier in the source, and the hashes of e-mails."""
    values = {value for row in [*ROWS, LATE] for value in row.values} | {"zq7x"}
    hashes = {hashlib.sha256(value.encode()).hexdigest() for value in values if "@" in value}
    return sorted(values | hashes)


def test_no_log_contains_an_identifier_or_a_secret(stack: RunningStack, cleared: RunResult) -> None:
    """This covers tasks, triggers and every process of Airflow."""
    files = [file for file in stack.logs.rglob("*") if file.is_file() and file.name != "sandbox.log"]
    assert len([file for file in files if "attempt=" in file.name]) >= 26
    assert any("await_completion" in str(file) and ".trigger." in file.name for file in files)
    found = [
        (str(file.relative_to(stack.logs)), value)
        for file in files
        for text in [file.read_text(errors="replace")]
        for value in [*identifiers(), SECRET]
        if value in text
    ]
    assert found == []


def test_airflows_database_contains_no_identifier_and_no_secret(
    stack: RunningStack, cleared: RunResult
) -> None:
    """Every row of every table is searched, such as XCom, rendered fields and the audit log."""
    assert METADATA_DATABASE not in os.environ
    found, rows = [], Counter[str]()
    for table, text in metadata_rows(stack):
        rows[table] += 1
        found += [(table, value) for value in [*identifiers(), SECRET] if value in text]
    assert found == []
    assert rows["xcom"] >= 20
    assert rows["task_instance"] + rows["task_instance_history"] >= 26


def metadata_rows(stack: RunningStack) -> Iterator[tuple[str, str]]:
    with psycopg.connect(postgres.url(stack.stack.home, "airflow")) as db:
        tables = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            for (text,) in db.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table))):
                yield table, text
