"""Tests sequences of steps that once revealed a defect, and similar sequences."""

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
    """Yields the state machine of a test. After the test, the invariants must hold and every request must
    be closed.
    """
    clock = Clock()
    monkeypatch.setattr("include.dsar.http.pacing.time", clock)
    monkeypatch.setattr("include.dsar.execution.progress.time", clock)
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    sessions = Sessions(dsn)
    machine = DeploymentMachine(Deployment(sessions, engine, clock))
    try:
        yield machine
        machine.the_rules_hold()
        machine.teardown()
    finally:
        sessions.close()
        engine.dispose()


def test_two_requests_of_one_data_subject_with_a_failed_job_are_closed(life: DeploymentMachine) -> None:
    """Both requests share a failed job. The job is not a batch, so it must not be sent again repeatedly."""
    ask = Ask("erasure", ["fails-2"], {"user_id"})
    life.there_are_requests(asked=[ask, ask])
    life.a_whole_run()


def test_a_run_for_one_request_sends_it_again_after_its_batch_failed(life: DeploymentMachine) -> None:
    """The failed batch contains another request, which may be the cause of the failure. Therefore this
    request is sent again alone.
    """
    life.there_are_requests(asked=[Ask("erasure", [subject], {"user_id"}) for subject in ("ok-0", "fails-2")])
    life.intake_runs()
    life.submit_runs("besitos")
    life.deployment.poll("besitos", hours=1, only="r-1")
    with life.deployment.sessions.open() as db:
        rows = db.execute("SELECT state, reason FROM dsar.submission WHERE account = 'besitos' ORDER BY id")
        assert [row["state"] for row in rows.fetchall()] == ["planned", "submitted"]
