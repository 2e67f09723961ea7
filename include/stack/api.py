"""The part of Airflow's REST API that the stack and its tests use."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from include.stack.home import StackError

ENDED = ("success", "failed")


class AirflowApi:
    """One API server. The methods raise httpx.HTTPError if a call fails."""

    def __init__(self, url: str, passwords: Path) -> None:
        self.url = url
        self._passwords = passwords
        # The server is on this machine, so a proxy cannot reach it.
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._token = ""

    def close(self) -> None:
        self._client.close()

    def token(self) -> str:
        """Returns a new token for the user admin. Raises StackError if the server rejects our password."""
        user = {"username": "admin", "password": json.loads(self._passwords.read_text()).get("admin", "")}
        reply = self._client.post("/auth/token", json=user)
        if reply.is_client_error:
            raise StackError(
                "cannot log in to the API server as `admin`: unset AIRFLOW__CORE__AUTH_MANAGER and "
                "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS, or add the user admin there"
            )
        return str(reply.raise_for_status().json()["access_token"])

    def health(self) -> Mapping[str, Mapping[str, str | None]]:
        """Returns the status and the last heartbeat of each component. This call needs no login."""
        reply: dict[str, dict[str, str | None]] = (
            self._client.get("/api/v2/monitor/health", timeout=5).raise_for_status().json()
        )
        return reply

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Returns the JSON reply of `/api/v2<path>`. None if the reply is empty."""
        self._token = self._token or self.token()
        headers = {"Authorization": f"Bearer {self._token}"}
        reply = self._client.request(method, f"/api/v2{path}", json=body, headers=headers)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Starts a manual run. Returns its run_id."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        return str(self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """Returns the state of each task (`<id>[<n>]` if mapped). The state of a task that is not scheduled
        yet is `none`.
        """
        reply = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=1000")
        return {
            task["task_id"] + (f"[{task['map_index']}]" if task["map_index"] >= 0 else ""): task["state"]
            or "none"
            for task in reply["task_instances"]
        }

    def wait(
        self, dag_id: str, run_id: str, timeout: float, each: Callable[[], None], pause: float = 1
    ) -> str:
        """Waits until the run has ended. Returns its state. Calls `each` about every `pause` seconds.

        Raises TimeoutError after `timeout` seconds, and every error that `each` raises.
        """
        deadline = time.monotonic() + timeout
        while (state := self.run_state(dag_id, run_id)) not in ENDED:
            if time.monotonic() > deadline:
                raise TimeoutError(f"run {run_id} is still {state} after {timeout:.0f} s")
            each()
            time.sleep(pause)
        return state
