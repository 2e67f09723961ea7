"""A vendor's test module declares a contract for the tests that every vendor must pass.

Each `test_<vendor>.py` has one `CONTRACT` with literal replies. `test_contract.py` and
`test_hostile_replies.py` read all contracts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import Any

from include.dsar.accounts import Account, AccountSettings
from include.dsar.errors import DsarError, Refused, ReplyLost
from include.dsar.http.messages import HttpReply
from include.dsar.model import Action, IdentityKind, State, Subject
from include.dsar.vendors import VENDORS, settings
from include.dsar.vendors.vendor import Vendor

SECRET = "s3cr3t-token"
RECEIVED = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)


def subject(identifiers: Mapping[IdentityKind, str], regulation: str = "GDPR") -> Subject:
    return Subject(1, identifiers, regulation, "DSAR-1", RECEIVED, jurisdiction=regulation)


@dataclass(frozen=True)
class Documented:
    """A reply as the documentation shows it, and the method that reads it."""

    name: str
    body: bytes
    read: Callable[[HttpReply], Any]
    status: int = 200


@dataclass(frozen=True)
class Contract:
    """A vendor, a connection to it, and literal replies with their meanings."""

    vendor: Vendor
    subject: str  # the data subject that the replies are about, as `identifier_of` names it
    created: Mapping[bytes, str]  # reply body: job id
    not_created: Sequence[tuple[int, bytes, type[DsarError], str]]  # the text is in the message
    statuses: Sequence[tuple[Action, bytes, State | None]]  # None: the job is running
    status_errors: Sequence[tuple[int, bytes, type[DsarError]]]
    unknown_shapes: Sequence[tuple[Action, bytes]]  # with status 200
    others: Sequence[Documented] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    base_url: str | None = None
    conflict: type[DsarError] = ReplyLost  # the error for a POST with reply 409
    refusal: type[DsarError] = Refused  # with reply 400 or 422, in JSON and without a documented code
    quotes: str = "ann"  # the error replies have this text, as a vendor may quote an identifier

    def account(self, **extra: object) -> AccountSettings:
        account = Account(self.vendor.name, self.vendor.name)
        given = {**self.extra, **extra}
        return settings(account, base_url=self.base_url, secret=SECRET, extra=given)

    @property
    def documented(self) -> Sequence[Documented]:
        """Returns a literal reply for each meaning that a reply can have, except errors."""
        known, name = self.vendor, self.vendor.name
        first = next(iter(self.created))
        statuses = {
            f"{name} {action} {state}": (action, body) for action, body, state in reversed(self.statuses)
        }
        return [
            Documented(f"{name} created", first, known.read_created),
            *(
                Documented(each, body, partial(known.read_status, action))
                for each, (action, body) in statuses.items()
            ),
            *self.others,
        ]


def contracts() -> Mapping[str, Contract]:
    """Returns the contract of each vendor in the registry."""
    return {name: import_module(f"tests.unit.vendors.test_{name}").CONTRACT for name in VENDORS}
