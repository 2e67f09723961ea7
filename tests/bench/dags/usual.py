"""A DAG built in the usual way: a mapped HttpOperator and a deferrable HttpSensor for each submission."""

from __future__ import annotations

import json
from datetime import datetime

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG, Param, task

CONNECTION = "bench_vendors"

with DAG(
    "usual",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"submissions": Param(40, type="integer")},
    max_active_tasks=64,
):

    @task
    def planned(params: dict[str, int] | None = None) -> list[str]:
        assert params is not None
        return [
            json.dumps({"request_type": "remove", "id": {"type": "custom_id", "value": f"u-{n}"}})
            for n in range(params["submissions"])
        ]

    submit = HttpOperator.partial(
        task_id="submit",
        http_conn_id=CONNECTION,
        method="POST",
        endpoint="1.0/app/gdpr/request",
        headers={"Content-Type": "application/json"},
        response_filter=lambda reply: f"1.0/app/gdpr/request/{reply.json()['token']}",
    ).expand(data=planned())
    HttpSensor.partial(
        task_id="await_completion", http_conn_id=CONNECTION, method="GET", deferrable=True
    ).expand(endpoint=submit.output)
