"""The vendors that this project supports, and the settings of an account.

This module must import little, because every Airflow process that lists its providers loads this module. It
is also loaded each time the DAG is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from include.dsar.accounts import Account, AccountSettings
from include.dsar.errors import ConfigurationError
from include.dsar.vendors.attentive import Attentive
from include.dsar.vendors.batch import Batch
from include.dsar.vendors.besitos import Besitos
from include.dsar.vendors.id5 import Id5
from include.dsar.vendors.opendsr import OpenDsr
from include.dsar.vendors.pacing_fields import connection_fields
from include.dsar.vendors.vendor import Vendor

VENDORS: Mapping[str, Vendor] = MappingProxyType(
    {known.name: known for known in (Besitos(), Batch(), Id5(), Attentive(), OpenDsr())}
)


def vendor(name: str) -> Vendor:
    """Returns the vendor with this name. Raises ConfigurationError if no vendor has this name."""
    try:
        return VENDORS[name]
    except KeyError:
        raise ConfigurationError(f"unknown vendor {name!r}; known vendors: {', '.join(VENDORS)}") from None


def settings(
    account: Account, *, base_url: str | None, secret: str | None, extra: Mapping[str, object]
) -> AccountSettings:
    """Returns the settings of an account from the fields of its connection.

    `base_url` and `secret` are the connection's host and Password. If a field is absent or blank, the
    vendor's default applies. Raises ConfigurationError if a field is not valid. The error names the
    connection and the field, but contains no value.
    """
    known = vendor(account.vendor)
    _check_identities(account, known)
    try:
        values = {each.name: each.parse(extra.get(each.name)) for each in connection_fields(known)}
        resolved = AccountSettings(
            account=account.name,
            vendor=known.name,
            connection=account.connection,
            base_url=_base_url(base_url or known.base_url),
            secret=_secret(account, secret),
            breaker=account.breaker,
            stuck_batches=account.stuck_batches,
            fields={each.name: values.pop(each.name) for each in known.fields},
            **{"users_per_call": known.users_per_call, **values},
        )
        if resolved.poll_max_seconds < resolved.poll_min_seconds:
            raise ValueError("poll_max_seconds is less than poll_min_seconds")
        if known.users_per_call == 1 and str(extra.get("users_per_call") or 1) != "1":
            raise ValueError(f"users_per_call in Extra: {known.title} accepts one user per call")
        known.check_settings(resolved, known.identities if account.identities is None else account.identities)
    except ValueError as error:
        raise ConfigurationError(f"connection {account.connection}: {error}") from None
    return resolved


def _base_url(base_url: str) -> str:
    try:
        parts = urlsplit(base_url.strip())
        usable = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        )
    except ValueError:
        usable = False
    if not base_url:
        raise ValueError("Host is missing")
    if not usable:
        raise ValueError("Host is not an address that begins with https:// or http://")
    return base_url.strip().rstrip("/")


def _secret(account: Account, secret: str | None) -> str:
    token = (secret or "").strip()
    if not token:
        raise ConfigurationError(f"put the token into Password of the connection {account.connection}")
    if not token.isascii() or not token.isprintable():
        raise ValueError("Password contains characters that a header cannot carry")
    return token


def _check_identities(account: Account, known: Vendor) -> None:
    takes = known.identities + known.optional_identities
    foreign = [kind for kind in account.identities or () if kind not in takes]
    if foreign:
        names = ", ".join(foreign)
        raise ConfigurationError(f"account {account.name}: {known.title} does not accept {names}")
