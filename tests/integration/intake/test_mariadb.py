"""The source may be in MariaDB. A real server runs for these tests."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from include.dsar.errors import ConfigurationError, SourceUnavailable
from include.dsar.intake import source as source_module
from include.dsar.intake.source import Source
from include.stack.home import Home, StackError
from include.stack.processes import Processes

SEEN = """
SELECT request_id, 'erasure' AS request_type, 'GDPR' AS regulation, received_at, user_id,
       @@lock_wait_timeout, @@innodb_lock_wait_timeout, @@max_statement_time
  FROM requests WHERE :retry_failed IN (0, 1) ORDER BY request_id
"""
UPDATED = "UPDATE requests SET status = :status WHERE request_id = :request_id"
SLOW = "SELECT request_id, SLEEP(30) AS slow FROM requests WHERE :retry_failed IN (0, 1)"
LOCKED = "(1205: another session has locked the table or one of its rows for more than 5 minutes)"
STARTED = "ready for connections"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Runs MariaDB on a socket in a temporary folder. Yields the engine of its database `test`."""
    if not (server := shutil.which("mariadbd")):
        raise StackError("mariadbd is missing: apt-get install mariadb-server")
    home = Home(tmp_path_factory.mktemp("mariadb"))
    user = ["--user=root"] if os.geteuid() == 0 else []
    data, socket, log = f"--datadir={home.root}/data", home.root / "socket", home.path("mariadb.log")
    install = ["mariadb-install-db", "--no-defaults", data, "--auth-root-authentication-method=normal"]
    run([*install, "--skip-test-db", *user], check=True, capture_output=True)
    processes = Processes(home.path("processes.json"))
    command = [server, "--no-defaults", data, f"--socket={socket}", "--skip-networking", *user]
    processes.start("mariadb", command, {"PATH": os.defpath}, log)
    try:
        deadline = time.monotonic() + 120
        while STARTED not in log.read_text():
            processes.check()
            assert time.monotonic() < deadline, "MariaDB did not start"
            time.sleep(0.1)
        url = f"mysql+pymysql://root@/{{}}?unix_socket={socket}"
        engine = create_engine(url.format("mysql"))
        with engine.begin() as connection:
            connection.execute(text("CREATE DATABASE dsar"))
        engine.dispose()
        yield create_engine(url.format("dsar"))
    finally:
        processes.stop()


@pytest.fixture
def table(server: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    """Yields a source with two pending requests."""
    with server.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS requests"))
        connection.execute(
            text(
                "CREATE TABLE requests (request_id varchar(128) PRIMARY KEY, received_at datetime, "
                "user_id varchar(99), status varchar(20)) ENGINE InnoDB"
            )
        )
        connection.execute(
            text(
                "INSERT INTO requests VALUES ('r-1', now(), 'u1', 'pending'), ('r-2', now(), 'u2', 'pending')"
            )
        )
    sql(tmp_path, monkeypatch, "PENDING", SEEN)
    sql(tmp_path, monkeypatch, "UPDATE", UPDATED)
    yield Source(server)
    server.dispose()


def sql(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, statement: str) -> None:
    file = folder / f"{name}.sql"
    file.write_text(statement)
    monkeypatch.setattr(source_module, name, file)


def limit(monkeypatch: pytest.MonkeyPatch, **seconds: int) -> None:
    """Sets the limits of a session, in seconds."""
    settings = tuple(f"SET SESSION {name} = {value}" for name, value in seconds.items())
    monkeypatch.setitem(source_module.SETTINGS, "mariadb", settings)


def read(table: Source) -> list[dict[str, Any]]:
    return [row for chunk in table.pending(retry_failed=False) for row in chunk]


def test_a_source_in_mariadb_is_read_and_updated(table: Source, server: Engine) -> None:
    """Each session has limits: five minutes for a lock, four hours for a statement."""
    first, _ = read(table)
    assert (first["request_id"], first["user_id"]) == ("r-1", "u1")
    assert [value for name, value in first.items() if name.startswith("@@")] == [300, 300, 14_400]
    assert table.update([{"request_id": "r-1", "status": "in_progress"}]) == set()
    with server.connect() as connection:
        statuses = connection.execute(text("SELECT status FROM requests ORDER BY request_id")).scalars()
        assert list(statuses) == ["in_progress", "pending"]


def test_a_locked_table_is_named(table: Source, server: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, lock_wait_timeout=1)
    with server.connect() as other:
        other.execute(text("LOCK TABLES requests WRITE"))
        with pytest.raises(SourceUnavailable, match=re.escape(LOCKED)):
            read(table)
        with pytest.raises(SourceUnavailable, match=re.escape(LOCKED)):
            table.update([{"request_id": "r-1", "status": "in_progress"}])
        other.execute(text("UNLOCK TABLES"))


def test_a_locked_row_is_named(table: Source, server: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says that a row is locked. The next run writes the status of the row."""
    limit(monkeypatch, innodb_lock_wait_timeout=1)
    with server.connect() as other:
        other.execute(text("SELECT * FROM requests WHERE request_id = 'r-1' FOR UPDATE"))
        with pytest.raises(SourceUnavailable, match=re.escape(LOCKED)):
            table.update([{"request_id": "r-1", "status": "in_progress"}])
        other.rollback()
    assert table.update([{"request_id": "r-1", "status": "in_progress"}]) == set()


def test_a_statement_that_does_not_end_is_named(
    table: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, max_statement_time=1)
    sql(tmp_path, monkeypatch, "PENDING", SLOW)
    with pytest.raises(SourceUnavailable, match=r"\(1969: the statement took more than 4 hours\)"):
        read(table)


def test_a_refused_statement_has_its_number(
    table: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(tmp_path, monkeypatch, "PENDING", "SELECT * FROM nowhere")
    with pytest.raises(ConfigurationError, match=r"PENDING.sql failed \(1146\)"):
        read(table)
