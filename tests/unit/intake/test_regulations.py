from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from include.dsar.errors import InvalidRow
from include.dsar.intake.regulations import due_at, regulation
from include.dsar.intake.request_types import action
from include.dsar.model import Action, Regulation


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ("2026-03-15T10:30:00+00:00", "2026-04-15T10:30:00+00:00"),
        ("2026-01-31T10:00:00+00:00", "2026-02-28T10:00:00+00:00"),
        ("2028-01-31T10:00:00+00:00", "2028-02-29T10:00:00+00:00"),
        ("2026-02-28T10:00:00+00:00", "2026-03-28T10:00:00+00:00"),
        ("2026-05-31T00:00:00+00:00", "2026-06-30T00:00:00+00:00"),
        ("2026-12-31T23:59:59+00:00", "2027-01-31T23:59:59+00:00"),
        ("2026-01-31T10:00:00+05:30", "2026-02-28T10:00:00+05:30"),
        ("2026-03-15T10:30:00", "2026-04-15T10:30:00"),
        ("2026-02-28T21:30:00-05:00", "2026-03-28T21:30:00-05:00"),
        ("2026-03-01T02:30:00+00:00", "2026-04-01T02:30:00+00:00"),  # the same moment in UTC
    ],
)
def test_gdpr_allows_one_calendar_month(received: str, due: str) -> None:
    """A GDPR request is due on the same date of the next month, or on the last day of that month."""
    assert due_at(Regulation.GDPR, datetime.fromisoformat(received)) == datetime.fromisoformat(due)


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ("2026-01-01T10:00:00+00:00", "2026-02-15T10:00:00+00:00"),
        ("2028-02-01T10:00:00+00:00", "2028-03-17T10:00:00+00:00"),
    ],
)
def test_ccpa_allows_45_days(received: str, due: str) -> None:
    """A CCPA request is due after 45 calendar days."""
    assert due_at(Regulation.CCPA, datetime.fromisoformat(received)) == datetime.fromisoformat(due)


def test_a_change_of_clocks_does_not_change_the_hour() -> None:
    """The due time has the same hour of the day even if the clocks change in between."""
    berlin = ZoneInfo("Europe/Berlin")
    due = due_at(Regulation.GDPR, datetime(2026, 3, 15, 9, tzinfo=berlin))
    assert due == datetime(2026, 4, 15, 7, tzinfo=UTC)


@pytest.mark.parametrize("law", list(Regulation))
def test_a_due_date_out_of_range_is_invalid(law: Regulation) -> None:
    """A due date that is out of range makes the row invalid."""
    with pytest.raises(InvalidRow, match="received_at"):
        due_at(law, datetime(9999, 12, 31, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "law"),
    [("GDPR", Regulation.GDPR), (" gdpr ", Regulation.GDPR), ("Ccpa", Regulation.CCPA)],
)
def test_a_regulation_is_read_in_any_case(text: str, law: Regulation) -> None:
    """A regulation is accepted in upper and lower case."""
    assert regulation(text) is law


@pytest.mark.parametrize("text", ["", "LGPD", None, float("nan"), 1])
def test_an_unknown_regulation_is_invalid(text: object) -> None:
    """An unknown regulation makes the row invalid. The reason lists the known regulations."""
    with pytest.raises(InvalidRow, match="expected GDPR or CCPA"):
        regulation(text)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("access", Action.ACCESS),
        ("export", Action.ACCESS),
        ("portability", Action.ACCESS),
        ("erasure", Action.ERASURE),
        ("delete", Action.ERASURE),
        (" Deletion ", Action.ERASURE),
    ],
)
def test_an_action_is_read_from_its_synonyms(text: str, asked: Action) -> None:
    """Synonyms of an action are accepted, in upper and lower case."""
    assert action(text) is asked


@pytest.mark.parametrize("text", ["", "rectification", None, float("nan"), 1])
def test_an_unknown_request_type_is_invalid(text: object) -> None:
    """An unknown request type makes the row invalid. Intake never guesses between access and erasure."""
    with pytest.raises(InvalidRow, match="unknown request_type"):
        action(text)
