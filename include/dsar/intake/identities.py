"""Reads identifiers from cells of the source and normalises them.

The text of InvalidRow never contains the value, because the text is written to the source's
`status_reason`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from uuid import UUID

import phonenumbers
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from include.dsar.errors import ConfigurationError, InvalidRow
from include.dsar.model import IdentityKind

MAX_VALUES = 50  # of one kind for one data subject; more means a broken export
MAX_LENGTHS = {IdentityKind.ID5_ID: 2048}  # characters; an encrypted ID5 ID is long
MAX_LENGTH = 512
LARGEST_EXACT = 2**53  # a larger float cannot hold every whole number: it may be another id
NOT_A_UUID = "advertising_id is not a UUID"
UUID_FORM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
PLAIN_EMAIL = re.compile(  # the library accepts these too, and does not change them
    r"(?=.{1,64}@.{1,180}$)[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*"
    r"@(?:(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z]{2,63})",
    re.ASCII,
)
SPECIAL = {name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES}  # not public addresses
# North American numbers have ten digits and no prefix. The library gives the same result sixty times slower.
PLAIN_PHONE = re.compile(r"\+1[ .-]?(?:([2-9][0-9]{2})|\(([2-9][0-9]{2})\))[ .-]?([0-9]{3})[ .-]?([0-9]{4})")
PHONE_FORM = re.compile(
    r"\+?[0-9\s().\-\u2010-\u2015/]+"
)  # no letters: neither vanity numbers nor extensions


def normalise(kind: IdentityKind, value: str, *, phone_region: str | None = None) -> str:
    """Normalises an identifier. Raises InvalidRow if it is malformed.

    `phone_region` is the country (ISO 3166, two letters) of numbers without a country code. Raises
    ConfigurationError if the country is unknown.
    """
    value = value.strip()
    if not value:
        raise InvalidRow(f"{kind} is empty")
    longest = MAX_LENGTHS.get(kind, MAX_LENGTH)
    if len(value) > longest:
        raise InvalidRow(f"{kind} is longer than {longest} characters")
    if not (value.isascii() and value.isprintable()):
        categories = {unicodedata.category(character) for character in value}
        if categories & {"Cc", "Zl", "Zp"}:
            raise InvalidRow(f"{kind} contains control characters")
        if "Cs" in categories:
            raise InvalidRow(f"{kind} contains invalid Unicode (lone surrogates)")
    match kind:
        case IdentityKind.EMAIL:
            return _email(value)
        case IdentityKind.PHONE:
            return _phone(value, phone_region)
        case IdentityKind.ADVERTISING_ID:
            return _advertising_id(value)
        case IdentityKind.ID5_ID if not value.startswith(("ID5*", "ID5-")):
            raise InvalidRow("id5_id begins with neither ID5* nor ID5-")
    return value


def values(cell: object) -> list[str]:
    """Returns the identifiers in a cell of the source, trimmed, in order, without blanks and duplicates.

    A cell is empty (None, NaN, NA), a text, a whole number, a list of texts and numbers, or the text of a
    JSON array. Raises InvalidRow for anything else.
    """
    cell = _plain(cell)
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = _json_array(cell)
    found = (_text(item) for item in (cell if isinstance(cell, list | tuple) else [cell]))
    distinct = list(dict.fromkeys(text for text in found if text))
    if len(distinct) > MAX_VALUES:
        raise InvalidRow(f"more than {MAX_VALUES} values")
    return distinct


def _email(value: str) -> str:
    lowered = value.lower()
    if value.isascii() and (plain := PLAIN_EMAIL.fullmatch(lowered)) and plain[1] not in SPECIAL:
        return lowered  # the library gives the same result thirty times slower
    try:
        # test_environment accepts .test, which RFC 6761 reserves for tests. The demo uses it.
        parsed = validate_email(value, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise InvalidRow("malformed email") from None
    return parsed.normalized.lower()


def _phone(value: str, region: str | None) -> str:
    """Returns a phone number in E.164. Only the length is checked. A check of assigned ranges could reject
    valid numbers, because our copy of the numbering plan may be old.
    """
    if region is not None and region.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise ConfigurationError("PHONE_REGION is not a two-letter country code")
    if plain := PLAIN_PHONE.fullmatch(value):
        return "+1" + "".join(filter(None, plain.groups()))
    if not PHONE_FORM.fullmatch(value):
        raise InvalidRow("malformed phone")
    if region is None and not value.startswith("+"):
        raise InvalidRow("phone has no country code, and no PHONE_REGION is set")
    try:
        number = phonenumbers.parse(value, region and region.upper())
    except phonenumbers.NumberParseException:
        raise InvalidRow("malformed phone") from None
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise InvalidRow("malformed phone")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _advertising_id(value: str) -> str:
    """Returns the id without a change of case, because Batch keeps the id as the device wrote it. ID5's
    module lowers the case.
    """
    if not UUID_FORM.fullmatch(value):
        raise InvalidRow(NOT_A_UUID)
    if not value.strip("0-"):
        raise InvalidRow("advertising_id is all zeros: the device withholds it")
    return value


def _plain(cell: object) -> object:
    """Converts numpy's types: an array to a list, a scalar to Python's type."""
    tolist = getattr(cell, "tolist", None)
    return tolist() if callable(tolist) else cell


def _json_array(text: str) -> Iterable[object]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRow("the list is not valid JSON") from None
    return parsed if isinstance(parsed, list) else []


def _text(item: object) -> str | None:
    """Returns one value as text. None if the value is empty."""
    item = _plain(item)
    # pandas' NA and NaT, recognised by name because pandas may not be installed.
    if item is None or type(item).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(item, str):
        return item.strip()
    if isinstance(item, UUID):  # from a column of PostgreSQL's type uuid
        return str(item)
    if isinstance(item, float | Decimal):
        return _whole(item)
    if isinstance(item, int) and not isinstance(item, bool) and item.bit_length() <= 1024:
        return str(item)
    raise InvalidRow("the value is neither text nor a whole number")


def _whole(number: float | Decimal) -> str | None:
    """Returns a whole number as text: 123.0 becomes 123, because pandas turns whole numbers into floats if
    a column has gaps.
    """
    if (isinstance(number, Decimal) and number.is_nan()) or number != number:
        return None
    if isinstance(number, float) and not abs(number) < LARGEST_EXACT:
        raise InvalidRow("the number is too large to be exact: cast the column to text")
    if isinstance(number, Decimal) and not (number.is_finite() and abs(number.adjusted()) < 100):
        raise InvalidRow("the value is neither text nor a whole number")
    if number != int(number):
        raise InvalidRow("the value is neither text nor a whole number")
    return str(int(number))
