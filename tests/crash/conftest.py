"""Fixtures of the crash tests: the PostgreSQL server of all cases, and the search that runs the cases."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from include.stack import postgres
from include.stack.home import Home
from tests.crash.search import Search
from tests.integration.conftest import server

__all__ = ["server"]


@pytest.fixture(scope="package")
def search(server: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Search]:
    with psycopg.connect(postgres.url(server, "postgres"), autocommit=True) as db:
        db.execute("ALTER SYSTEM SET fsync = off")  # the server is not killed
        db.execute("SELECT pg_reload_conf()")
    with Search(server, tmp_path_factory.mktemp("crash")) as searching:
        yield searching
