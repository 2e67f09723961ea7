"""The vendors that this project knows, and the settings of an account at one of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from include.dsar.accounts import Account, AccountSettings
from include.dsar.errors import ConfigurationError, InvalidRow, ProtocolError
from include.dsar.model import IdentityKind
from include.dsar.vendors.attentive import Attentive
from include.dsar.vendors.batch import Batch
from include.dsar.vendors.besitos import Besitos
from include.dsar.vendors.id5 import Id5
from include.dsar.vendors.replies import opaque_id
from include.dsar.vendors.vendor import OnUncertain, Vendor

VENDORS: Mapping[str, Vendor] = MappingProxyType(
    {known.name: known for known in (Besitos(), Batch(), Id5(), Attentive())}
)

# What a number in Extra can replace.
NUMBERS = (
    "requests_per_second",
    "max_concurrency",
    "users_per_call",
    "daily_quota",
    "poll_min_seconds",
    "poll_max_seconds",
    "give_up_after_days",
)


def vendor(name: str) -> Vendor:
    """The vendor of that name. Raises ConfigurationError."""
    try:
        return VENDORS[name]
    except KeyError:
        raise ConfigurationError(f"unknown vendor {name!r}; known are {', '.join(VENDORS)}") from None


def settings(
    account: Account, *, base_url: str | None, secret: str | None, extra: Mapping[str, object]
) -> AccountSettings:
    """The vendor's facts, with what the account's connection says instead.

    `base_url` and `secret` are the connection's host and Password; a field of `extra` that is absent
    or blank leaves the vendor's own value. Raises ConfigurationError, which names the connection and
    the field, and never a value.
    """
    known = vendor(account.vendor)
    _check_identities(account, known)
    given = {name: value for name, value in extra.items() if value is not None and value != ""}
    try:
        resolved = AccountSettings.model_validate(
            _numbers(known)
            | {name: _number(account, name, given[name]) for name in NUMBERS if name in given}
            | {
                "account": account.name,
                "vendor": known.name,
                "connection": account.connection,
                "base_url": _base_url(account, base_url or known.base_url),
                "secret": _secret(account, secret),
                "on_uncertain": _on_uncertain(account, known, given.get("on_uncertain")),
                "reply_to_email": _mailbox(account, given.get("reply_to_email")),
            }
            | {name: _path_value(account, name, known, given.get(name)) for name in ("partner_id", "api_key")}
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise _wrong(account, f"{first['loc'][0]} in Extra: {first['msg']}") from None
    if resolved.poll_max_seconds < resolved.poll_min_seconds:
        raise _wrong(account, "poll_max_seconds is less than poll_min_seconds")
    if known.users_per_call == 1 and resolved.users_per_call != 1:
        raise _wrong(account, f"users_per_call in Extra: {known.title} takes one user in a call")
    return resolved


def _numbers(known: Vendor) -> dict[str, Any]:
    return {
        "requests_per_second": known.requests_per_second,
        "max_concurrency": known.max_concurrency,
        "users_per_call": known.users_per_call,
        "daily_quota": known.daily_quota,
        "poll_min_seconds": known.poll_min.total_seconds(),
        "poll_max_seconds": known.poll_max.total_seconds(),
        "give_up_after_days": known.give_up_after.total_seconds() / 86_400,
    }


def _number(account: Account, field: str, value: object) -> object:
    """The value as it is, but for booleans, which pydantic would read as 0 and 1."""
    if isinstance(value, bool):
        raise _wrong(account, f"{field} in Extra: must be a number")
    return value


def _base_url(account: Account, base_url: str) -> str:
    try:
        parts = urlsplit(base_url.strip())
        usable = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        )
    except ValueError:
        usable = False
    if not usable:
        raise _wrong(account, "Host is not an address that begins with https:// or http://")
    return base_url.strip().rstrip("/")


def _secret(account: Account, secret: str | None) -> str:
    token = (secret or "").strip()
    if not token:
        raise ConfigurationError(f"put the token into Password of the connection {account.connection}")
    if not token.isascii() or not token.isprintable():
        raise _wrong(account, "Password holds characters that no header can carry")
    return token


def _on_uncertain(account: Account, known: Vendor, value: object) -> str:
    own = known.on_uncertain.value
    if value is None:
        return own
    chosen = value.strip().lower() if isinstance(value, str) else None
    if chosen not in (own, OnUncertain.HOLD.value):
        raise _wrong(account, f"on_uncertain in Extra: can be hold, or absent for {known.title}'s own, {own}")
    return str(chosen)


def _path_value(account: Account, field: str, known: Vendor, value: object) -> str | None:
    """A value that stands in the vendor's paths."""
    if value is None:
        if field in known.needs:
            raise _wrong(account, f"{field} is missing in Extra")
        return None
    try:
        return opaque_id(value.strip() if isinstance(value, str) else value)
    except ProtocolError:
        raise _wrong(account, f"{field} in Extra: must be a short text without control characters") from None


def _mailbox(account: Account, value: object) -> str | None:
    if value is None:
        return None
    from include.dsar.intake.identities import (
        normalise,  # brings all telephone prefixes of the world: intake's
    )

    try:
        return normalise(IdentityKind.EMAIL, value if isinstance(value, str) else "")
    except InvalidRow:
        raise _wrong(account, "reply_to_email in Extra: must be an e-mail address") from None


def _check_identities(account: Account, known: Vendor) -> None:
    takes = known.identities + known.optional_identities
    foreign = [kind for kind in account.identities or () if kind not in takes]
    if foreign:
        raise ConfigurationError(f"account {account.name}: {known.title} takes no {', '.join(foreign)}")


def _wrong(account: Account, problem: str) -> ConfigurationError:
    return ConfigurationError(f"connection {account.connection}: {problem}")
