"""The data subjects of the model. The name of a data subject says what every vendor does about it."""

from __future__ import annotations

import hashlib

FATES = ("ok", "unknown", "fails", "fails_once", "refused", "ok")
SUBJECTS = [f"{fate}-{number}" for number, fate in enumerate(FATES)]


def email(subject: str) -> str:
    return f"{subject}@example.com"


def phone(subject: str) -> str:
    return f"+1202555010{subject[-1]}"


def wire_key(account: str, identifiers: dict[str, str]) -> str:
    """Returns the key that the vendor uses for a submission with these identifiers."""
    if account == "id5":
        ((kind, value),) = identifiers.items()
        assert kind == "email"
        return hashlib.sha256(value.encode()).hexdigest()
    return "|".join(value for _, value in sorted(identifiers.items()))


def fate(key: str) -> str:
    for subject in SUBJECTS:
        forms = (subject, email(subject), phone(subject), hashlib.sha256(email(subject).encode()).hexdigest())
        if any(part in forms for part in key.split("|")):
            return subject.rpartition("-")[0]
    raise AssertionError("a vendor was sent what no request holds")
