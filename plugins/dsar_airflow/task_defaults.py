"""The arguments that all tasks of this project share: owner, retries, and errors that are not retried."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

TASK_DEFAULTS: dict[str, Any] = {
    "owner": "privacy",
    "retries": 3,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": ExceptionRetryPolicy(
        [
            RetryRule(name, RetryAction.FAIL, reason=reason)
            for name, reason in {
                "include.dsar.errors.ConfigurationError": "a retry cannot fix a setting",
                "include.dsar.errors.OperatorActionRequired": "an operator must act",
                "airflow.sdk.exceptions.AirflowTaskTimeout": "the next run continues",
            }.items()
        ]
    ),
}
