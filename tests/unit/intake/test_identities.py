from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import phonenumbers
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given, settings
from hypothesis import strategies as st

from include.dsar.errors import InvalidRow
from include.dsar.intake.identities import normalise, values
from include.dsar.model import IdentityKind

UUID_TEXT = "580D2B4C-29a5-7a7b-85dc-44132c023ac8"


@pytest.mark.parametrize(
    ("kind", "value", "normal"),
    [
        (IdentityKind.EMAIL, " Ann.B@Example.COM ", "ann.b@example.com"),
        (IdentityKind.EMAIL, "a@shop.test", "a@shop.test"),
        (IdentityKind.EMAIL, "an.n+x@gmail.com", "an.n+x@gmail.com"),
        (IdentityKind.EMAIL, "Jörg@Bücher.example", "jörg@bücher.example"),
        (IdentityKind.PHONE, " +1 (202) 555-0143 ", "+12025550143"),
        (IdentityKind.PHONE, "+1 555 555 0100", "+15555550100"),
        (IdentityKind.PHONE, "+44 20.7946.0958", "+442079460958"),
        (IdentityKind.PHONE, "+44\u00a020\u20117946\u20110958", "+442079460958"),
        (IdentityKind.USER_ID, "  User 1 ", "User 1"),
        (IdentityKind.USER_ID, "x" * 512, "x" * 512),
        (IdentityKind.INSTALL_ID, "Ab-1", "Ab-1"),
        (IdentityKind.ADVERTISING_ID, f" {UUID_TEXT}\n", UUID_TEXT),
        (IdentityKind.ID5_ID, "ID5*aB/c=", "ID5*aB/c="),
        (IdentityKind.ID5_ID, "ID5-ZHMO", "ID5-ZHMO"),
        (IdentityKind.ID5_ID, "ID5*" + "x" * 1000, "ID5*" + "x" * 1000),
    ],
)
def test_identifiers_are_normalised(kind: IdentityKind, value: str, normal: str) -> None:
    """A normalised identifier stays the same if it is normalised again."""
    assert normalise(kind, value) == normal
    assert normalise(kind, normal) == normal


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        *((kind, "  ", f"{kind} is empty") for kind in IdentityKind),
        *((kind, "a\x00b", f"{kind} contains control characters") for kind in IdentityKind),
        *((kind, "a\u2028b", f"{kind} contains control characters") for kind in IdentityKind),
        *((kind, "a\ud800b", f"{kind} contains invalid Unicode (lone surrogates)") for kind in IdentityKind),
        (IdentityKind.EMAIL, "secret", "malformed email"),
        (IdentityKind.EMAIL, "secret@", "malformed email"),
        (IdentityKind.EMAIL, "secret@a@b.com", "malformed email"),
        (IdentityKind.EMAIL, "Secret <secret@b.com>", "malformed email"),
        (IdentityKind.EMAIL, "secret@b.com, c@d.com", "malformed email"),
        (IdentityKind.PHONE, "secret", "malformed phone"),
        (IdentityKind.PHONE, "+1 800 FLOWERS", "malformed phone"),
        (IdentityKind.PHONE, "+1", "malformed phone"),
        (IdentityKind.PHONE, "+999 123 4567", "malformed phone"),
        (IdentityKind.PHONE, "+1202555014312345", "malformed phone"),
        (IdentityKind.PHONE, "+12025550143 ext. 5", "malformed phone"),
        (IdentityKind.PHONE, "+12025550143, +12025550144", "malformed phone"),
        (IdentityKind.PHONE, "202 555 0143", "phone has no country code, and no PHONE_REGION is set"),
        (IdentityKind.ADVERTISING_ID, "secret", "advertising_id is not a UUID"),
        (IdentityKind.ADVERTISING_ID, UUID_TEXT.replace("-", ""), "advertising_id is not a UUID"),
        (
            IdentityKind.ADVERTISING_ID,
            "00000000-0000-0000-0000-000000000000",
            "advertising_id is all zeros: the device withholds it",
        ),
        (IdentityKind.ID5_ID, "secret", "id5_id begins with neither ID5* nor ID5-"),
        (IdentityKind.USER_ID, "x" * 513, "user_id is longer than 512 characters"),
        (IdentityKind.ID5_ID, "ID5*" + "x" * 2048, "id5_id is longer than 2048 characters"),
    ],
)
def test_malformed_identifiers_are_refused(kind: IdentityKind, value: str, reason: str) -> None:
    """The reason for a malformed identifier does not contain the identifier."""
    with pytest.raises(InvalidRow) as caught:
        normalise(kind, value)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("value", "region", "normal"),
    [
        ("202-555-0143", "US", "+12025550143"),
        ("202-555-0143", "us", "+12025550143"),
        ("030 1234567", "DE", "+49301234567"),
        ("0049 30 1234567", "DE", "+49301234567"),
        ("+44 20 7946 0958", "US", "+442079460958"),
    ],
)
def test_a_region_completes_local_phone_numbers(value: str, region: str, normal: str) -> None:
    """The region changes only numbers without a country code."""
    assert normalise(IdentityKind.PHONE, value, phone_region=region) == normal


def test_a_number_without_area_code_is_malformed() -> None:
    """A number without its area code is malformed, even with a region."""
    with pytest.raises(InvalidRow, match="malformed phone"):
        normalise(IdentityKind.PHONE, "555-0100", phone_region="US")


@given(kind=st.sampled_from(IdentityKind), value=st.text())
def test_any_text_is_normalised_or_refused(kind: IdentityKind, value: str) -> None:
    """Any text is normalised, or refused with a reason that does not quote the text."""
    try:
        normal = normalise(kind, value)
    except InvalidRow:
        return
    assert normal and normal == normal.strip()
    assert normalise(kind, normal) == normal


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        (None, []),
        (float("nan"), []),
        (np.nan, []),
        (pd.NA, []),
        (pd.NaT, []),
        (Decimal("NaN"), []),
        (Decimal("sNaN"), []),
        ("", []),
        ("  ", []),
        (" a ", ["a"]),
        ("a,b", ["a,b"]),
        (7, ["7"]),
        (0, ["0"]),
        (123.0, ["123"]),
        (np.int64(123), ["123"]),
        (np.float64(123.0), ["123"]),
        (np.str_("a"), ["a"]),
        (Decimal("123"), ["123"]),
        (Decimal("1E+3"), ["1000"]),
        (10**20, [str(10**20)]),
        (UUID(UUID_TEXT), [UUID_TEXT.lower()]),
        ([], []),
        ([None, " ", "a", "b", "a ", float("nan"), pd.NA], ["a", "b"]),
        (("b", 1, "1"), ["b", "1"]),
        (np.array(["a", None, "b"], dtype=object), ["a", "b"]),
        (np.array([1.0, np.nan]), ["1"]),
        (np.array(5), ["5"]),
        ('["a", 12, null, "", "a"]', ["a", "12"]),
        (" [ ] ", []),
        ("[9007199254740993]", ["9007199254740993"]),
        (["[a]"], ["[a]"]),
        (list(range(50)), [str(n) for n in range(50)]),
        (["a"] * 1000, ["a"]),
    ],
    ids=repr,
)
def test_a_cell_gives_its_values_in_order(cell: object, found: list[str]) -> None:
    """A cell gives its values in their order, without blanks and duplicates."""
    assert values(cell) == found


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (True, "neither text nor a whole number"),
        (np.bool_(True), "neither text nor a whole number"),
        (b"a", "neither text nor a whole number"),
        ({"a": 1}, "neither text nor a whole number"),
        ({"a"}, "neither text nor a whole number"),
        (object(), "neither text nor a whole number"),
        (1.5, "neither text nor a whole number"),
        (Decimal("1.5"), "neither text nor a whole number"),
        (Decimal("Infinity"), "neither text nor a whole number"),
        (Decimal("1E+999999"), "neither text nor a whole number"),
        (pd.Timestamp("2026-01-01"), "neither text nor a whole number"),
        (10**5000, "neither text nor a whole number"),
        (2.0**53, "too large to be exact"),
        (float("inf"), "too large to be exact"),
        ([["a"]], "neither text nor a whole number"),
        (np.array([["a"]]), "neither text nor a whole number"),
        ('[["a"]]', "neither text nor a whole number"),
        ('[{"a": 1}]', "neither text nor a whole number"),
        ("[true]", "neither text nor a whole number"),
        ("[a, b]", "the list is not valid JSON"),
        ("[" * 100_000, "the list is not valid JSON"),
        ("[" + "9" * 5000 + "]", "the list is not valid JSON"),
        (list(range(51)), "more than 50 values"),
    ],
    ids=lambda cell: repr(type(cell)),
)
def test_cells_of_other_types_are_refused(cell: object, reason: str) -> None:
    """A cell of another type is refused. A number that is too large to be exact is refused too."""
    with pytest.raises(InvalidRow, match=reason):
        values(cell)


def test_the_module_does_not_need_pandas() -> None:
    """The module can be imported without pandas."""
    code = "import sys, include.dsar.intake.identities; assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


LABEL = st.text("abz09-_.XN", min_size=1, max_size=70) | st.sampled_from(
    ["xn--a", "ab--c", "a" * 63, "a" * 64]
)


@settings(max_examples=2000, deadline=None)
@given(
    local=st.text("abZ09._+-'\"!", min_size=1, max_size=70),
    labels=st.lists(LABEL, max_size=4),
    top=st.sampled_from(
        ["com", "c", "test", "local", "localhost", "onion", "c0m", "-", "museum", "arpa", "K"]
    ),
)
def test_the_fast_path_for_plain_addresses_gives_the_library_result(
    local: str, labels: list[str], top: str
) -> None:
    """The fast path accepts the same addresses as the library, and normalises them to the same text."""
    address = f"{local}@{'.'.join([*labels, top])}"
    try:
        told = validate_email(address, check_deliverability=False, test_environment=True).normalized.lower()
    except EmailNotValidError:
        told = None
    if told is None:
        with pytest.raises(InvalidRow):
            normalise(IdentityKind.EMAIL, address)
    else:
        assert normalise(IdentityKind.EMAIL, address) == told


@given(
    first=st.sampled_from(["+1", "+1 ", "+1-", "+1.", "+11", "1", "+", "+1  "]),
    area=st.sampled_from(["202", "(415)", "(212", "911", "999", "055", "155", "1202", "(800) ", "2 02"]),
    rest=st.from_regex(r"[ .-]?[0-9]{3}[ .-]?[0-9]{3,5}", fullmatch=True),
)
def test_the_fast_path_for_plain_phones_gives_the_library_result(first: str, area: str, rest: str) -> None:
    """The fast path accepts the same numbers as the library, and normalises them to the same text."""
    number = f"{first}{area}{rest}"
    told = None
    with suppress(phonenumbers.NumberParseException):
        parsed = phonenumbers.parse(number, None)
        if phonenumbers.is_possible_number_with_reason(parsed) == phonenumbers.ValidationResult.IS_POSSIBLE:
            told = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    if told is None:
        with pytest.raises(InvalidRow):
            normalise(IdentityKind.PHONE, number)
    else:
        assert normalise(IdentityKind.PHONE, number) == told
