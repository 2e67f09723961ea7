"""While submit waits for postponed submissions, it polls the open jobs. Time is virtual in these tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine

from tests.integration.requests_given import put_into
from tests.model.data_subjects import SUBJECTS
from tests.model.deployment import EXTRA, Deployment
from tests.model.sessions import Sessions
from tests.model.test_state_machine import Ask, DeploymentMachine
from tests.model.virtual_time import Clock

SECOND = 1 / 60  # in minutes
NO_CONNECTION = "no_connection"  # the submission is postponed by five seconds


@pytest.fixture
def deployment(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """Yields a deployment whose vendors end a job after one second."""
    clock = Clock()
    monkeypatch.setattr("include.dsar.http.pacing.time", clock)
    monkeypatch.setattr("include.dsar.execution.progress.time", clock)
    engine, sessions = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://")), Sessions(dsn)
    one = Deployment(sessions, engine, clock)
    one.world.minutes = dict.fromkeys(one.world.minutes, SECOND)
    one.settings = {
        name: replace(found, max_concurrency=1, users_per_call=1, poll_min_seconds=1.0, poll_max_seconds=60.0)
        for name, found in one.settings.items()
    }
    yield one
    sessions.close()
    engine.dispose()


def take_in(deployment: Deployment, *subjects: str, action: str = "erasure") -> None:
    """Takes a request in for each data subject."""
    machine = DeploymentMachine(deployment)
    machine.there_are_requests(asked=[Ask(action, [one], {"user_id", "email"}) for one in subjects])
    machine.intake_runs()


def submissions(deployment: Deployment, account: str) -> list[dict[str, Any]]:
    with deployment.sessions.open() as db:
        return db.execute(
            "SELECT * FROM dsar.submission WHERE account = %s ORDER BY due_at, id", [account]
        ).fetchall()


def polls(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, account: str) -> list[float]:
    """Returns a list that fills with the time of each poll of this account."""
    times: list[float] = []
    call = deployment.world.call

    def noted(name: str, method: str, *given: Any) -> Any:
        if name == account and method == "GET":
            times.append(deployment.clock.seconds)
        return call(name, method, *given)

    monkeypatch.setattr(deployment.world, "call", noted)
    return times


@pytest.mark.parametrize("account", sorted(EXTRA))
def test_a_job_that_ended_is_noticed_before_a_postponed_submission_is_sent(
    deployment: Deployment, account: str
) -> None:
    """The postponed submission is sent in the same stage. Its own job stays open, because the stage has
    nothing left to wait for.
    """
    take_in(deployment, "ok-0", "ok-5")
    deployment.world.faults[account].extend([None, NO_CONNECTION])
    deployment.submit(account)
    first, second = submissions(deployment, account)
    assert (first["state"], second["state"]) == ("completed", "submitted")
    assert first["changed_at"] - first["submitted_at"] < timedelta(seconds=3)
    assert first["changed_at"] < second["attempted_at"]


def test_a_result_is_ready_before_a_postponed_submission_is_sent(deployment: Deployment) -> None:
    take_in(deployment, "ok-0", "ok-5", action="access")
    deployment.world.faults["batch"].extend([None, NO_CONNECTION])
    deployment.submit("batch")
    first, second = submissions(deployment, "batch")
    assert (first["state"], second["state"]) == ("ready", "submitted")
    assert first["changed_at"] < second["attempted_at"]


def test_a_job_of_an_earlier_run_is_polled_too(deployment: Deployment) -> None:
    take_in(deployment, "ok-0", "ok-5")
    deployment.submit("batch", only="r-1")
    deployment.clock.advance(24 * 3600)
    deployment.world.faults["batch"].append(NO_CONNECTION)
    deployment.submit("batch")
    first, second = submissions(deployment, "batch")
    assert (first["state"], second["state"]) == ("completed", "submitted")
    assert first["changed_at"] < second["attempted_at"]


def test_several_waits_poll_as_often_as_one(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The polls of the schedule are 12 seconds apart. Five waits of five seconds make no additional polls."""
    deployment.world.minutes["batch"] = 60
    rare = replace(deployment.settings["batch"], poll_min_seconds=12.0, poll_max_seconds=12.0)
    deployment.settings["batch"] = rare
    take_in(deployment, *SUBJECTS)
    with deployment.sessions.open() as db:
        for n, row in enumerate(submissions(deployment, "batch")):
            put_into(db, [row["id"]], {"not_before": deployment.clock() + timedelta(seconds=5 * n)})
    asked = polls(deployment, monkeypatch, "batch")
    deployment.submit("batch")
    times = [row["attempted_at"] for row in submissions(deployment, "batch")]
    assert [round((at - times[0]).total_seconds()) for at in times] == [0, 5, 10, 15, 20, 25]
    # 12 s after its call, with jitter: three jobs once, and the first job a second time.
    assert [round(at) for at in asked] == [11, 17, 22, 23]


def test_a_batch_that_failed_meanwhile_is_sent_again_in_the_same_stage(deployment: Deployment) -> None:
    deployment.settings["besitos"] = replace(deployment.settings["besitos"], users_per_call=2)
    take_in(deployment, "ok-0", "fails-2", "ok-5")
    deployment.world.faults["besitos"].extend([None, NO_CONNECTION])
    deployment.submit("besitos")
    assert [len(job.keys) for job in deployment.world.jobs.values()] == [2, 1, 1, 1]


def test_refused_polls_do_not_stop_the_submissions(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log of submit names the connection. Submit does not poll again. `await_completion` reports the
    refusal.
    """
    take_in(deployment, "ok-0", "ok-5")
    asked = polls(deployment, monkeypatch, "batch")
    deployment.world.faults["batch"].extend([None, NO_CONNECTION, "401", NO_CONNECTION])
    deployment.submit("batch")
    assert [row["state"] for row in submissions(deployment, "batch")] == ["submitted", "submitted"]
    assert "polling stops until await_completion" in caplog.text
    assert "connection batch_default" in caplog.text
    assert len(asked) == 1
