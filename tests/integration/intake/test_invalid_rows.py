"""The ledger keeps an invalid row until it is corrected, even if intake fails in the meantime."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from include.dsar.ledger import planning
from include.dsar.stages import intake as intake_module
from tests.integration.conftest import Row
from tests.integration.intake.conftest import MARKER, IntakeCase

RECEIVED = datetime(2026, 11, 1, 10, tzinfo=UTC)
GDPR_DUE, CCPA_DUE = RECEIVED + timedelta(days=30), RECEIVED + timedelta(days=45)


def kept(case: IntakeCase) -> dict[str | None, dict[str, Any]]:
    """Returns the recorded rows by request id."""
    rows = case.db.execute("SELECT * FROM dsar.unplanned_row ORDER BY id").fetchall()
    return {row["request_id"]: row for row in rows}


def test_an_invalid_row_is_kept_without_identifiers(case: IntakeCase) -> None:
    """The ledger keeps the readable parts of the row, its reason and its due date."""
    case.put(Row("r-1", "access", "CCPA", user_id=f"{MARKER}\x07"))
    case.run()
    row = kept(case)["r-1"]
    assert (row["action"], row["regulation"], row["received_at"]) == ("access", "CCPA", RECEIVED)
    assert (row["due_at"], row["reason"]) == (CCPA_DUE, "user_id contains control characters")
    assert MARKER not in repr(row)


def test_an_unsafe_request_id_is_not_kept(case: IntakeCase) -> None:
    """An unsafe id may contain an identifier, such as an e-mail address."""
    case.put(Row(f"{MARKER}@example.com", user_id="u1"))
    case.run()
    assert list(kept(case)) == [None]
    assert MARKER not in repr(kept(case))


@pytest.mark.parametrize(
    ("cells", "due"),
    [
        ({"regulation": "LAW"}, RECEIVED + timedelta(days=5)),  # of Argentina: 5 working days
        ({"regulation": "CCPA", "request_type": "nonsense"}, CCPA_DUE),
        ({"regulation": "CCPA", "due_at": RECEIVED + timedelta(days=3)}, RECEIVED + timedelta(days=3)),
    ],
    ids=["unknown regulation", "known regulation", "own due date"],
)
def test_an_invalid_row_has_a_due_date(case: IntakeCase, cells: dict[str, Any], due: datetime) -> None:
    """If the regulation is unknown, the shortest period counts."""
    case.put(Row("r-1", user_id="\x07", **cells))
    case.run()
    assert kept(case)["r-1"]["due_at"] == due


@pytest.mark.parametrize("received_at", [None, "2099-01-01T00:00:00+00:00"], ids=["empty", "in the future"])
def test_an_unreadable_time_of_receipt_counts_as_now(case: IntakeCase, received_at: str | None) -> None:
    case.put(Row("r-1", "access", "CCPA", received_at=received_at, user_id="u1"))
    before = datetime.now(UTC)
    case.run()
    due = kept(case)["r-1"]["due_at"]
    assert before + timedelta(days=45) <= due <= datetime.now(UTC) + timedelta(days=45)


def test_a_corrected_row_is_resolved(case: IntakeCase) -> None:
    """A corrected row is marked as corrected. A row that is still invalid keeps its first due date, and the
    time when it was first seen.
    """
    case.put(Row("r-1", user_id="\x07"), Row("r-2", user_id="\x07"))
    case.run()
    first = kept(case)
    case.change_source(
        "UPDATE public.dsar_requests SET status = 'pending',"
        " user_id = CASE request_id WHEN 'r-1' THEN ARRAY['u1'] END, received_at = '2026-11-10'"
    )
    case.run()
    after = kept(case)
    assert (after["r-1"]["resolution"], after["r-2"]["resolution"]) == ("corrected", None)
    assert (after["r-2"]["due_at"], after["r-2"]["first_seen"]) == (GDPR_DUE, first["r-2"]["first_seen"])
    assert after["r-2"]["reason"].startswith("no usable identifier")
    assert after["r-2"]["since"] > first["r-2"]["since"]


@pytest.mark.usefixtures("keyless")
def test_contradictory_rows_are_kept_as_one_row(case: IntakeCase) -> None:
    """The source cannot tell the rows apart. When only one row remains, the record is marked as corrected."""
    case.put(Row("r-1", user_id="alice"), Row("r-1", user_id="bob"))
    case.run()
    assert [row["reason"] for row in kept(case).values()] == [planning.REASON_CONTRADICTION]
    case.change_source("DELETE FROM public.dsar_requests WHERE user_id = '{bob}'")
    case.change_source("UPDATE public.dsar_requests SET status = 'pending'")
    case.run()
    assert kept(case)["r-1"]["resolution"] == "corrected"


def test_a_row_without_an_id_is_kept_once(case: IntakeCase, keyless: None) -> None:
    """The source cannot find such a row, so it stays pending and every intake reads it again."""
    case.change_source("ALTER TABLE public.dsar_requests ALTER request_id DROP NOT NULL")
    case.put(Row(None, user_id="u1"), Row(None, user_id="u2"))  # type: ignore[arg-type]
    for _ in range(2):
        case.run()
    rows = case.db.execute("SELECT reason FROM dsar.unplanned_row").fetchall()
    assert rows == [{"reason": "request_id is empty"}] * 2


def test_a_retry_of_intake_knows_the_rows_that_are_marked_already(
    case: IntakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try marks the row in the source and then fails. The retry does not read the marked row
    again, but the ledger keeps the row.
    """
    case.put(Row("r-1", user_id="\x07"))

    def fail(*_: Any) -> None:
        raise psycopg.OperationalError("the server stopped")

    with monkeypatch.context() as patch:
        patch.setattr(intake_module, "write_back", fail)
        with pytest.raises(psycopg.OperationalError):
            case.run()
    assert case.reasons == {"r-1": "user_id contains control characters"}
    assert case.run().invalid == 0
    assert kept(case)["r-1"]["resolved_at"] is None


def test_a_dry_run_keeps_no_row(case: IntakeCase) -> None:
    case.put(Row("r-1", user_id="\x07"))
    assert case.run(dry_run=True).invalid == 1
    assert kept(case) == {}
