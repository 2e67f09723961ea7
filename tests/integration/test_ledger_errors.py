"""Errors of the ledger do not contain PostgreSQL's messages, because these quote rows."""

from __future__ import annotations

import psycopg
import pytest

from include.dsar.errors import LedgerFault, LedgerUnavailable
from include.dsar.ledger import database
from include.dsar.ledger.database import Database


def test_the_error_of_a_refused_statement_does_not_quote_the_row(db: Database) -> None:
    """The error names the SQLSTATE. No error in its chain contains the row that PostgreSQL quotes."""
    db.execute("CREATE TABLE person (email text CHECK (email = ''))")
    with pytest.raises(psycopg.errors.CheckViolation, match=r"ada@example\.com"):
        db.execute("INSERT INTO person VALUES ('ada@example.com')")
    with pytest.raises(LedgerFault) as raised, database.without_rows():
        db.execute("INSERT INTO person VALUES ('ada@example.com')")
    assert str(raised.value) == "the ledger's PostgreSQL refused a statement (SQLSTATE 23514)"
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_a_broken_connection_can_be_retried(db: Database) -> None:
    """A statement that the server cancels may succeed on retry."""
    with pytest.raises(LedgerUnavailable, match="57P01"), database.without_rows():
        db.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_every_wait_for_the_ledger_has_a_bound(db: Database) -> None:
    for name, bound in (("statement_timeout", "30min"), ("lock_timeout", "5min")):
        assert db.execute(f"SHOW {name}").fetchone() == {name: bound}


def test_a_locked_table_and_a_slow_statement_are_named(dsn: str, db: Database) -> None:
    """Both errors are LedgerUnavailable, so Airflow retries the task."""
    db.execute("SET lock_timeout = '50ms'; SET statement_timeout = '2s'")
    with psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE dsar.request")
        locked = pytest.raises(LedgerUnavailable, match="has locked a table or row of the ledger")
        with locked, database.without_rows():
            db.execute("SELECT count(*) FROM dsar.request")
    db.execute("SET statement_timeout = '50ms'")
    with pytest.raises(LedgerUnavailable, match="took more than 30 minutes"), database.without_rows():
        db.execute("SELECT pg_sleep(5)")


def test_every_wait_of_a_migration_has_a_bound(dsn: str) -> None:
    """No statement of a migration can wait forever. A migration may run longer than other statements. Its
    longest wait for a lock is the same.
    """
    with database._migrating(dsn) as migrating:
        for name, bound in (("statement_timeout", "6h"), ("lock_timeout", "5min")):
            assert migrating.execute(f"SHOW {name}").fetchone() == (bound,)


def test_a_wrong_password_is_not_shown(dsn: str) -> None:
    """The error names the connection to check and does not contain the password."""
    wrong = psycopg.conninfo.make_conninfo(dsn, password="hunter2", user="somebody")
    with pytest.raises(LedgerUnavailable, match="check the Airflow connection dsar_db") as raised:
        database.connect(wrong)
    assert "somebody" not in str(raised.value)
    assert raised.value.__suppress_context__
