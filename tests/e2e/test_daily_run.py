"""Two runs of `dsar_daily` use a real scheduler, triggerer and API server. Every submission is checked.

The fixtures are the runs in their order. `first`: a triggerer is killed while tasks are deferred. `second`:
this run continues the first run, and Batch rejects our credentials. `cleared`: the failed task of the
second run is cleared.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from itertools import count
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from include.stack import postgres
from include.stack.environment import METADATA_DATABASE
from tests.e2e import daily_run, kept_by_airflow
from tests.e2e.conftest import RunningStack
from tests.e2e.daily_run import ALL, RunResult, SourceRow
from tests.e2e.drill import wait_for

SECRET = "sandbox-secret"
CLOSED = {"completed", "partial", "failed"}


def email_whose_hash_ends_with(digits: str) -> str:
    """Returns an e-mail address with a hash that ends with these digits.

    ID5 receives hashes. The sandbox reacts to the last digits of a hash.
    """
    for n in count():
        email = f"zq7x.hash{n}@example.org"
        if hashlib.sha256(email.encode()).hexdigest().endswith(digits):
            return email
    raise AssertionError


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


def triggers(stack: RunningStack) -> list[dict[str, Any]]:
    """Returns each trigger in Airflow's database. Airflow stores the arguments of triggers in clear text."""
    with psycopg.connect(postgres.url(stack.stack.home, "airflow"), row_factory=dict_row) as db:
        return db.execute("SELECT classpath, kwargs, triggerer_id FROM trigger").fetchall()


@pytest.fixture(scope="module")
def seen_triggers() -> list[dict[str, Any]]:
    return []


@pytest.fixture(scope="module")
def first(stack: RunningStack, seen_triggers: list[dict[str, Any]]) -> RunResult:
    """Do a run with a triggerer that is killed while tasks are deferred."""
    daily_run.insert(stack, *ROWS)
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
    return daily_run.result_of(stack, run_id, stack.wait(run_id, 200))


@pytest.fixture(scope="module")
def second(stack: RunningStack, first: RunResult) -> RunResult:
    """Do a second run two hours later. The slow jobs have ended. Batch rejects our credentials."""
    daily_run.sandbox(stack, "POST", "clock", {"advance": 7200})
    daily_run.sandbox(
        stack, "POST", "faults",
        {"kind": "status", "vendor": "batch", "route": "create", "status": 401, "times": None},
    )  # fmt: skip
    daily_run.insert(stack, LATE)
    run_id = stack.trigger({"await_minutes": 1})
    return daily_run.result_of(stack, run_id, stack.wait(run_id, 150))


@pytest.fixture(scope="module")
def cleared(stack: RunningStack, second: RunResult) -> RunResult:
    """Clear the failed task of the second run and its downstream tasks, and wait for the end."""
    daily_run.sandbox(stack, "DELETE", "faults")
    stack.api(
        "POST", "/dags/dsar_daily/clearTaskInstances",
        {"dry_run": False, "dag_run_id": second.run_id, "task_ids": ["batch.submit"],
         "include_downstream": True, "only_failed": False},
    )  # fmt: skip
    wait_for(
        "the cleared run", 30, lambda: stack.stack.api.run_state("dsar_daily", second.run_id) != "failed"
    )
    return daily_run.result_of(stack, second.run_id, stack.wait(second.run_id, 150))


def test_a_run_survives_a_killed_triggerer(first: RunResult) -> None:
    """Only the report fails, because invalid rows and failed jobs need manual action. Nobody is asked for an
    approval.
    """
    assert {name: state for name, state in first.tasks.items() if state != "success"} == {
        "approve_volume": "skipped", "report": "failed"
    }  # fmt: skip
    assert first.state == "failed"


def test_after_the_first_run_every_submission_matches_its_job(first: RunResult) -> None:
    """A submission has the outcome that the sandbox decided if its job has ended. Otherwise the submission
    is open.
    """
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
    """Open requests are in_progress. Invalid rows have a reason. All other rows have a due date."""
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
    """There is one trigger per account, whatever the number of jobs is. The arguments contain no identifier
    and no secret.
    """
    assert len({one["kwargs"] for one in seen_triggers}) in (2, 3, 4)
    for one in seen_triggers:
        assert one["classpath"] == "dsar_airflow.triggers.PollTrigger"
        assert not [value for value in daily_run.identifiers([*ROWS, LATE]) if value in one["kwargs"]]
        assert SECRET not in one["kwargs"]


def test_the_second_run_continues_the_first(second: RunResult) -> None:
    """Rejected credentials fail only one task of their account. The requests of other accounts are
    delivered.
    """
    red = {name for name, state in second.tasks.items() if state == "failed"}
    assert red == {"batch.submit", "report"}
    assert second.submissions["late", "id5", "email"] == "completed"
    assert second.submissions["late", "batch", "user_id"] == "planned"
    assert {name for name, row in second.source.items() if row["status"] == "in_progress"} == {"late"}


def test_clearing_the_failed_task_finishes_the_rest(cleared: RunResult) -> None:
    """The cleared task succeeds and its request is closed. The report still fails because of the failed
    jobs.
    """
    assert {name for name, state in cleared.tasks.items() if state == "failed"} == {"report"}
    assert cleared.source["late"]["status"] == "completed"


def test_every_final_outcome_is_the_sandboxs_decision(cleared: RunResult) -> None:
    """No request is lost, and no outcome differs from the vendor's reply."""
    daily_run.check_outcomes(cleared, [*ROWS, LATE])


def test_nothing_is_sent_twice_or_to_the_wrong_account(cleared: RunResult) -> None:
    """Only a failed batch is sent again. No account receives another account's identifiers."""
    sent = Counter(
        (job.vendor, value)
        for job in cleared.jobs
        for value in job.values
        if not (job.vendor == "besitos" and job.outcome == "failed")
    )
    expected = daily_run.expected_calls([*ROWS, LATE])
    again = {(v, value) for v, value in expected if v == "besitos" and "jobfails" in value}
    assert set(sent) == expected - again
    assert set(sent.values()) == {1}


def test_receipts_and_packages_are_complete(stack: RunningStack, cleared: RunResult) -> None:
    daily_run.check_files(stack, cleared, [*ROWS, LATE])


def test_the_api_rejects_invalid_params(stack: RunningStack, cleared: RunResult) -> None:
    """The API checks the Params' schemas before a run starts."""
    for conf in ({"accounts": ["nosuch"]}, {"request_ids": ["../x"]}, {"await_minutes": -1}):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            stack.trigger(conf)
        assert refused.value.response.status_code == 400


def test_no_log_contains_an_identifier_or_a_secret(stack: RunningStack, cleared: RunResult) -> None:
    """The logs of tasks, triggers and every process of Airflow contain no identifier and no secret."""
    files = daily_run.process_logs(stack)
    assert len([file for file in files if "attempt=" in file.name]) >= 26
    assert any("await_completion" in str(file) and ".trigger." in file.name for file in files)
    assert daily_run.leaks(files, [*daily_run.identifiers([*ROWS, LATE]), SECRET]) == []


def test_airflows_database_contains_no_identifier_and_no_secret(
    stack: RunningStack, cleared: RunResult
) -> None:
    """Every row of every table is searched, including XCom, rendered fields and the audit log."""
    assert METADATA_DATABASE not in os.environ
    tables = kept_by_airflow.tables(postgres.url(stack.stack.home, "airflow"))
    values = [*daily_run.identifiers([*ROWS, LATE]), SECRET]
    assert [
        (name, value) for name, text in tables.items() for value in values if value.encode() in text
    ] == []
    rows = {name: len(text.splitlines()) for name, text in tables.items()}
    assert rows["table public.xcom"] >= 20
    assert rows["table public.task_instance"] + rows["table public.task_instance_history"] >= 26
