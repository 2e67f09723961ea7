"""Looks up one Airflow connection. The errors contain its name."""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError
from airflow.sdk.log import amask_secret, mask_secret

from include.dsar.errors import ConfigurationError, ConnectionMissing

MISSING = (AirflowNotFoundException, AirflowRuntimeError)


def get(name: str) -> Connection:
    """Returns the connection. Raises ConnectionMissing if Airflow does not return it."""
    try:
        connection = BaseHook.get_connection(name)
    except MISSING:
        raise missing(name) from None
    mask_secret(extra(connection))  # Airflow masks Extra only as a whole
    return connection


async def aget(name: str) -> Connection:
    """Does the same as `get`, without blocking the event loop."""
    try:
        connection = await BaseHook.aget_connection(name)
    except MISSING:
        raise missing(name) from None
    await amask_secret(extra(connection))
    return connection


def missing(name: str) -> ConnectionMissing:
    return ConnectionMissing(
        f"connection {name} does not exist or cannot be read. Create it in Admin > Connections, "
        f"or set AIRFLOW_CONN_{name.upper()}."
    )


def extra(connection: Connection) -> dict[str, Any]:
    """Returns Extra as an object. Raises ConfigurationError if it is not a JSON object.

    Airflow itself reads invalid JSON as an empty object. Without this check, the error would name a missing
    field instead.
    """
    try:
        found = json.loads(connection.extra or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigurationError(f"connection {connection.conn_id}: Extra is not a JSON object")
    return found
