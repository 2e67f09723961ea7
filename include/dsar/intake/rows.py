"""Reads a row of the source: a request with its submissions, or the reason why the row is invalid."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import zip_longest
from typing import Any
from uuid import UUID

from include.dsar.accounts import Account
from include.dsar.errors import InvalidRow
from include.dsar.intake.identities import normalise, values
from include.dsar.intake.request_types import action
from include.dsar.ledger.staging import PlannedRequest, PlannedSubmission, identifiers_json
from include.dsar.model import Action, IdentityKind, State
from include.dsar.regulations import Regulation, Regulations
from include.dsar.vendors import vendor
from include.dsar.zones import zone_name

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
MAX_CLOCK_SKEW = timedelta(minutes=5)  # the source's clock may be ahead of ours
YEARS = range(1970, 3000)  # other years are mistakes, and some zones and databases cannot hold them
CANONICAL = json.JSONEncoder(sort_keys=True)

Identities = Mapping[IdentityKind, Sequence[str]]


@dataclass(frozen=True)
class Rules:
    """Reads rows with the settings of a deployment: its accounts, its country of phone numbers, its hash key
    and its regulations.
    """

    accounts: Sequence[Account]
    phone_region: str | None
    hash_key: bytes
    regulations: Regulations

    def read(self, row: Mapping[str, Any], now: datetime) -> PlannedRequest:
        """Returns the request of a row. Raises InvalidRow with the reason. The reason contains no value of
        the row.
        """
        asked = action(_word(row.get("request_type")))
        law = self.regulation(row)
        received_at = self.time(row, "received_at")
        if received_at is None:
            raise InvalidRow("received_at is empty")
        if received_at > now + MAX_CLOCK_SKEW:
            raise InvalidRow("received_at is in the future")
        try:
            due_at, ack_due_at = law.due_at(asked, received_at), law.ack_due_at(received_at)
        except (OverflowError, ValueError):
            raise InvalidRow("received_at is out of range") from None
        identities = self._identities(row)
        names = _values(row.get("accounts"), "accounts")
        return PlannedRequest(
            request_id=request_id(row.get("request_id")),
            action=asked,
            regulation=law.name,
            jurisdiction=self.regulations.id5_jurisdiction(law),
            received_at=received_at,
            due_at=self.time(row, "due_at") or due_at,
            ack_due_at=ack_due_at,
            zone=zone_name(received_at),
            fingerprint=self.hash(
                CANONICAL.encode(
                    [
                        asked,
                        law.name,
                        received_at.astimezone(UTC).isoformat(),
                        {kind: sorted(found) for kind, found in identities.items()},
                        sorted(names),
                    ]
                )
            ),
            submissions=self._submissions(asked, law, identities, self._accounts(names)),
        )

    def regulation(self, row: Mapping[str, Any]) -> Regulation:
        """Reads the regulation. Raises InvalidRow if include/regulations.py does not list it."""
        found = self.regulations.find(_word(row.get("regulation")))
        if found is None:
            raise InvalidRow("unknown regulation: include/regulations.py lists the names that are accepted")
        return found

    def time(self, row: Mapping[str, Any], column: str) -> datetime | None:
        """Reads a time. A time without a zone is in the zone of the deployment."""
        return _time(row.get(column), column, self.regulations.zone)

    def _identities(self, row: Mapping[str, Any]) -> Identities:
        found = {}
        for kind in IdentityKind:
            given = _values(row.get(kind), kind)
            distinct = dict.fromkeys(normalise(kind, v, phone_region=self.phone_region) for v in given)
            if distinct:
                found[kind] = list(distinct)
        if not found:
            raise InvalidRow("no usable identifier: all columns from email to id5_id are empty")
        return found

    def _accounts(self, names: Sequence[str]) -> Sequence[Account]:
        known = {account.name: account for account in self.accounts}
        if any(name not in known for name in names):
            raise InvalidRow(f"unknown account: this deployment has {', '.join(known)}")
        return [known[name] for name in names] if names else self.accounts

    def _submissions(
        self, asked: Action, law: Regulation, identities: Identities, accounts: Sequence[Account]
    ) -> tuple[PlannedSubmission, ...]:
        planned = [s for account in accounts for s in self._for_account(account, asked, law, identities)]
        # An access request is answered by an operator then. An erasure would leave the data where they are.
        if asked is Action.ERASURE and all(s.state is State.NOT_APPLICABLE for s in planned):
            raise InvalidRow(f"no usable identifier: no account accepts {', '.join(identities)} for {asked}")
        return tuple(planned)

    def _for_account(
        self, account: Account, asked: Action, law: Regulation, identities: Identities
    ) -> list[PlannedSubmission]:
        known = vendor(account.vendor)
        kinds = known.identities if account.identities is None else account.identities
        is_left_out = any(kind in identities for kind in kinds)
        if asked not in known.actions:
            return [self._not_applicable(account, f"accepts no {asked} requests", is_left_out=is_left_out)]
        if known.needs_jurisdiction and self.regulations.id5_jurisdiction(law) is None:
            reason = f"accepts no requests under {law.name}"
            return [self._not_applicable(account, reason, is_left_out=is_left_out)]
        if not kinds:
            return [self._not_applicable(account, "no longer receives identifiers")]
        sent = {kind: identities[kind] for kind in kinds if kind in identities}
        if not sent:
            return [
                self._not_applicable(account, f"none of the identifiers that it accepts ({', '.join(kinds)})")
            ]
        if known.joins_identities:
            return [
                self._planned(
                    account, {kind: value for kind, value in zip(sent, joined, strict=True) if value}
                )
                for joined in zip_longest(*sent.values())
            ]
        return [self._planned(account, {kind: value}) for kind in sent for value in sent[kind]]

    def _planned(self, account: Account, identifiers: Mapping[IdentityKind, str]) -> PlannedSubmission:
        return PlannedSubmission(
            account=account.name,
            vendor=account.vendor,
            state=State.PLANNED,
            reason=None,
            identity="+".join(identifiers),
            identity_hash=self.hash(identifiers_json(identifiers)),
            identifiers=identifiers,
        )

    def _not_applicable(
        self, account: Account, reason: str, *, is_left_out: bool = False
    ) -> PlannedSubmission:
        state = State.NOT_APPLICABLE
        return PlannedSubmission(account.name, account.vendor, state, reason, "", "", None, is_left_out)

    def hash(self, text: str) -> str:
        """Returns the keyed hash of a text."""
        return hmac.digest(self.hash_key, text.encode(), "sha256").hex()


def request_id(cell: object) -> str:
    """Returns the request's id. The id becomes part of paths, so an unsafe id raises InvalidRow.

    An id with blanks around it is unsafe too. If the blanks were removed, the source would not find its
    row.
    """
    if _is_empty(cell):
        raise InvalidRow("request_id is empty")
    is_number = type(cell) is int and 0 <= cell < 2**64
    text = str(cell) if isinstance(cell, str | UUID) or is_number else ""
    if not REQUEST_ID.fullmatch(text):
        raise InvalidRow(
            "unsafe request_id: use at most 128 letters, digits and . _ - and begin with a letter or digit"
        )
    return text


def _values(cell: object, column: str) -> list[str]:
    try:
        return values(cell)
    except InvalidRow as error:
        raise InvalidRow(f"{column}: {error}") from None


def _word(cell: object) -> str:
    return cell if isinstance(cell, str) else ""


def _time(cell: object, column: str, zone: tzinfo) -> datetime | None:
    """Reads a time or an ISO 8601 text. None if the cell is empty. `zone` is for times without one. Raises
    InvalidRow if the cell is not a time.
    """
    if _is_empty(cell):
        return None
    if isinstance(cell, str):
        try:
            cell = datetime.fromisoformat(cell.strip())
        except ValueError:
            raise InvalidRow(f"{column} is not a time in ISO 8601") from None
    if isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime(cell.year, cell.month, cell.day)
    if not isinstance(cell, datetime):
        raise InvalidRow(f"{column} is not a time")
    if cell.year not in YEARS:
        raise InvalidRow(f"{column} is out of range")
    return cell if cell.tzinfo else cell.replace(tzinfo=zone)


def _is_empty(cell: object) -> bool:
    """Returns whether the cell is None, a blank text, or one of pandas' empty values."""
    if isinstance(cell, str):
        return not cell.strip()
    is_nan = isinstance(cell, float) and cell != cell
    return cell is None or is_nan or type(cell).__name__ in ("NAType", "NaTType")
