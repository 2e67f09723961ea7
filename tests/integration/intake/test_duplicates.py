"""Rows of the source may have the same request_id, or differ from the accepted request."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from include.dsar.intake import source as source_module
from include.dsar.intake.write_back import write_back
from include.dsar.ledger import planning, staging
from tests.integration.conftest import Row
from tests.integration.intake.conftest import MARKER, IntakeCase
from tests.integration.requests_given import NOW, RULES, put_into

ALICE, BOB = Row("r-1", "access", user_id="alice"), Row("r-1", "access", user_id="bob")
INVALID = Row("r-1", "nonsense", user_id=MARKER)
OTHERS = [Row("r-2", "access", user_id="u2"), Row("r-3", "access", user_id="u3")]

pytestmark = pytest.mark.usefixtures("keyless")


@pytest.fixture(params=[10_000, 2], ids=["one chunk", "several"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets intake read all rows at once, or in chunks of two rows."""
    monkeypatch.setattr(source_module, "CHUNK_ROWS", request.param)
    monkeypatch.setattr(staging, "ROWS_PER_TRANSACTION", request.param)


def test_repeated_rows_are_planned_once(
    case: IntakeCase, chunks: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names a repeated request. If many rows are repeated, the log does not have a line for each
    row.
    """
    case.put(*(Row("same", user_id="u") for n in range(60)), Row("other", user_id="u"))
    taken = case.run()
    assert (taken.rows, taken.new, taken.repeated, taken.invalid) == (61, 2, 59, 0)
    assert 1 <= caplog.text.count("more than once") <= 20


@pytest.mark.parametrize(
    "of_one_id",
    [[ALICE, BOB], [ALICE, INVALID], [INVALID, ALICE], [ALICE, BOB, ALICE]],
    ids=["two data subjects", "then an invalid one", "first an invalid one", "three"],
)
def test_contradictory_rows_are_all_invalid(case: IntakeCase, chunks: None, of_one_id: list[Row]) -> None:
    """Contradictory rows are invalid, because otherwise a data subject could get the data of another data
    subject. A dry run counts the same rows as invalid.
    """
    case.put(of_one_id[0], *OTHERS, *of_one_id[1:])
    before = case.everything()
    dry = case.run(dry_run=True)
    assert case.everything() == before
    taken = case.run()
    assert (taken.rows, taken.new, taken.invalid) == (2 + len(of_one_id), 2, len(of_one_id))
    assert set(case.requests) == {"r-2", "r-3"}
    assert dry.would_send == planning.planned(case.db) == {"besitos": {"access": 2}, "batch": {"access": 2}}
    assert (dry.rows, dry.new, dry.invalid, dry.changed) == (taken.rows, taken.new, taken.invalid, 0)
    with psycopg.connect(case.dsn) as other:
        found = other.execute(
            "SELECT status, status_reason FROM public.dsar_requests WHERE request_id = 'r-1'"
        ).fetchall()
    assert set(found) == {("invalid", planning.REASON_CONTRADICTION)}


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_row_that_contradicts_an_accepted_request_changes_nothing(
    case: IntakeCase, chunks: None, caplog: pytest.LogCaptureFixture, dry_run: bool
) -> None:
    """The contradictory row is counted and logged, but its status in the source is not changed. The
    accepted request stays as it was.
    """
    case.put(ALICE)
    case.run()
    first, *_ = case.submissions
    put_into(
        case.db, [first["id"]], {"state": "submitted", "attempts": 1, "attempted_at": NOW, "job_id": "j"}
    )
    before = case.submissions
    case.change_source("UPDATE public.dsar_requests SET status = 'pending'")
    case.put(*OTHERS, BOB)
    taken = case.run(dry_run=dry_run)
    assert (taken.known, taken.new, taken.changed, taken.invalid) == (1, 2, 1, 0)
    assert [s for s in case.submissions if s["request_id"] == "r-1"] == before
    assert "request r-1 is in the ledger, but row 4 cannot be used (the source has this" in caplog.text


def test_a_row_that_changed_after_it_was_accepted_is_logged(
    case: IntakeCase, caplog: pytest.LogCaptureFixture
) -> None:
    """A changed row is logged. A list in another order and new accounts of the deployment do not count as
    changes.
    """
    case.put(Row("r-1", user_id=["a", "b"]), Row("r-2", user_id=[MARKER]))
    case.run()
    case.change_source("UPDATE public.dsar_requests SET status = 'pending'")
    case.change_source("UPDATE public.dsar_requests SET user_id = ARRAY['b', 'a'] WHERE request_id = 'r-1'")
    case.change_source("UPDATE public.dsar_requests SET user_id = ARRAY['c'] WHERE request_id = 'r-2'")
    again = case.run(replace(RULES, accounts=RULES.accounts[:3]))
    assert (again.known, again.changed) == (1, 1)
    assert "request r-2 is in the ledger, but row 2 has other content" in caplog.text
    assert MARKER not in caplog.text


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("purged", ["user_id = NULL", "accounts = '{gone}'"], ids=["identifiers", "account"])
def test_a_closed_request_keeps_its_status_if_its_row_becomes_invalid(
    case: IntakeCase, caplog: pytest.LogCaptureFixture, purged: str, dry_run: bool
) -> None:
    """A company may erase the identifiers in its source after the request is closed."""
    case.put(Row("r-1", user_id="a", accounts=["batch"]))
    case.run()
    case.end("r-1", closed=True, state="failed")
    write_back(case.db, case.source)
    case.change_source(f"UPDATE public.dsar_requests SET {purged}")
    before = case.in_source
    assert (before["r-1"]["status"], before["r-1"]["export_uri"]) == ("failed", "file:///x")
    taken = case.run(retry_failed=True, dry_run=dry_run)
    assert (taken.changed, taken.invalid, taken.reopened) == (1, 0, 0)
    assert case.in_source == before
    assert "request r-1 is in the ledger, but row 1 cannot be used (" in caplog.text
