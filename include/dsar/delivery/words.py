"""The plain words in which a person is told who was asked, by which law, and what each one said."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from include.dsar.model import AccountRecord, IdentityKind, Regulation, State, Status
from include.dsar.vendors import VENDORS

LAWS = {
    # One package answers both: what lies in data/ and tables/ is machine-readable, as Article 20 wants.
    Regulation.GDPR: "General Data Protection Regulation (EU) 2016/679, Article 15: right of access; "
    "Article 20: right to data portability",
    Regulation.CCPA: "California Consumer Privacy Act, Civil Code § 1798.110: right to know",
}

IDENTITIES: dict[str, str] = {
    IdentityKind.EMAIL: "e-mail address",
    IdentityKind.PHONE: "phone number",
    IdentityKind.USER_ID: "user ID",
    IdentityKind.ADVERTISING_ID: "advertising ID",
    IdentityKind.INSTALL_ID: "installation ID",
    IdentityKind.ID5_ID: "ID5 ID",
}

_SHORT: dict[str, str] = {
    State.COMPLETED: "Holds data about you",
    State.NO_DATA: "Holds nothing about you",
    State.NOT_APPLICABLE: "Could not be asked",
    State.REJECTED: "Did not accept the request",
    State.FAILED: "Gave no answer",
    Status.PARTIAL: "Answered in part",
}
_LONG: dict[str, str] = {
    State.COMPLETED: "It holds data about you. This is what it sent.",
    State.NO_DATA: "It answered that it holds nothing about you.",
    State.NOT_APPLICABLE: "It could not be asked",
    State.REJECTED: "It did not accept the request",
    State.FAILED: "It gave no answer that we could pass on",
    Status.PARTIAL: "It answered a part of the request only",
}
_ANSWERED = (State.COMPLETED, State.NO_DATA)
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
_ACRONYMS = {"id": "ID", "ids": "IDs", "url": "URL", "ip": "IP", "sms": "SMS", "utc": "UTC", "os": "OS"}


def vendor_words(account: AccountRecord, accounts: tuple[AccountRecord, ...]) -> tuple[str, str]:
    """A vendor's title and what it is; the account's name too where a vendor was asked more than once."""
    known = VENDORS.get(account.vendor)
    title, kind = (known.title, known.service) if known else (human(account.vendor), "")
    if sum(other.vendor == account.vendor for other in accounts) > 1:
        own = account.account.removeprefix(f"{account.vendor}_").replace("_", " ")
        kind = f"{kind}, {own}" if kind else own
    return title, kind


def outcome_words(account: AccountRecord) -> str:
    """What an account said, in a few words."""
    return _SHORT.get(account.outcome) or human(account.outcome)


def sentence(outcome: State | Status, reason: str | None) -> str:
    """What an account said, as a sentence with the reason."""
    text = _LONG.get(outcome) or human(outcome)
    if outcome in _ANSWERED:
        return text
    return f"{text}: {reason.strip().rstrip('.')}." if reason and reason.strip() else f"{text}."


def identity_words(identity: str) -> str:
    """`email+phone` as `e-mail address and phone number`."""
    return " and ".join(IDENTITIES.get(kind) or human(kind) for kind in identity.split("+"))


def human(name: str) -> str:
    """`activity_summary.last_activityTimestamp` as `Activity summary › last activity timestamp`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", name[:200])
    parts = [" ".join(_words(part)) for part in spaced.split(".")]
    text = " › ".join(part for part in parts if part)
    return text[:1].upper() + text[1:]


def _words(part: str) -> list[str]:
    words = part.replace("_", " ").split()
    return [_ACRONYMS.get(w.lower(), w.lower() if w.istitle() else w) for w in words]


def day(moment: datetime) -> str:
    """`25 February 2026`, in UTC."""
    utc = moment.astimezone(UTC)
    return f"{utc.day} {_MONTHS[utc.month - 1]} {utc.year}"


def size(count: int) -> str:
    """`20 kB`."""
    if count < 1_000:
        return f"{count} bytes"
    return f"{count / 1_000:,.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:,.1f} MB"
