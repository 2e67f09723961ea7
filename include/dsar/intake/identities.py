"""Identifiers of people: what stands in a cell of the source, and the one form that vendors are sent.

A reason that InvalidRow gives never holds the value: it ends in the source's `status_reason`.
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

MOST_VALUES = 50  # of one kind for one person; more is a broken export, not a person
LONGEST = {IdentityKind.ID5_ID: 2048}  # an encrypted ID5 ID is long
LONGEST_OTHER = 512
LARGEST_EXACT = 2**53  # above it a float no longer holds every whole number: it may be somebody else's id
NOT_A_UUID = "advertising_id is not a UUID"
UUID_FORM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
PLAIN_EMAIL = re.compile(  # a part of what the library accepts, and leaves as it is
    r"(?=.{1,64}@.{1,180}$)[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*"
    r"@(?:(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z]{2,63})",
    re.ASCII,
)
SPECIAL = {name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES}  # no address for the public
# North America's: ten digits, no prefix to strip. The library takes sixty times as long to say the same.
PLAIN_PHONE = re.compile(r"\+1[ .-]?(?:([2-9][0-9]{2})|\(([2-9][0-9]{2})\))[ .-]?([0-9]{3})[ .-]?([0-9]{4})")
PHONE_FORM = re.compile(
    r"\+?[0-9\s().\-\u2010-\u2015/]+"
)  # no letters: neither vanity numbers nor extensions


def normalise(kind: IdentityKind, value: str, *, phone_region: str | None = None) -> str:
    """The one form of an identifier. Raises InvalidRow with a reason that does not hold it.

    `phone_region` is the country (ISO 3166, two letters) of numbers without a country code; raises
    ConfigurationError for an unknown one.
    """
    value = value.strip()
    if not value:
        raise InvalidRow(f"{kind} is empty")
    longest = LONGEST.get(kind, LONGEST_OTHER)
    if len(value) > longest:
        raise InvalidRow(f"{kind} is longer than {longest} characters")
    if not (value.isascii() and value.isprintable()):
        categories = {unicodedata.category(character) for character in value}
        if categories & {"Cc", "Zl", "Zp"}:
            raise InvalidRow(f"{kind} holds control characters")
        if "Cs" in categories:
            raise InvalidRow(f"{kind} holds lone surrogates")
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
    """The identifiers in a cell of the source: trimmed, without blanks and repeats, in their order.

    A cell is empty (None, NaN, NA), one text or whole number, a list of those, or the text of a JSON
    array. Raises InvalidRow for anything else.
    """
    cell = _plain(cell)
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = _json_array(cell)
    found = (_text(item) for item in (cell if isinstance(cell, list | tuple) else [cell]))
    distinct = list(dict.fromkeys(text for text in found if text))
    if len(distinct) > MOST_VALUES:
        raise InvalidRow(f"more than {MOST_VALUES} values")
    return distinct


def _email(value: str) -> str:
    lowered = value.lower()
    if value.isascii() and (plain := PLAIN_EMAIL.fullmatch(lowered)) and plain[1] not in SPECIAL:
        return lowered  # as the library would give it back, at a thirtieth of its time
    try:
        # test_environment admits .test, which is reserved for what the demo and tests do (RFC 6761).
        parsed = validate_email(value, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise InvalidRow("malformed email") from None
    return parsed.normalized.lower()


def _phone(value: str, region: str | None) -> str:
    """E.164. Only the length is checked: whole ranges that are not assigned (fictitious 555 numbers,
    or ranges newer than our copy of the numbering plan) would otherwise turn people away."""
    if region is not None and region.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise ConfigurationError("PHONE_REGION is not a country's two letters")
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
    """As given: Batch keeps it as the device wrote it, and ID5's module lowers it for ID5."""
    if not UUID_FORM.fullmatch(value):
        raise InvalidRow(NOT_A_UUID)
    if not value.strip("0-"):
        raise InvalidRow("advertising_id is all zeros: the device withholds it")
    return value


def _plain(cell: object) -> object:
    """Without numpy's types: an array becomes a list, a scalar Python's own."""
    tolist = getattr(cell, "tolist", None)
    return tolist() if callable(tolist) else cell


def _json_array(text: str) -> Iterable[object]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRow("a list that is not JSON") from None
    return parsed if isinstance(parsed, list) else []


def _text(item: object) -> str | None:
    """One value as text; None for an empty one."""
    item = _plain(item)
    # pandas' own NA and NaT, told by name: this module is imported where pandas is not.
    if item is None or type(item).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(item, str):
        return item.strip()
    if isinstance(item, UUID):  # what PostgreSQL's uuid arrives as
        return str(item)
    if isinstance(item, float | Decimal):
        return _whole(item)
    if isinstance(item, int) and not isinstance(item, bool) and item.bit_length() <= 1024:
        return str(item)
    raise InvalidRow("a value that is neither text nor a whole number")


def _whole(number: float | Decimal) -> str | None:
    """123.0 → 123: what pandas makes of whole numbers in a column that has gaps."""
    if (isinstance(number, Decimal) and number.is_nan()) or number != number:
        return None
    if isinstance(number, float) and not abs(number) < LARGEST_EXACT:
        raise InvalidRow("a number too large to be exact: cast the column to text")
    if isinstance(number, Decimal) and not (number.is_finite() and abs(number.adjusted()) < 100):
        raise InvalidRow("a value that is neither text nor a whole number")
    if number != int(number):
        raise InvalidRow("a value that is neither text nor a whole number")
    return str(int(number))
