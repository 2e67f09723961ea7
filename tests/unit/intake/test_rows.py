"""Intake reads each row of the source, or refuses it with a reason."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.accounts import ACCOUNTS
from include.dsar.accounts import Account
from include.dsar.errors import ConfigurationError, InvalidRow
from include.dsar.intake.rows import Rules, request_id
from include.dsar.ledger.staging import PlannedRequest
from include.dsar.model import IdentityKind, State
from include.regulations import REGULATIONS

RULES = Rules(ACCOUNTS, "DE", b"key", REGULATIONS)
NOW = datetime(2026, 11, 20, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "request_id": "r-1",
    "request_type": "erasure",
    "regulation": "GDPR",
    "received_at": NOW - timedelta(days=1),
    "user_id": "u1",
}

ZONES = st.sampled_from(
    [None, UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=23, minutes=59))]
)
TEXTS = st.text(st.characters(), max_size=40) | st.sampled_from(
    [
        "[" * 100_000,
        "[1e999]",
        '["\\ud800"]',
        "x" * 1_000_000,
        "a@b.c",
        "+49",
        "ID5*",
        "1" * 5000,
        "0-0-0",
        "ß@ß.de",
    ]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals()
    | TEXTS | st.binary(max_size=9) | st.uuids() | st.dates() | st.times() | st.timedeltas()
    | st.datetimes(timezones=ZONES) | st.sampled_from([datetime.min, datetime.max, pd.NaT, pd.NA, np.nan])
    | st.emails() | st.just(Decimal("sNaN")) | st.complex_numbers()
)  # fmt: skip
CELLS = SCALARS | st.lists(SCALARS, max_size=4) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
COLUMNS = [*GOOD, *IdentityKind, "accounts", "due_at"]


@settings(max_examples=1500, deadline=None)
@given(st.dictionaries(st.sampled_from(COLUMNS), CELLS, max_size=4))
def test_any_row_raises_only_invalid_row(cells: dict[str, Any]) -> None:
    """A test row is a valid row in which one to four cells were replaced with any value. Reading the row
    raises no error except InvalidRow.
    """
    try:
        request = RULES.read({**GOOD, **cells}, NOW)
    except InvalidRow as error:
        assert str(error).isprintable()
        return
    assert isinstance(request, PlannedRequest)
    assert len({(s.account, s.identity_hash) for s in request.submissions}) == len(request.submissions)
    assert 1969 <= request.due_at.astimezone(UTC).year <= 3000
    assert request.received_at.tzinfo


def test_a_number_that_is_too_long_for_text_is_refused() -> None:
    """A number that is too long for text is refused, because Python raises an error when it converts the
    number to text.
    """
    for column in COLUMNS:
        with pytest.raises(InvalidRow):
            RULES.read({**GOOD, column: 10**5000}, NOW)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(COLUMNS), st.text(st.characters(), min_size=12, max_size=60))
def test_no_reason_holds_the_value(column: str, value: str) -> None:
    """No reason contains the value, because reasons are written to the source and to logs."""
    try:
        RULES.read({**GOOD, column: value}, NOW)
    except InvalidRow as error:
        assert value.strip() not in str(error)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("r-1", "r-1"),
        (7, "7"),
        (0, "0"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("A.b_c-9", "A.b_c-9"),
    ],
)
def test_ids_are_text_whole_numbers_or_uuids(cell: object, text: str) -> None:
    """The text of an id is the same as in the source."""
    assert request_id(cell) == text


@pytest.mark.parametrize(
    "cell", [None, "", " ", float("nan"), pd.NaT, pd.NA, -1, 7.0, True, b"x", Decimal(7), [1], " r-1", "r-1 "]
)
def test_other_values_are_not_ids(cell: object) -> None:
    """Other values are refused. An id with blanks around it is refused too. If the blanks were removed,
    write-back would not find the row.
    """
    with pytest.raises(InvalidRow, match=r"^(unsafe request_id|request_id is empty)"):
        request_id(cell)


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01 10:00:00.5", datetime(2026, 11, 1, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-01T10:00:00Z", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        ("2026-11-01T10:00:00+05:30", datetime(2026, 11, 1, 4, 30, tzinfo=UTC)),
        (" 20261101T1000 ", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        (date(2026, 11, 1), datetime(2026, 11, 1, tzinfo=UTC)),
        (datetime(2026, 11, 1, 10), datetime(2026, 11, 1, 10, tzinfo=UTC)),
        (pd.Timestamp("2026-11-01T10:00", tz="Europe/Berlin"), datetime(2026, 11, 1, 9, tzinfo=UTC)),
    ],
)
def test_times_are_iso_8601_and_utc_without_a_zone(cell: object, moment: datetime) -> None:
    """A date without a time means midnight UTC."""
    assert RULES.read({**GOOD, "received_at": cell}, NOW).received_at == moment


@pytest.mark.parametrize(
    "cell", ["now", "today", "10:00", "01/02/2026", "1.2.2026", "Nov 1, 2026", "1762000000", "2026-13-01",
             "2026-02-30", "٢٠٢٦-11-01", "2026-11-01T25:00", b"2026-11-01", 1762000000, 1.5, True, time(10),
             timedelta(1), [NOW]]
)  # fmt: skip
def test_ambiguous_times_are_refused(cell: object) -> None:
    """Intake never guesses a time, because the legal due date depends on it."""
    with pytest.raises(InvalidRow, match=r"^received_at is (not a time|out of range)"):
        RULES.read({**GOOD, "received_at": cell}, NOW)


EMPTY = [None, float("nan"), pd.NaT, pd.NA, "", " ", [], "[]", "[null]", Decimal("NaN")]


@pytest.mark.parametrize("empty", EMPTY, ids=repr)
def test_each_kind_of_empty_cell_is_empty(empty: Any) -> None:
    """Every kind of empty cell is accepted for identifiers and accounts. Every kind except a list is
    accepted for due dates.
    """
    request = RULES.read({**GOOD, "email": empty, "accounts": empty}, NOW)
    assert {s.account for s in request.submissions} == {account.name for account in ACCOUNTS}
    if not isinstance(empty, list | Decimal) and "[" not in str(empty):
        assert RULES.read({**GOOD, "due_at": empty}, NOW).due_at == RULES.read(GOOD, NOW).due_at


def test_a_wrong_setting_does_not_make_a_row_invalid() -> None:
    """An unknown PHONE_REGION stops the run. Otherwise all rows with phone numbers would be invalid."""
    with pytest.raises(ConfigurationError, match="PHONE_REGION"):
        Rules(ACCOUNTS, "XX", b"key", REGULATIONS).read({**GOOD, "phone": "0170 1234567"}, NOW)


def test_hashes_are_keyed_and_equal_for_equal_identifiers() -> None:
    """Another key gives other hashes. Another spelling of an identifier gives the same hash."""

    def hashes(rules: Rules, **cells: Any) -> list[str]:
        return [s.identity_hash for s in rules.read({**GOOD, **cells}, NOW).submissions]

    assert hashes(RULES, email="A@Example.com") == hashes(RULES, email=[" a@example.com "])
    assert set(hashes(RULES)).isdisjoint(set(hashes(Rules(ACCOUNTS, "DE", b"another", REGULATIONS))) - {""})


def test_an_account_without_identities_gets_no_new_submissions() -> None:
    """An account with identities=() only finishes its open work. The receipt says why the account was not
    asked.
    """
    accounts = (Account("batch", vendor="batch"), Account("batch_ios", vendor="batch", identities=()))
    planned, left_out = Rules(accounts, None, b"key", REGULATIONS).read(GOOD, NOW).submissions
    assert (planned.account, planned.state) == ("batch", State.PLANNED)
    assert (left_out.account, left_out.state, left_out.identifiers) == (
        "batch_ios", State.NOT_APPLICABLE, None
    )  # fmt: skip
    assert left_out.reason == "no longer receives identifiers"
