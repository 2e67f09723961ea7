"""Lives of a deployment that went wrong once, found by the model or made for a bug of its kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine

from tests.model.deployment import Deployment
from tests.model.sessions import Sessions
from tests.model.test_state_machine import Ask, DeploymentMachine
from tests.model.virtual_time import Clock


@pytest.fixture
def life(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeploymentMachine]:
    """Its rules hold when the test is over, and all that it holds is closed in the end."""
    clock = Clock()
    monkeypatch.setattr("include.dsar.http.pacing.time", clock)
    monkeypatch.setattr("include.dsar.execution.progress.time", clock)
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    sessions = Sessions(dsn)
    machine = DeploymentMachine(Deployment(sessions, engine, clock))
    yield machine
    machine.the_rules_hold()
    machine.teardown()
    sessions.close()
    engine.dispose()


def test_two_requests_of_one_person_whose_job_fails(life: DeploymentMachine) -> None:
    """They share a job, which is no batch: sent again without end, both would stay open for ever."""
    ask = Ask("erasure", ["fails-2"], {"user_id"})
    life.there_are_requests(asked=[ask, ask])
    life.a_whole_run()


def test_a_run_for_one_request_of_a_batch_that_fails(life: DeploymentMachine) -> None:
    """The failure may be another's, whom this run does not look at: it is sent once more, alone."""
    life.there_are_requests(asked=[Ask("erasure", [person], {"user_id"}) for person in ("ok-0", "fails-2")])
    life.intake_runs()
    life.submit_runs("besitos")
    life.deployment.watch("besitos", hours=1, only="r-1")
    with life.deployment.sessions.open() as db:
        rows = db.execute("SELECT state, reason FROM dsar.submission WHERE account = 'besitos' ORDER BY id")
        assert [row["state"] for row in rows.fetchall()] == ["planned", "submitted"]
