"""Lists of requests, with the state of each request at each account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.sql import SQL

from include.dsar.ledger.closing import account_outcome
from include.dsar.ledger.database import Database
from include.dsar.model import Action, State, Status
from include.dsar.zones import in_zone

PAGE_SIZE = 50
MAX_COUNTED = 10_000

# If an account's submissions are in several open states, its cell shows the first of these.
URGENCY = sorted(State, key=lambda state: state is not State.UNCERTAIN)  # then in the order of the work


@dataclass(frozen=True)
class Cell:
    """The state of one request at one account."""

    state: str  # an open state, or the outcome if all submissions have ended
    ended: int
    submissions: int


@dataclass(frozen=True)
class ListedRequest:
    id: int
    request_id: str
    action: str
    regulation: str
    received_at: datetime  # in the zone of the request, like due_at and closed_at
    due_at: datetime
    status: str
    closed_at: datetime | None
    cells: Mapping[str, Cell]  # by account


@dataclass(frozen=True)
class Criteria:
    """The conditions for requests in the list. None means no condition."""

    status: Status | None = None
    action: Action | None = None
    regulation: str | None = None
    account: str | None = None
    state: State | None = None  # of a submission, at `account` if that is given
    due_after: datetime | None = None
    due_until: datetime | None = None
    id_prefix: str | None = None
    is_unresolved: bool = False  # only what is open, or failed and not acknowledged for good


@dataclass(frozen=True)
class Page:
    """One page of the list, and whether a page exists before and after it."""

    requests: list[ListedRequest]
    has_before: bool
    has_after: bool
    total: int  # at most MAX_COUNTED + 1, which means more than MAX_COUNTED


def page(
    db: Database, wanted: Criteria, *, latest_first: bool, after: int | None = None, before: int | None = None
) -> Page:
    """Returns a page of matching requests by due date. The page starts after, or ends before, the request
    with a given ledger id.

    If no request has this ledger id, returns the first page.
    """
    back = before is not None
    row = db.execute(
        "SELECT due_at, id FROM dsar.request WHERE id = %s", [before if back else after]
    ).fetchone()
    cursor = {"from_due_at": row and row["due_at"], "from_id": row and row["id"]}
    parameters: dict[str, Any] = vars(wanted) | {"prefix": _like(wanted.id_prefix)}
    at_account = wanted.account is not None or wanted.state is not None
    arm = (at_account, wanted.is_unresolved)
    statement = _PAGES[arm, latest_first == back]
    rows = db.execute(statement, {**parameters, **cursor, "limit": PAGE_SIZE + 1}).fetchall()
    more, ids = len(rows) > PAGE_SIZE, [row["id"] for row in rows[:PAGE_SIZE]]
    total = db.execute(_COUNTS[arm], {**parameters, "limit": MAX_COUNTED + 1}).fetchone()
    assert total is not None
    return Page(
        listed(db, ids[::-1] if back else ids),
        has_before=more if back else cursor["from_id"] is not None,
        has_after=back or more,
        total=total["n"],
    )


def listed(db: Database, request_pks: Sequence[int]) -> list[ListedRequest]:
    """Returns these requests in this order, with their cells."""
    states: dict[int, dict[str, dict[State, int]]] = {pk: {} for pk in request_pks}
    for row in db.execute(_CELLS, {"request_pks": list(request_pks)}).fetchall():
        states[row["request"]].setdefault(row["account"], {})[State(row["state"])] = row["n"]
    return [
        ListedRequest(**in_zone(row), cells={account: _cell(n) for account, n in states[row["id"]].items()})
        for row in db.execute(_LISTED, {"request_pks": list(request_pks)}).fetchall()
    ]


def _cell(counts: Mapping[State, int]) -> Cell:
    still_open = [state for state in counts if state.is_open]
    ended = sum(n for state, n in counts.items() if state.is_terminal)
    state = min(still_open, key=URGENCY.index) if still_open else account_outcome(set(counts))
    return Cell(state, ended, sum(counts.values()))


def _like(prefix: str | None) -> str | None:
    """Returns a LIKE pattern for texts that begin with `prefix`."""
    if prefix is None:
        return None
    return prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


# PostgreSQL plans each call with its values, so a condition on an absent (null) filter costs nothing.
_MATCHING = SQL("""
  FROM dsar.request r
 WHERE (%(status)s::text IS NULL OR r.status = %(status)s)
   AND (%(action)s::text IS NULL OR r.action = %(action)s)
   AND (%(regulation)s::text IS NULL OR r.regulation = %(regulation)s)
   AND (%(due_after)s::timestamptz IS NULL OR r.due_at > %(due_after)s)
   AND (%(due_until)s::timestamptz IS NULL OR r.due_at <= %(due_until)s)
   AND (%(prefix)s::text IS NULL OR r.request_id LIKE %(prefix)s)
""")
# Not in an OR with "IS NULL": the planner must be able to begin with the submissions if they are few.
_AT_ACCOUNT = SQL("""
   AND r.id IN (SELECT s.request FROM dsar.submission s
                 WHERE (%(account)s::text IS NULL OR s.account = %(account)s)
                   AND (%(state)s::text IS NULL OR s.state = %(state)s))
""")
# For the same reason.
_IS_UNRESOLVED = SQL("""
   AND r.id IN (SELECT id FROM dsar.request WHERE status = 'in_progress'
                UNION ALL SELECT id FROM dsar.request WHERE is_unresolved)
""")
# A page begins after the last request of the page before, not at an offset: every page costs the same.
_ASCENDING = SQL("""
   AND (%(from_due_at)s::timestamptz IS NULL OR (r.due_at, r.id) > (%(from_due_at)s, %(from_id)s))
 ORDER BY r.due_at, r.id LIMIT %(limit)s
""")
_DESCENDING = SQL("""
   AND (%(from_due_at)s::timestamptz IS NULL OR (r.due_at, r.id) < (%(from_due_at)s, %(from_id)s))
 ORDER BY r.due_at DESC, r.id DESC LIMIT %(limit)s
""")
# By: is limited to an account or a state, is limited to unresolved requests.
_ARMS = {
    (False, False): _MATCHING,
    (True, False): _MATCHING + _AT_ACCOUNT,
    (False, True): _MATCHING + _IS_UNRESOLVED,
    (True, True): _MATCHING + _AT_ACCOUNT + _IS_UNRESOLVED,
}

# By: arm, is ascending.
_PAGES = {
    (arm, ascending): SQL("SELECT r.id") + matching + order
    for arm, matching in _ARMS.items()
    for ascending, order in ((True, _ASCENDING), (False, _DESCENDING))
}
_COUNTS = {
    arm: SQL("SELECT count(*) AS n FROM (SELECT") + matching + SQL("LIMIT %(limit)s) AS found")
    for arm, matching in _ARMS.items()
}

_LISTED = """
SELECT id, request_id, action, regulation, received_at, due_at, zone, status, closed_at
  FROM unnest(%(request_pks)s::bigint[]) WITH ORDINALITY AS wanted (id, place) JOIN dsar.request USING (id)
 ORDER BY place
"""

_CELLS = """
SELECT request, account, state, count(*) AS n FROM dsar.submission
 WHERE request = ANY(%(request_pks)s) GROUP BY request, account, state ORDER BY account
"""
