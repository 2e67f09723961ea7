"""Due dates follow each regulation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from include.dsar.model import Action
from include.dsar.regulations import LastDay, Period, Regulation, Regulations
from include.regulations import ARGENTINA, CCPA, GDPR, LGPD, REGULATIONS, UK_GDPR

GERMAN = replace(GDPR, last_day=LastDay.MOVES, holidays="DE")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("law", "received", "due"),
    [
        # One calendar month ends on the same date of the next month, or on the last day of that month.
        (GDPR, "2026-03-15T10:30:00+00:00", "2026-04-15T10:30:00+00:00"),
        (GDPR, "2026-01-31T10:00:00+00:00", "2026-02-28T10:00:00+00:00"),
        (GDPR, "2028-01-31T10:00:00+00:00", "2028-02-29T10:00:00+00:00"),
        (GDPR, "2026-02-28T10:00:00+00:00", "2026-03-28T10:00:00+00:00"),
        (GDPR, "2026-12-31T23:59:59+00:00", "2027-01-31T23:59:59+00:00"),
        (GDPR, "2026-01-31T10:00:00+05:30", "2026-02-28T10:00:00+05:30"),
        # The same moment in New York and in UTC.
        (GDPR, "2026-02-28T21:30:00-05:00", "2026-03-28T21:30:00-05:00"),
        (GDPR, "2026-03-01T02:30:00+00:00", "2026-04-01T02:30:00+00:00"),
        # A due date on a Saturday stays, unless the deployment wants the next working day.
        (GDPR, "2026-02-28T10:00:00+01:00", "2026-03-28T10:00:00+01:00"),
        (GERMAN, "2026-02-28T10:00:00+01:00", "2026-03-30T10:00:00+01:00"),
        # Friday, 25 December, is a holiday, and a weekend follows.
        (GERMAN, "2026-11-25T10:00:00+01:00", "2026-12-28T10:00:00+01:00"),
        (CCPA, "2026-01-01T10:00:00+00:00", "2026-02-15T10:00:00+00:00"),
        (CCPA, "2028-02-01T10:00:00+00:00", "2028-03-17T10:00:00+00:00"),
        (LGPD, "2026-01-01T10:00:00-03:00", "2026-01-16T10:00:00-03:00"),
        # Five working days, from a Monday before Christmas: the 25th is a holiday in Argentina.
        (ARGENTINA, "2026-12-21T10:00:00-03:00", "2026-12-29T10:00:00-03:00"),
    ],
)
def test_the_due_date_of_an_erasure(law: Regulation, received: str, due: str) -> None:
    """The due date of an erasure is counted in the zone of its receipt."""
    assert law.due_at(Action.ERASURE, at(received)).isoformat() == due


def test_each_action_can_have_its_own_period() -> None:
    """In Argentina, access is due after 10 calendar days, and erasure after 5 working days."""
    assert ARGENTINA.due_at(Action.ACCESS, at("2026-12-21T10:00:00-03:00")).day == 31


def test_a_change_of_clocks_does_not_change_the_hour() -> None:
    """The due time has the same hour of the day even if the clocks change in between."""
    due = GDPR.due_at(Action.ACCESS, datetime(2026, 3, 15, 9, tzinfo=ZoneInfo("Europe/Berlin")))
    assert due == datetime(2026, 4, 15, 7, tzinfo=UTC)


def test_an_extension_follows_the_response_period() -> None:
    """GDPR allows two more months, CCPA 45 more days, and LGPD none."""
    received = at("2026-01-31T10:00:00+00:00")
    assert GDPR.extended_due_at(Action.ACCESS, received) == at("2026-04-30T10:00:00+00:00")
    assert CCPA.extended_due_at(Action.ACCESS, received) == at("2026-05-01T10:00:00+00:00")
    assert LGPD.extended_due_at(Action.ACCESS, received) is None


def test_the_receipt_of_a_ccpa_request_is_confirmed_within_ten_working_days() -> None:
    """Weekends and holidays of California do not count. 31 March is Cesar Chavez Day."""
    assert CCPA.ack_due_at(at("2026-03-23T10:00:00-07:00")) == at("2026-04-07T10:00:00-07:00")
    assert GDPR.ack_due_at(at("2026-03-23T10:00:00-07:00")) is None


@pytest.mark.parametrize("law", REGULATIONS.values(), ids=list(REGULATIONS))
def test_every_shipped_regulation_is_complete(law: Regulation) -> None:
    """Each shipped regulation cites its articles. Its extension ends after its due date."""
    received = at("2026-11-25T10:00:00+00:00")
    assert law.cites and law.title
    for action in Action:
        assert received < law.due_at(action, received)
        assert (law.extended_due_at(action, received) or at("9999-01-01T00:00:00Z")) > law.due_at(
            action, received
        )


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("GDPR", GDPR),
        (" gdpr ", GDPR),
        ("Ccpa", CCPA),
        ("CPRA", CCPA),
        ("uk-gdpr", UK_GDPR),
        ("UK GDPR", UK_GDPR),
    ],
)
def test_a_regulation_is_found_by_its_name_or_an_alias(text: str, law: Regulation) -> None:
    """Case, blanks and punctuation do not count."""
    assert REGULATIONS.find(text) is law


def test_an_unknown_regulation_is_not_found() -> None:
    """A name must match completely."""
    assert REGULATIONS.find("") is None
    assert REGULATIONS.find("GDPR 2") is None


def test_the_jurisdiction_of_id5() -> None:
    """If a law has no jurisdiction for ID5, the deployment's setting for these laws applies."""
    assert REGULATIONS.id5_jurisdiction(LGPD) is None
    assert REGULATIONS.id5_jurisdiction(UK_GDPR) == "GDPR"
    assert Regulations((GDPR, LGPD), id5_jurisdiction="CCPA").id5_jurisdiction(LGPD) == "CCPA"


def test_the_data_subject_reads_the_title_and_the_right() -> None:
    """The text has the title, and the right if the regulation names one."""
    assert (
        CCPA.law(Action.ERASURE) == "California Consumer Privacy Act, Civil Code § 1798.105: right to delete"
    )
    assert REGULATIONS["KVKK"].law(Action.ACCESS) == REGULATIONS["KVKK"].title


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "gdpr"}, "capital letters"),
        ({"response": {Action.ACCESS: Period(days=1)}}, "each of access, erasure"),
        ({"holidays": "DE-XX"}, "no holidays are known for DE-XX"),
    ],
)
def test_a_mistake_in_a_regulation_is_named(fields: dict[str, object], message: str) -> None:
    """A mistake in include/regulations.py stops the deployment with a sentence that names the entry."""
    with pytest.raises(ValueError, match=message):
        replace(GDPR, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("lengths", [{}, {"days": -1}, {"days": 1, "months": 1}, {"working_days": 401}])
def test_a_period_has_one_length(lengths: dict[str, int]) -> None:
    """A period has months, days or working days."""
    with pytest.raises(ValueError, match="a period has"):
        Period(**lengths)


def test_two_regulations_cannot_share_a_name() -> None:
    """An alias that belongs to another regulation is an error."""
    with pytest.raises(ValueError, match="two regulations are called GDPR"):
        Regulations((GDPR, replace(CCPA, aliases=("GDPR",))))
