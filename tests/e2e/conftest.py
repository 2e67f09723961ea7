"""Fixtures of the end-to-end tests: one running stack per session, in its own directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from include.stack.home import Home, free_port
from include.stack.stack import DAG_ID, Stack, running


def own_environment(**variables: str) -> dict[str, str]:
    """Returns the environment without settings of Airflow, a stack or PostgreSQL, plus `variables`."""
    foreign = ("AIRFLOW", "_AIRFLOW", "DSAR", "PG")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | variables


@dataclass(frozen=True)
class RunningStack:
    """A running stack with shortcuts for tests."""

    stack: Stack

    @property
    def environment(self) -> dict[str, str]:
        """Returns the environment for subprocesses such as `bin/airflow`."""
        return dict(self.stack.variables)

    @property
    def dsn(self) -> str:
        return self.stack.dsn

    @property
    def api_url(self) -> str:
        return self.stack.api.url

    @property
    def sandbox_url(self) -> str:
        assert self.stack.sandbox_url is not None
        return self.stack.sandbox_url

    @property
    def storage(self) -> Path:
        assert isinstance(self.stack.storage, Path)
        return self.stack.storage

    @property
    def logs(self) -> Path:
        return self.stack.logs

    def token(self) -> str:
        return self.stack.api.token()

    def api(self, method: str, path: str, json: Any = None) -> Any:
        """Call a path below /api/v2."""
        return self.stack.api.call(method, path, json)

    def trigger(self, conf: Mapping[str, Any] | None = None) -> str:
        return self.stack.api.trigger(DAG_ID, f"test-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}", conf)

    def wait(self, run_id: str, timeout: float = 300) -> str:
        return self.stack.api.wait(DAG_ID, run_id, timeout, self.stack.processes.check)

    def task_states(self, run_id: str) -> dict[str, str]:
        return self.stack.api.task_states(DAG_ID, run_id)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    home = Home(tmp_path_factory.mktemp("stack"))
    environ = own_environment(AIRFLOW__API__PORT=str(free_port()))
    with running(home, environ, any_port=False) as started:
        yield RunningStack(started)
