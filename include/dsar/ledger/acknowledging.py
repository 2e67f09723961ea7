"""Acknowledgements: an operator has seen a failed or overdue item, and says until when it may stay as it
is.

An acknowledgement covers only earlier events. The report still lists the item, but does not fail because of
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from include.dsar.ledger.database import Database
from include.dsar.ledger.unplanned import Resolution


@dataclass(frozen=True)
class Acknowledgement:
    """An operator's statement and its time. If `until` is None, the acknowledgement has no end."""

    author: str
    reason: str
    given_at: datetime
    until: datetime | None


def acknowledge_request(db: Database, request: int, given: Acknowledgement) -> bool:
    """Acknowledges everything that failed or is overdue about a request. Returns False if there is nothing
    to acknowledge.

    If the request was closed before, an acknowledgement without an end resolves the request.
    """
    if given.until is None and db.execute(_RESOLVE_REQUEST, {"request": request, **vars(given)}).rowcount:
        return True
    waits = db.execute(_WAITS, {"request": request}).fetchone() is not None
    if waits:
        _acknowledge(db, given, request=request)
    return waits


def acknowledge_row(db: Database, row: int, given: Acknowledgement) -> None:
    """Acknowledges a row of the source from which no request was planned."""
    _acknowledge(db, given, unplanned_row=row)


def acknowledge_account(db: Database, account: str, given: Acknowledgement) -> int:
    """Acknowledges that this account is not asked. Returns the number of closed requests that the
    acknowledgement resolves.
    """
    with db.transaction():
        _acknowledge(db, given, account=account)
        return db.execute(_RESOLVE_ACCOUNT, {"account": account, "given_at": given.given_at}).rowcount


def dismiss_row(db: Database, row: int, *, now: datetime) -> bool:
    """Resolves a row that is not a request. Returns False if the row is already resolved."""
    parameters = {"row": row, "now": now, "resolution": Resolution.DISMISSED}
    return db.execute(_DISMISS, parameters).rowcount == 1


def answer(db: Database, request: int, *, now: datetime) -> bool:
    """Records that an operator has answered a request that no account can serve. `package` then closes it.

    Returns False if the request needs no answer.
    """
    return db.execute(_ANSWER, {"request": request, "now": now}).rowcount == 1


def request_of(db: Database, request_id: str) -> int | None:
    """Returns the ledger id of a request. None if the ledger does not have it."""
    row = db.execute("SELECT id FROM dsar.request WHERE request_id = %s", [request_id]).fetchone()
    return None if row is None else int(row["id"])


def is_open(db: Database, request: int) -> bool:
    """Returns whether a request is not closed."""
    return db.execute(_IS_OPEN, {"request": request}).fetchone() is not None


def open_row(db: Database, name: str) -> int | None:
    """Returns the ledger id of an unresolved row: by its request_id, or by `#<ledger id>`."""
    row = db.execute(_OPEN_ROW, {"name": name}).fetchone()
    return None if row is None else int(row["id"])


def is_left_out(db: Database, account: str) -> bool:
    """Returns whether a closed request waits for an operator because this account was not asked."""
    return db.execute(_LEFT_OUT, {"account": account}).fetchone() is not None


def _acknowledge(
    db: Database,
    given: Acknowledgement,
    *,
    request: int | None = None,
    unplanned_row: int | None = None,
    account: str | None = None,
) -> None:
    about = {"request": request, "unplanned_row": unplanned_row, "account": account}
    db.execute(_FORGET, about)
    db.execute(_ACKNOWLEDGE, {**about, **vars(given)})


_IS_OPEN = "SELECT FROM dsar.request WHERE id = %(request)s AND status = 'in_progress'"

_WAITS = "SELECT FROM dsar.request WHERE id = %(request)s AND (status = 'in_progress' OR is_unresolved)"

_FORGET = """
DELETE FROM dsar.acknowledgement
 WHERE request = %(request)s OR unplanned_row = %(unplanned_row)s OR account = %(account)s
"""

_ACKNOWLEDGE = """
INSERT INTO dsar.acknowledgement (request, unplanned_row, account, given_at, until, author, reason)
VALUES (%(request)s, %(unplanned_row)s, %(account)s, %(given_at)s, %(until)s, %(author)s, %(reason)s)
"""

_RESOLVE_REQUEST = """
UPDATE dsar.request SET is_unresolved = false
 WHERE id = %(request)s AND is_unresolved AND closed_at <= %(given_at)s
"""

_RESOLVE_ACCOUNT = """
UPDATE dsar.request SET is_unresolved = false
 WHERE is_unresolved AND status = 'completed' AND %(account)s = ANY(not_asked) AND closed_at <= %(given_at)s
   AND NOT dsar.is_left_out(not_asked, %(given_at)s)
"""

_DISMISS = """
UPDATE dsar.unplanned_row SET resolved_at = %(now)s, resolution = %(resolution)s
 WHERE id = %(row)s AND resolved_at IS NULL
"""

_ANSWER = """
UPDATE dsar.request SET needs_answer = false, answered_at = %(now)s WHERE id = %(request)s AND needs_answer
"""

_OPEN_ROW = """
SELECT id FROM dsar.unplanned_row
 WHERE resolved_at IS NULL AND (request_id = %(name)s OR '#' || id = %(name)s) ORDER BY id LIMIT 1
"""

_LEFT_OUT = """
SELECT FROM dsar.request WHERE is_unresolved AND %(account)s = ANY(not_asked) LIMIT 1
"""
