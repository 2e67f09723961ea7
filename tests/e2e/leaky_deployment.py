"""A deployment with a marker in every identifier, secret and reply. Tests can make its parts fail.

A marker is a value that exists nowhere else, so a search can find where it leaks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from include.dsar.ledger import database
from include.stack import postgres, source
from include.stack.home import PROJECT, Home, free_port
from include.stack.stack import DAG_ID, Stack, running
from tests.e2e.conftest import own_environment
from tests.e2e.kept_by_airflow import Sampler
from tests.e2e.leak_markers import STEM, MarkedSubject, secret
from tests.e2e.leaky_vendors import LeakyVendor, leaky_vendors

UPKEEP = "dsar_upkeep"
ROLES = {"dsar": "ledger", "source": "source"}  # the role of each database's connection
PACE = {"requests_per_second": 50, "max_concurrency": 1, "users_per_call": 1,
        "poll_min_seconds": 1, "poll_max_seconds": 3}  # fmt: skip
HOLD = {"on_uncertain": "hold"}
EXTRA = {
    "besitos": {"partner_id": secret("besitos-partner"), **HOLD},
    "batch": {"api_key": secret("batch-key")},
    "id5": {"partner_id": secret("id5-partner"), "reply_to_email": f"{STEM}@company.example"},
    "attentive": HOLD,
}

# Data subject, request type, accounts and final status. Requests due first meet each vendor's first fault.
LOST = MarkedSubject("lost")
REQUESTS = {
    "lost": (LOST, "erasure", None, "in_progress"),
    "access": (MarkedSubject("access"), "access", None, "completed"),
    "access-unknown": (MarkedSubject("lun", "unknown"), "access", None, "completed"),
    "access-unwritable": (MarkedSubject("luw"), "access", ["besitos"], "completed"),
    "erase": (MarkedSubject("erase"), "erasure", None, "completed"),
    "erase-refused": (MarkedSubject("eref", "refused"), "erasure", ["besitos", "batch"], "partial"),
    "erase-failed": (MarkedSubject("efail", "jobfails"), "erasure", ["besitos", "batch", "id5"], "partial"),
    "erase-busy": (MarkedSubject("ebus", "busy"), "erasure", ["batch"], "completed"),
    "erase-unwritten": (MarkedSubject("eunt"), "erasure", ["besitos"], "completed"),
}
INVALID = MarkedSubject("inv")

WITHOUT_RETRIES = '''"""The project's DAG without retries."""

import runpy

dag = runpy.run_path("{}")["dag"]
for task in dag.tasks:  # of an airflow DAG
    task.retries = 0
'''


@dataclass(frozen=True)
class World:
    """A running stack at log level DEBUG, and access to its vendors and databases."""

    stack: Stack
    vendors: Mapping[str, LeakyVendor]
    sampler: Sampler

    def admin(self, name: str) -> psycopg.Connection:
        return psycopg.connect(postgres.url(self.stack.home, name), autocommit=True)

    def execute(self, name: str, statement: str) -> None:
        with self.admin(name) as db:
            db.execute(statement.encode())

    def run(self, run_id: str) -> dict[str, str]:
        """Trigger a run. Returns the tasks that do not succeed, with their states."""
        self.stack.api.trigger(DAG_ID, run_id, {"await_minutes": 1})
        return self._red(run_id)

    def run_upkeep(self, run_id: str) -> dict[str, str]:
        """Does the same for the weekly DAG."""
        self.stack.api.trigger(UPKEEP, run_id, {})
        return self._red(run_id, UPKEEP)

    def clear(self, run_id: str, *tasks: str) -> dict[str, str]:
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": tasks, "only_failed": False,
                "include_downstream": False, "reset_dag_runs": True}  # fmt: skip
        self.stack.api.call("POST", f"/dags/{DAG_ID}/clearTaskInstances", body)
        return self._red(run_id)

    def _red(self, run_id: str, dag_id: str = DAG_ID) -> dict[str, str]:
        self.stack.api.wait(dag_id, run_id, 200, self.stack.processes.check, pause=0.5)
        states = self.stack.api.task_states(dag_id, run_id)
        return {task: state for task, state in states.items() if state not in ("success", "skipped")}


@contextmanager
def leaky_deployment(home: Home) -> Iterator[World]:
    """Run a stack at log level DEBUG in which every value is a marker."""
    dags, temporary = home.directory("dags"), home.directory("tmp")
    for dag_id in (DAG_ID, UPKEEP):
        (dags / f"{dag_id}.py").write_text(WITHOUT_RETRIES.format(PROJECT / f"dags/{dag_id}.py"))
    with ExitStack() as ending:
        vendors = ending.enter_context(leaky_vendors())
        ending.enter_context(postgres.running(home))
        _make_databases(home)
        environ = {
            **own_environment(),
            "TMPDIR": str(temporary),
            "AIRFLOW__API__PORT": str(free_port()),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "AIRFLOW_VAR_DSAR_HASH_KEY": secret("hash-key"),
            **{f"AIRFLOW_CONN_{name.upper()}_DEFAULT": _vendor_connection(v) for name, v in vendors.items()},
            "AIRFLOW_CONN_DSAR_DB": _database_connection(home, "dsar"),
            "AIRFLOW_CONN_DSAR_SOURCE": _database_connection(home, "source"),
        }
        stack = ending.enter_context(running(home, environ, any_port=False))
        sampler = Sampler(postgres.url(home, "airflow"), stack.variables["AIRFLOW__CORE__FERNET_KEY"])
        ending.enter_context(sampler.running())
        yield World(stack, vendors, sampler)


def _make_databases(home: Home) -> None:
    """Create the ledger and the source, each with its own role and a marker as password."""
    with psycopg.connect(postgres.url(home, "postgres"), autocommit=True) as db:
        db.execute("CREATE DATABASE source")
        # The log of the source's own server is not part of this test.
        db.execute("ALTER DATABASE source SET log_min_messages = panic")
        for name, role in ROLES.items():
            made = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            db.execute(made.format(sql.Identifier(role), sql.Literal(secret(role))))
            owned = sql.SQL("ALTER DATABASE {} OWNER TO {}")
            db.execute(owned.format(sql.Identifier(name), sql.Identifier(role)))
    own = {name: _dsn(home, name) for name in ROLES}
    database.migrate(own["dsar"])
    source.create(own["source"])
    with psycopg.connect(own["source"]) as db:
        now = datetime.now(UTC)
        for days, (request_id, (subject, action, accounts, _)) in enumerate(REQUESTS.items()):
            _put(db, request_id, action, "GDPR", now - timedelta(days=20 - days), subject, accounts)
        _put(db, "invalid", STEM, STEM, now, INVALID, [STEM])
        _put(db, f"../../{STEM}", "erasure", "GDPR", now, INVALID, None)


def _put(
    db: psycopg.Connection, request_id: str, action: str, law: str, at: datetime, subject: MarkedSubject,
    accounts: list[str] | None,
) -> None:  # fmt: skip
    given = {"request_id": request_id, "request_type": action, "regulation": law, "received_at": at,
             "accounts": accounts, **subject.identifiers}  # fmt: skip
    statement = sql.SQL("INSERT INTO public.dsar_requests ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, given)), sql.SQL(", ").join(map(sql.Placeholder, given))
    )
    db.execute(statement, given)


def _dsn(home: Home, name: str) -> str:
    return database.conninfo(
        {"host": "127.0.0.1", "port": home.port("postgres"), "dbname": name, "user": ROLES[name],
         "password": secret(ROLES[name])}
    )  # fmt: skip


def _database_connection(home: Home, name: str) -> str:
    return json.dumps(
        {"conn_type": "postgres", "host": "127.0.0.1", "port": home.port("postgres"), "schema": name,
         "login": ROLES[name], "password": secret(ROLES[name])}
    )  # fmt: skip


def _vendor_connection(vendor: LeakyVendor) -> str:
    return json.dumps(
        {"conn_type": "http", "host": vendor.url, "password": secret(vendor.name),
         "extra": {**PACE, **EXTRA[vendor.name]}}
    )  # fmt: skip
