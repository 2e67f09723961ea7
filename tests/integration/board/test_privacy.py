"""No page shows identifiers or secrets. Hostile text is shown as text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape

import psycopg
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import make_url

from include.dsar.ledger.board.snapshot import snapshot
from include.dsar.ledger.database import Database
from tests.integration.board.conftest import every_page
from tests.integration.board.given import MARKERS, Rows, a_run

NOW = datetime.now(UTC).replace(microsecond=0)
HOSTILE = "<script>alert(1)</script>\"'&?#%2F../\u202e{{ 7*7 }}"


def test_no_page_shows_an_identifier_a_hash_or_a_secret(viewer: TestClient, rows: Rows, dag_run: str) -> None:
    """The ledger has the identifiers of an open request, and the connections have secrets."""
    states = ["planned", "submitting", "uncertain", "submitted", "ready", "completed", "failed", "rejected"]
    rows.request(
        "r-1",
        *[{"state": state, "job_id": f"job-{n}", "submitted_at": NOW, "finished_at": NOW, "attempts": 1,
           "attempted_at": NOW} for n, state in enumerate(states)],
        planned_at=NOW,
    )  # fmt: skip
    for path, text in every_page(viewer).items():
        assert "r-1" in text or path == "/dsar/"
        for marker in (*MARKERS.values(), "zq7x", "sandbox-secret", "demo-app", "fingerprint"):
            assert marker not in text, path


GRANTS = """
SELECT format('GRANT SELECT (%s) ON dsar.%I TO board_reader', string_agg(column_name, ', '), table_name)
  FROM information_schema.columns
 WHERE table_schema = 'dsar'
   AND table_name IN ('request', 'submission', 'event', 'contract_check', 'approval', 'unplanned_row',
                      'acknowledgement')
   AND column_name NOT IN ('identifiers', 'identity_hash', 'fingerprint', 'row_key')
 GROUP BY table_name
"""


@pytest.fixture
def without_identifiers(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sets connection dsar_db to a role that may not read the columns with identifiers."""
    url = make_url(dsn).set(username="board_reader", password="secret")
    monkeypatch.setenv("AIRFLOW_CONN_DSAR_DB", url.render_as_string(hide_password=False))
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("CREATE ROLE board_reader LOGIN PASSWORD 'secret'")
        db.execute("GRANT USAGE ON SCHEMA dsar TO board_reader")
        for (grant,) in db.execute(GRANTS).fetchall():
            db.execute(grant)
        yield
        db.execute("DROP OWNED BY board_reader")
        db.execute("DROP ROLE board_reader")


def test_no_statement_reads_an_identifier(
    viewer: TestClient, rows: Rows, dag_run: str, without_identifiers: None
) -> None:
    """The database role may not read identifiers. All pages still work, so no template can show an
    identifier.
    """
    rows.request("r-1", {"state": "uncertain"}, {"state": "submitted", "submitted_at": NOW, "job_id": "j"})
    assert "r-1" in every_page(viewer)["/dsar/requests?status=any"]
    assert viewer.get("/dsar/requests?account=besitos&state=uncertain").status_code == 200


def test_a_page_can_change_nothing(db: Database) -> None:
    """The transaction of a page is read-only, so a page can change nothing."""
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), snapshot(db):
        db.execute("UPDATE dsar.request SET status = status")


def test_hostile_text_is_escaped(viewer: TestClient, rows: Rows) -> None:
    """Hostile ids, reasons, identities and names are escaped. Links stay on the board."""
    request = rows.request(
        HOSTILE,
        {"account": "besitos", "state": "failed", "reason": HOSTILE, "job_id": HOSTILE, "finished_at": NOW},
        {"account": HOSTILE, "vendor": HOSTILE, "state": "uncertain"},
        {"account": "besitos", "state": "submitted", "job_id": HOSTILE, "submitted_at": NOW,
         "identity": HOSTILE},
        planned_at=NOW, status_reason=HOSTILE, export_uri=f"s3://bucket/{HOSTILE}/receipt.json",
    )  # fmt: skip
    rows.event(request, NOW, leaves="submitted", enters="failed", reason=HOSTILE, job_id=HOSTILE)
    conf = {"request_ids": [HOSTILE], "accounts": [HOSTILE], "dry_run": True}
    with a_run("a~run", ("intake", -1, NOW - timedelta(hours=1), None), conf=conf):
        for path, text in every_page(viewer, HOSTILE, "a~run").items():
            assert "<script>alert" not in text, path
            assert HOSTILE in unescape(text) or path == "/dsar/"
            for link in (part.split('"', 1)[0] for part in text.split('href="')[1:]):
                assert link.startswith(("/dsar/", "/plugin/", "/dags/", "#")), (path, link)
    answer = viewer.get("/dsar/requests", params={"id": HOSTILE})
    assert answer.status_code == 400
    assert HOSTILE not in unescape(answer.text)
