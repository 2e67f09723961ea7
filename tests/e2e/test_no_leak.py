"""Airflow keeps and shows no identifier, no secret and no vendor's reply, even at log level DEBUG.

Every identifier, secret and reply of the stack is a marker. Two runs have failures of every kind; then the
test searches everything that Airflow keeps. Markers are allowed in three places: the source table, the ledger
while a request is open, and storage. The processes' environment contains the connections, so it is not
searched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.stack import postgres
from include.stack.home import Home
from tests.e2e import kept_by_airflow
from tests.e2e.kept_by_airflow import Places
from tests.e2e.leak_markers import STEM, Search
from tests.e2e.leaky_deployment import INVALID, REQUESTS, World, leaky_deployment
from tests.e2e.leaky_vendors import HTML

QUOTING_TRIGGER = """
CREATE FUNCTION quote() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'no room for %', NEW.email; END$$;
CREATE TRIGGER quote BEFORE UPDATE ON public.dsar_requests FOR EACH ROW
    WHEN (NEW.request_id = 'erase-unwritten' AND NEW.closed_at IS NOT NULL) EXECUTE FUNCTION quote()
"""
QUOTING_VIEW = """
ALTER TABLE public.dsar_requests RENAME TO all_requests;
CREATE VIEW public.dsar_requests AS
    SELECT request_id, request_type, regulation, received_at, due_at, (email[1]::int)::text AS email, phone,
           user_id, advertising_id, install_id, id5_id, accounts, 'pending'::text AS status
      FROM public.all_requests;
ALTER VIEW public.dsar_requests OWNER TO source
"""
# PostgreSQL quotes the whole row that violates the constraint.
QUOTING_CHECK = """
ALTER TABLE dsar.submission ADD CONSTRAINT no_attentive
    CHECK (account <> 'attentive' OR state <> 'submitting')
"""


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with leaky_deployment(Home(tmp_path_factory.mktemp("leak"))) as running:
        yield running


def test_no_marker_leaks(world: World) -> None:
    """Markers do not reach Airflow when credentials are rejected, SQL errors quote rows, or calls, jobs,
    downloads or writes fail.
    """
    _cause_every_failure(world)
    subjects = [INVALID, *(subject for subject, *_ in REQUESTS.values())]
    search = Search(subjects, [job for vendor in world.vendors.values() for job in vendor.job_ids()])
    kept = kept_by_airflow.files(world.stack.home.root, without=("storage", "postgres", "secrets"))
    kept |= kept_by_airflow.tables(postgres.url(world.stack.home, "airflow"))
    kept |= kept_by_airflow.answers(world.stack, ["refused", "faults"])
    kept |= world.sampler.places
    _assert_search_is_complete(kept)
    print(f"{search.needles} needles, {len(kept)} places, {sum(map(len, kept.values())):,} bytes")
    assert search.finds(kept) == []
    without_job_ids = Search(subjects)
    assert without_job_ids.finds(_ledger_without_open_requests(world)) == []
    assert without_job_ids.finds(_written_back(world)) == []
    assert without_job_ids.finds(_receipts_and_register(world)) == []
    _assert_markers_are_where_they_belong(world)


def _cause_every_failure(world: World) -> None:
    for vendor in world.vendors.values():
        vendor.refuse_credentials(True)
    world.execute("dsar", QUOTING_CHECK)
    submits = {f"{account}.submit": "failed" for account in world.vendors}
    assert world.run("refused") == {**submits, "report": "failed"}

    for vendor in world.vendors.values():
        vendor.refuse_credentials(False)
    world.execute("dsar", "ALTER TABLE dsar.submission DROP CONSTRAINT no_attentive")
    world.execute("source", QUOTING_TRIGGER)
    besitos, batch, id5, attentive = world.vendors.values()
    besitos.inject("reset_after", "create")
    besitos.inject("status", "status", status=502, body=HTML, content_type="text/html", times=2)
    batch.inject("reset_after", "create")
    batch.inject("status", "data", status=500, body=f"<Error>{STEM}</Error>", content_type="application/xml")
    id5.inject("truncated", "create")
    id5.inject("redirect", "status", location=f"https://example.com/?token={STEM}")
    id5.inject("body", "status", body=json.dumps({"jobStatus": STEM}))
    attentive.inject("html", "create")
    attentive.inject("status", "create", status=429, body=HTML, headers={"Retry-After": "1"})
    attentive.inject("status", "status", status=401, body=json.dumps({"message": STEM}), times=None)
    obstacle = Path(world.stack.storage, "requests/access-unwritable")
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    obstacle.touch()
    broken = ("attentive.await_completion", "batch.collect", "package", "report")
    assert world.run("faults") == dict.fromkeys(broken, "failed")

    attentive.clear_faults()
    obstacle.unlink()
    world.execute("source", "DROP TRIGGER quote ON public.dsar_requests")
    assert world.clear("faults", *broken) == {"report": "failed"}
    # The replies of ID5 had new states and fields.
    assert world.run_upkeep("upkeep") == {"probe_contract[2]": "failed", "summary": "failed"}
    with world.admin("source") as db:
        statuses = dict(db.execute("SELECT request_id, status FROM public.dsar_requests").fetchall())
    assert statuses == {name: ends for name, (*_, ends) in REQUESTS.items()} | dict.fromkeys(
        ("invalid", f"../../{STEM}"), "invalid"
    )

    world.execute("source", QUOTING_VIEW)
    assert "intake" in world.clear("refused", "intake")
    world.execute("dsar", "ALTER ROLE ledger PASSWORD 'another'")
    assert "package" in world.clear("refused", "package")


def _assert_search_is_complete(kept: Places) -> None:
    """Check that each place has content and that the logs have each failure."""
    logs = b"\n".join(content for place, content in kept.items() if place.startswith("logs/tasks"))
    assert {task for task in TASKS if f"task_id={task}" not in "\n".join(kept)} == set()
    for text in FAILURES:
        assert re.search(text, logs), text
    for place in ("api-server", "scheduler", "dag-processor", "triggerer"):
        assert b"debug" in kept[f"logs/{place}.log"].lower(), place
    assert b"PollTrigger" in kept["triggers and deferred tasks"]
    assert b"airflow" in kept["process arguments"]
    assert all(kept[f"table public.{name}"] for name in ("xcom", "task_instance", "log"))


TASKS = (
    "intake", "besitos.submit", "batch.collect", "id5.await_completion", "attentive.submit", "package",
    "probe_contract",
)  # fmt: skip
FAILURES = (
    rb"refused our credentials", rb"HTTP 502", rb"HTTP 302",
    rb"jobStatus has a new value \(one that we do not repeat\)",
    rb"does not document this combination of jobStatus", rb"HTTP 500",
    rb"access-unwritable could not be delivered",
    rb"update_request.sql failed \(P0001\)", rb"pending_requests.sql failed \(22P02\)",
    rb"does not answer or refuses the connection", rb"SQLSTATE 23514", rb"its request_id is not shown",
)  # fmt: skip


def _ledger_without_open_requests(world: World) -> Places:
    """Returns the schema dsar without the identifiers of open requests."""
    with world.admin("dsar") as db:
        states = {state for (state,) in db.execute("SELECT DISTINCT state FROM dsar.submission").fetchall()}
        assert {"completed", "no_data", "rejected", "failed", "not_applicable", "uncertain"} <= states
        db.execute(
            "UPDATE dsar.submission s SET identifiers = NULL FROM dsar.request r"
            " WHERE r.id = s.request AND r.status = 'in_progress' AND r.request_id = 'lost'"
        )
    tables = kept_by_airflow.tables(postgres.url(world.stack.home, "dsar"))
    assert {"table dsar.request", "table dsar.submission", "table dsar.event"} <= tables.keys()
    return tables


def _written_back(world: World) -> Places:
    with world.admin("source") as db:
        rows = db.execute(
            "SELECT status, status_reason, due_at, closed_at, export_uri FROM public.all_requests"
        )
        return {"written back": "\n".join(map(str, rows.fetchall())).encode()}


def _receipts_and_register(world: World) -> Places:
    stored = kept_by_airflow.files(Path(world.stack.storage))
    written = {path: content for path, content in stored.items() if path.endswith(("receipt.json", ".csv"))}
    assert len(written) == len(REQUESTS)  # a receipt per closed request (one is open), and the register
    return written


def _assert_markers_are_where_they_belong(world: World) -> None:
    """Check that the search finds the identifiers in the source, and that storage has the package."""
    source_table = kept_by_airflow.tables(postgres.url(world.stack.home, "source"))[
        "table public.all_requests"
    ]
    for subject, *_ in REQUESTS.values():
        assert Search([subject]).finds({"source": source_table})
    package = Path(world.stack.storage, "requests/access/package.zip")
    assert package.read_bytes()[:2] == b"PK"
