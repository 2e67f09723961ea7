"""Stores the differences between the replies of each account and the declaration in its vendor's module.

Only names that the module declares and words that cannot be data are stored. See
`execution/observed_replies.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from include.dsar.ledger.database import Database

RECENT = timedelta(days=8)  # `dsar_upkeep` runs weekly
KEPT = timedelta(days=90)


class Kind(StrEnum):
    """The kind of difference in the replies of a route."""

    REPLY = "reply"  # there was one
    FIELD = "field"  # a declared field was missing
    WORD = "word"  # a state field had an undeclared word
    STATUS = "status"  # an undeclared HTTP status
    CODE = "code"  # an undeclared error code


class Observation(NamedTuple):
    """One observation. `word` is empty if the word may be data, or if there is none."""

    route: str
    kind: Kind
    name: str = ""
    word: str = ""


@dataclass(frozen=True)
class ContractCheck:
    """The last check of an account. `drift` has a text for each difference."""

    account: str
    checked_at: datetime
    drift: list[str]


def remember(db: Database, account: str, observed: Collection[Observation], *, now: datetime) -> None:
    """Stores observations. Updates the time of a known observation at most once a day."""
    if observed:
        routes, kinds, names, words = zip(*sorted(observed), strict=True)
        columns = {"routes": list(routes), "kinds": list(kinds), "names": list(names), "words": list(words)}
        db.execute(_REMEMBER, {"account": account, "now": now, **columns})


def recent(db: Database, account: str, *, now: datetime) -> list[Observation]:
    """Returns the observations since RECENT. Deletes observations that are older than KEPT."""
    db.execute("DELETE FROM dsar.reply_shape WHERE last_seen < %s", [now - KEPT])
    rows = db.execute(_RECENT, {"account": account, "since": now - RECENT}).fetchall()
    return [Observation(row["route"], Kind(row["kind"]), row["name"], row["word"]) for row in rows]


def put_check(db: Database, check: ContractCheck) -> None:
    """Replaces the last check of the account."""
    db.execute(_PUT_CHECK, vars(check))


def checks(db: Database, accounts: Sequence[str]) -> list[ContractCheck]:
    """Returns the last check of each of these accounts. Omits accounts that were never checked."""
    return [ContractCheck(**row) for row in db.execute(_CHECKS, [list(accounts)]).fetchall()]


_REMEMBER = """
INSERT INTO dsar.reply_shape (account, route, kind, name, word, first_seen, last_seen)
SELECT %(account)s, seen.*, %(now)s, %(now)s
  FROM unnest(%(routes)s::text[], %(kinds)s::text[], %(names)s::text[], %(words)s::text[]) AS seen
    ON CONFLICT (account, route, kind, name, word) DO UPDATE SET last_seen = excluded.last_seen
 WHERE reply_shape.last_seen < excluded.last_seen - interval '1 day'
"""

_RECENT = """
SELECT route, kind, name, word FROM dsar.reply_shape
 WHERE account = %(account)s AND last_seen >= %(since)s ORDER BY route, kind, name, word
"""

_PUT_CHECK = """
INSERT INTO dsar.contract_check (account, checked_at, drift) VALUES (%(account)s, %(checked_at)s, %(drift)s)
    ON CONFLICT (account) DO UPDATE SET checked_at = excluded.checked_at, drift = excluded.drift
"""

_CHECKS = """
SELECT account, checked_at, drift FROM dsar.contract_check WHERE account = ANY(%s) ORDER BY account
"""
