"""Opens the source table through the connection `dsar_source` or, if it does not exist, `dsar_db`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowException

from dsar_airflow.connections.ledger import LEDGER
from dsar_airflow.connections.lookup import MISSING, get, missing
from include.dsar.errors import ConfigurationError
from include.dsar.intake.source import Source

SOURCE = "dsar_source"


@contextmanager
def source() -> Iterator[Source]:
    """Opens the source table. Raises ConfigurationError if the connection has no SQL hook."""
    connection = _source_connection()
    try:
        engine = connection.get_hook().get_sqlalchemy_engine()  # type: ignore[no-untyped-call]
    except (AirflowException, AttributeError):
        raise ConfigurationError(
            f"connection {connection.conn_id}: type {connection.conn_type} is not a SQL database that this "
            "Airflow can reach. Correct the type, or install its provider."
        ) from None
    try:
        yield Source(engine)
    finally:
        engine.dispose()


def _source_connection() -> Connection:
    try:
        return BaseHook.get_connection(SOURCE)
    except MISSING:
        if f"AIRFLOW_CONN_{SOURCE.upper()}" in os.environ:  # it exists, but cannot be read
            raise missing(SOURCE) from None
        return get(LEDGER)
