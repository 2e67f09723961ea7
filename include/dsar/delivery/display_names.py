"""Formats names, dates and sizes for the page for the data subject."""

from __future__ import annotations

import re
from datetime import datetime

from include.dsar.model import AccountRecord, IdentityKind
from include.dsar.vendors import VENDORS

_IDENTITIES: dict[str, str] = {
    IdentityKind.EMAIL: "e-mail address",
    IdentityKind.PHONE: "phone number",
    IdentityKind.USER_ID: "user ID",
    IdentityKind.ADVERTISING_ID: "advertising ID",
    IdentityKind.INSTALL_ID: "installation ID",
    IdentityKind.ID5_ID: "ID5 ID",
}
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
_ACRONYMS = {"id": "ID", "ids": "IDs", "url": "URL", "ip": "IP", "sms": "SMS", "utc": "UTC", "os": "OS"}


def vendor_title(account: AccountRecord, accounts: tuple[AccountRecord, ...]) -> tuple[str, str]:
    """Returns a vendor's title and its service. If the vendor has several accounts, the service includes
    the account.
    """
    known = VENDORS.get(account.vendor)
    title, service = (known.title, known.service) if known else (human(account.vendor), "")
    if sum(other.vendor == account.vendor for other in accounts) > 1:
        own = account.account.removeprefix(f"{account.vendor}_").replace("_", " ")
        service = f"{service}, {own}" if service else own
    return title, service


def identity_title(identity: str) -> str:
    """Returns the title of an identity: `email+phone` becomes `e-mail address and phone number`."""
    return " and ".join(_IDENTITIES.get(kind) or human(kind) for kind in identity.split("+"))


def human(name: str) -> str:
    """Returns the title of a field: `activity_summary.last_activityTimestamp` becomes `Activity summary ›
    last activity timestamp`.
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name[:200])
    parts = [" ".join(_words(part)) for part in spaced.split(".")]
    text = " › ".join(part for part in parts if part)
    return text[:1].upper() + text[1:]


def _words(part: str) -> list[str]:
    words = part.replace("_", " ").split()
    return [_ACRONYMS.get(w.lower(), w.lower() if w.istitle() else w) for w in words]


def day(moment: datetime) -> str:
    """Formats a date in the zone of `moment`, such as `25 February 2026`."""
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


def size(count: int) -> str:
    """Formats a size in bytes, such as `20 kB`."""
    if count < 1_000:
        return f"{count} bytes"
    return f"{count / 1_000:,.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:,.1f} MB"
