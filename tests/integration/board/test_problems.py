"""A page that cannot be shown explains why."""

from __future__ import annotations

import psycopg
import pytest
from fastapi.testclient import TestClient

from include.stack.home import free_port


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/dsar/requests?left=soon", 400, "left"),
        ("/dsar/requests?after=x", 400, "after"),
        ("/dsar/?days=8", 400, "days"),
        ("/dsar/request", 400, "id"),
        ("/dsar/request?id=nobody", 404, "no request with this id"),
        ("/dsar/account?name=nobody", 404, "No account has this name"),
        ("/dsar/account?name=Besitos", 400, "name"),
        ("/dsar/account", 404, "names no account"),
        ("/dsar/run?run_id=nothing", 404, "no run of dsar_daily"),
        ("/dsar/run?run_id=x&dag_id=another", 404, "for runs of dsar_daily only"),
        ("/dsar/nothing", 404, "Open the overview"),
        ("/dsar/request?id=%00", 400, "id"),
        ("/dsar/run?run_id=%00", 400, "run_id"),
    ],
)
def test_a_wrong_address_gets_an_explanation(viewer: TestClient, path: str, status: int, text: str) -> None:
    """A wrong address never gives status 500 or a stack trace."""
    answer = viewer.get(path)
    assert answer.status_code == status
    assert text in answer.text


def test_the_page_names_a_missing_or_broken_connection(
    viewer: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page shows no address and no password of the connection."""
    monkeypatch.delenv("AIRFLOW_CONN_DSAR_DB")
    missing = viewer.get("/dsar/requests")
    monkeypatch.setenv("AIRFLOW_CONN_DSAR_DB", f"postgresql://u:zq7x-pw@127.0.0.1:{free_port()}/dsar")
    broken = viewer.get("/dsar/")
    assert missing.status_code == broken.status_code == 503
    assert "AIRFLOW_CONN_DSAR_DB" in missing.text
    assert "dsar_db" in broken.text
    assert "zq7x" not in broken.text


def test_before_the_first_run_the_page_says_how_to_create_the_ledger(viewer: TestClient, dsn: str) -> None:
    """An empty database is not an error. The page says how to create the ledger."""
    with psycopg.connect(dsn) as db:
        db.execute("DROP SCHEMA dsar CASCADE")
    answer = viewer.get("/dsar/")
    assert answer.status_code == 200
    assert "Trigger dsar_daily" in answer.text


def test_pages_of_an_empty_ledger_say_that_there_is_nothing(viewer: TestClient, dag_run: str) -> None:
    """The overview, the request list and the run page say that there is no data."""
    assert "0 open requests" in viewer.get("/dsar/").text
    assert "No request matches these filters" in viewer.get("/dsar/requests").text
    assert "changed no request" in viewer.get(f"/dsar/run?run_id={dag_run}").text


def test_a_slow_page_is_cancelled(viewer: TestClient, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that takes too long is cancelled, and the user learns what to do."""
    monkeypatch.setattr("include.dsar.ledger.board.snapshot.STATEMENT_SECONDS", 0.2)
    with psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE dsar.submission")
        answer = viewer.get("/dsar/")
    assert answer.status_code == 503
    assert "Choose narrower filters" in answer.text


def test_an_unexpected_error_reveals_only_its_type_and_place_in_the_log(
    viewer: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The text of an exception is not logged, because it may contain identifiers."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("zq7x said something")

    monkeypatch.setattr("include.dsar.board.pages.overview_page", fail)
    answer = viewer.get("/dsar/")
    assert answer.status_code == 500
    assert "error in the board" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "zq7x" not in answer.text + caplog.text
    assert "RuntimeError in " in caplog.text
    assert "test_problems.py" in caplog.text
