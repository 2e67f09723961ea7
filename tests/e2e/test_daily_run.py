"""A few days of `dsar_daily` with a real scheduler, triggerer and API server, checked request by request.

The fixtures are the days, in their order: `first` (its triggerer is killed while tasks are deferred),
`second` (takes on what the first has left, and one account's credentials are refused), `mended` (the red
square is cleared).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
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

from include.sandbox import Entry, SandboxSettings, Subject, decide
from include.stack import postgres
from include.stack.environment import METADATA_DATABASE
from tests.e2e.conftest import RunningStack

SECRET = "sandbox-secret"
SETTINGS = SandboxSettings(min_seconds=2, max_seconds=6)
STATES = {"completed": "completed", "no_data": "no_data", "failed": "failed", "refused": "rejected"}
CLOSED = {"completed", "partial", "failed"}


def email_whose_hash_ends_with(digits: str) -> str:
    """ID5 gets hashes, and the sandbox decides by the last digits of one."""
    for n in count():
        email = f"zq7x.hash{n}@example.org"
        if hashlib.sha256(email.encode()).hexdigest().endswith(digits):
            return email
    raise AssertionError


@dataclass(frozen=True)
class Given:
    """A row of the source; every value as the vendors shall get it."""

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
        """What each account gets, by (account, kinds of identifiers): one submission each."""
        digest = self.email and hashlib.sha256(self.email.encode()).hexdigest()
        attentive = [value for value in (self.email, self.phone) if value]
        kinds = "+".join(kind for kind in ("email", "phone") if getattr(self, kind))
        all_of_them = {
            ("besitos", "user_id"): [self.user_id],
            ("batch", "user_id"): [self.user_id],
            ("batch", "advertising_id"): [self.advertising_id],
            ("id5", "email"): [digest],
            ("id5", "advertising_id"): [self.advertising_id],
            ("attentive", kinds): attentive,
        }
        return {
            (account, kind): [value for value in values if value]
            for (account, kind), values in all_of_them.items()
            if account in self.accounts
            and any(values)
            and (self.action == "erasure" or account in ("besitos", "batch"))
        }

    def expected(self) -> dict[tuple[str, str], str]:
        """How each submission must end, by the sandbox's decision on the values that it gets."""
        return {
            (account, kind): STATES[decide(account, self.action, values, SETTINGS).outcome]
            for (account, kind), values in self.sent().items()
        }


ALL = ("besitos", "batch", "id5", "attentive")
ROWS = [
    *[
        Given(f"acc-{n}", "access", ALL, user_id=f"zq7x-acc-{n}{mark}", email=f"zq7x.acc{n}@example.com")
        for n, mark in enumerate(["", "", "-unknown", "-jobfails", ""])
    ],
    *[
        Given(
            f"era-{n}", "erasure", ALL,
            user_id=f"zq7x-era-{n}{mark}", email=f"zq7x.era{n}@example.com", phone=f"+1202555{n:04}",
            advertising_id=f"0f0e0d0c-77aa-4bbb-8ccc-{n:012x}",
        )
        for n, mark in enumerate(["", "", "", "-refused", "-jobfails", "-unknown", "-slow", ""])
    ],
    *[
        Given(f"id5-{n}", "erasure", ("id5",), email=email_whose_hash_ends_with(digits))
        for n, digits in enumerate(["dead", "fa11", "bad0"])
    ],
    Given("att-0", "erasure", ("attentive",), email="zq7x.slow.att@example.net", phone="+12025559999"),
    Given("att-1", "erasure", ("attentive",), phone="+12025559998"),
]  # fmt: skip
LATE = Given("late", "erasure", ("batch", "id5"), user_id="zq7x-late", email="zq7x.late@example.com")
INVALID = {"bad-0": ("erasure", None), "bad-1": ("nonsense", "zq7x-bad-1")}


@dataclass(frozen=True)
class Day:
    """What there is after a run has ended."""

    run_id: str
    state: str
    tasks: dict[str, str]
    source: dict[str, dict[str, Any]]
    submissions: dict[tuple[str, str, str], str]
    book: list[Entry]
    now: float


def put(stack: RunningStack, *rows: Given) -> None:
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


def look(stack: RunningStack, run_id: str, state: str) -> Day:
    with psycopg.connect(stack.dsn, row_factory=dict_row) as db:
        source = {row["request_id"]: row for row in db.execute("SELECT * FROM public.dsar_requests")}
        submissions = {
            (row["request_id"], row["account"], row["identity"]): row["state"]
            for row in db.execute(
                "SELECT r.request_id, s.account, s.identity, s.state "
                "FROM dsar.submission s JOIN dsar.request r ON r.id = s.request"
            )
        }
    book = [
        Entry(**{**entry, "subjects": tuple(Subject(**one) for one in entry["subjects"])})
        for entry in sandbox(stack, "GET", "jobs")
    ]
    now = sandbox(stack, "POST", "clock", {"advance": 0})["now"]
    return Day(run_id, state, stack.task_states(run_id), source, submissions, book, now)


def wait_for(what: str, seconds: float, there: Any) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := there()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.3)
    return found


def triggers(stack: RunningStack) -> list[dict[str, Any]]:
    """What the metadata database holds of each trigger; Airflow stores its arguments as clear text."""
    with psycopg.connect(postgres.url(stack.stack.home, "airflow"), row_factory=dict_row) as db:
        return db.execute("SELECT classpath, kwargs, triggerer_id FROM trigger").fetchall()


@pytest.fixture(scope="module")
def seen_triggers() -> list[dict[str, Any]]:
    return []


@pytest.fixture(scope="module")
def first(stack: RunningStack, seen_triggers: list[dict[str, Any]]) -> Day:
    """A run whose triggerer is killed while tasks are deferred."""
    put(stack, *ROWS)
    with psycopg.connect(stack.dsn) as db:
        for request_id, (kind, user) in INVALID.items():
            db.execute(
                "INSERT INTO public.dsar_requests (regulation, received_at, request_id, request_type,"
                " user_id) VALUES ('GDPR', now(), %s, %s, %s)",
                [request_id, kind, [user] if user else None],
            )
    run_id = stack.trigger({"await_minutes": 1})

    # Both wait for a job of an hour, so they are deferred until the minute is over.
    slow = {f"{account}.await_completion" for account in ("besitos", "batch")}

    def taken_up() -> bool:
        seen_triggers.extend(triggers(stack))
        deferred = {name for name, state in stack.task_states(run_id).items() if state == "deferred"}
        return deferred >= slow and all(one["triggerer_id"] for one in triggers(stack))

    wait_for("two deferred tasks", 120, taken_up)
    stack.stack.processes.kill("triggerer")
    stack.stack.processes.restart_ended()
    return look(stack, run_id, stack.wait(run_id, 200))


@pytest.fixture(scope="module")
def second(stack: RunningStack, first: Day) -> Day:
    """Two hours later: what was slow has ended, and Batch refuses our credentials for new requests."""
    sandbox(stack, "POST", "clock", {"advance": 7200})
    sandbox(
        stack, "POST", "faults",
        {"kind": "status", "vendor": "batch", "route": "create", "status": 401, "times": None},
    )  # fmt: skip
    put(stack, LATE)
    run_id = stack.trigger({"await_minutes": 1})
    return look(stack, run_id, stack.wait(run_id, 150))


@pytest.fixture(scope="module")
def mended(stack: RunningStack, second: Day) -> Day:
    """The same run after its red square was cleared, with what is downstream of it."""
    sandbox(stack, "DELETE", "faults")
    stack.api(
        "POST", "/dags/dsar_daily/clearTaskInstances",
        {"dry_run": False, "dag_run_id": second.run_id, "task_ids": ["batch.submit"],
         "include_downstream": True, "only_failed": False},
    )  # fmt: skip
    wait_for(
        "the cleared run", 30, lambda: stack.stack.api.run_state("dsar_daily", second.run_id) != "failed"
    )
    return look(stack, second.run_id, stack.wait(second.run_id, 150))


def test_a_run_ends_right_though_its_triggerer_was_killed(first: Day) -> None:
    """Every task is green but the report, which tells a person of the rows and jobs that went wrong."""
    assert {name: state for name, state in first.tasks.items() if state != "success"} == {"report": "failed"}
    assert first.state == "failed"


def test_after_the_first_run_every_submission_is_as_far_as_its_job(first: Day) -> None:
    """Ended as decided where the vendor has ended, open where it has not; none is missing."""
    jobs = {(entry.vendor, value): entry for entry in first.book for value in entry.values}
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


def test_the_source_knows_what_became_of_each_request(first: Day) -> None:
    """Open ones are in progress, bad rows invalid with a reason, due dates are there."""
    for row in ROWS:
        states = {state for (request, _, _), state in first.submissions.items() if request == row.request_id}
        told = first.source[row.request_id]
        assert (told["status"] == "in_progress") == bool(states & {"planned", "submitted"})
        assert told["due_at"] is not None
        assert (told["closed_at"] is not None) == (told["status"] in CLOSED)
    for request_id in INVALID:
        assert first.source[request_id]["status"] == "invalid"
        assert first.source[request_id]["status_reason"]


def test_trigger_arguments_are_accounts_times_and_ledger_ids(
    seen_triggers: list[dict[str, Any]], first: Day
) -> None:
    """One trigger an account, whatever the number of jobs, and no person in it."""
    assert len({one["kwargs"] for one in seen_triggers}) in (2, 3, 4)
    for one in seen_triggers:
        assert one["classpath"] == "dsar_airflow.triggers.PollTrigger"
        assert not [value for value in identifiers() if value in one["kwargs"]]
        assert SECRET not in one["kwargs"]


def test_the_second_run_takes_on_what_the_first_has_left(second: Day) -> None:
    """One account's refused credentials are one red square; the others' requests are delivered."""
    red = {name for name, state in second.tasks.items() if state != "success"}
    assert red == {"batch.submit", "report"}
    assert second.submissions["late", "id5", "email"] == "completed"
    assert second.submissions["late", "batch", "user_id"] == "planned"
    assert {name for name, row in second.source.items() if row["status"] == "in_progress"} == {"late"}


def test_clearing_the_red_square_finishes_the_rest(mended: Day) -> None:
    """It is green now and its request closed; the report still names what a person has to look at."""
    assert {name: state for name, state in mended.tasks.items() if state != "success"} == {"report": "failed"}
    assert mended.source["late"]["status"] == "completed"


def test_in_the_end_every_outcome_is_the_sandboxs_decision(mended: Day) -> None:
    """No request is lost, none is claimed to be what the vendor did not say."""
    expected = {
        (row.request_id, *key): state for row in [*ROWS, LATE] for key, state in row.expected().items()
    }
    assert {key: state for key, state in mended.submissions.items() if state != "not_applicable"} == expected
    for row in [*ROWS, LATE]:
        outcomes = set(row.expected().values())
        bad = outcomes & {"failed", "rejected"}
        status = "completed" if not bad else "failed" if outcomes == bad else "partial"
        assert mended.source[row.request_id]["status"] == status, row.request_id


def test_nothing_is_sent_twice_nor_to_whom_it_is_not_for(mended: Day) -> None:
    """Only a batch that failed as a whole is sent again, and no account gets what it does not hold."""
    sent = Counter(
        (entry.vendor, value)
        for entry in mended.book
        for value in entry.values
        if not (entry.vendor == "besitos" and entry.outcome == "failed")
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


def test_receipts_and_packages_are_there_and_whole(stack: RunningStack, mended: Day) -> None:
    """A receipt for each closed request, a package for each access, with the hashes that it states."""
    for row in [*ROWS, LATE]:
        folder = stack.storage / "requests" / row.request_id
        receipt = json.loads((folder / "receipt.json").read_text())
        told = {
            (account["account"], one["identity"]): one["outcome"]
            for account in receipt["accounts"]
            for one in account["submissions"]
            if one["outcome"] != "not_applicable"
        }
        assert told == row.expected()
        assert receipt["status"] == mended.source[row.request_id]["status"]
        package = folder / "package.zip"
        assert package.exists() == (row.action == "access")
        delivered = package if row.action == "access" else folder / "receipt.json"
        assert mended.source[row.request_id]["export_uri"] == delivered.as_uri()
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


def test_nonsense_is_refused_by_the_api_before_a_run_begins(stack: RunningStack, mended: Day) -> None:
    """The Params' schemas are checked where a run is asked for."""
    for conf in ({"accounts": ["nosuch"]}, {"request_ids": ["../x"]}, {"await_minutes": -1}):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            stack.trigger(conf)
        assert refused.value.response.status_code == 400


def identifiers() -> list[str]:
    """Every value of a person that was in the source, and its hash where one was sent."""
    values = {value for row in [*ROWS, LATE] for value in row.values} | {"zq7x"}
    hashes = {hashlib.sha256(value.encode()).hexdigest() for value in values if "@" in value}
    return sorted(values | hashes)


def test_no_log_holds_an_identifier_or_a_secret(stack: RunningStack, mended: Day) -> None:
    """Of the tasks, the trigger, and every process of Airflow."""
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


def test_airflows_database_holds_no_identifier_and_no_secret(stack: RunningStack, mended: Day) -> None:
    """XCom, rendered fields, trigger and task arguments, audit log: every table, every row."""
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
