"""The table of requests and accounts, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.sql import SQL

from include.dsar.board.filters import RequestFilter
from include.dsar.ledger.closing import account_outcome
from include.dsar.ledger.database import Database
from include.dsar.model import State, Status

PAGE = 50  # requests
MOST_COUNTED = 10_000

# What a person has to know of an account whose submissions are in several states: the first of these.
OPEN_STATES = (State.UNCERTAIN, State.SUBMITTING, State.PLANNED, State.SUBMITTED, State.READY)


@dataclass(frozen=True)
class Cell:
    """One request at one account."""

    state: str  # of its submissions taken together: an open one, or else the outcome
    ended: int
    submissions: int


@dataclass
class ListedRequest:
    id: int
    request_id: str
    action: str
    regulation: str
    received_at: datetime
    due_at: datetime
    status: str
    closed_at: datetime | None
    cells: dict[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """One page, and whether there is another before and after it."""

    requests: list[ListedRequest]
    has_before: bool
    has_after: bool
    total: int  # at most MOST_COUNTED + 1, which means more than that

    @property
    def accounts(self) -> set[str]:
        return {account for request in self.requests for account in request.cells}


def page(db: Database, wanted: RequestFilter, now: datetime) -> Page:
    """The requests that a filter lets through, by due date."""
    above, upto = wanted.due_between(now)
    known: dict[str, Any] = {
        "status": {"open": "in_progress", "any": None}.get(wanted.status, wanted.status),
        "action": wanted.action,
        "regulation": wanted.regulation,
        "account": wanted.account,
        "state": wanted.state,
        "above": above,
        "upto": upto,
        "prefix": None if wanted.id is None else _prefix(wanted.id),
        "most": MOST_COUNTED + 1,
        "limit": PAGE + 1,
    }
    back = wanted.before is not None
    cursor = _cursor(db, wanted.before if back else wanted.after)
    at_account = wanted.account is not None or wanted.state is not None
    rows = db.execute(_PAGES[at_account, wanted.falls == back], {**known, **cursor}).fetchall()
    more, rows = len(rows) > PAGE, rows[:PAGE]
    if back:
        rows.reverse()
    total = db.execute(_COUNTS[at_account], known).fetchone()
    assert total is not None
    requests = [ListedRequest(**row) for row in rows]
    fill_cells(db, requests)
    return Page(
        requests,
        has_before=more if back else cursor["from_id"] is not None,
        has_after=True if back else more,
        total=total["n"],
    )


def _cursor(db: Database, request: int | None) -> dict[str, Any]:
    """Where a page begins; at the very beginning where there is no such request."""
    row = db.execute("SELECT due_at, id FROM dsar.request WHERE id = %s", [request]).fetchone()
    return {"from_due_at": row and row["due_at"], "from_id": row and row["id"]}


def fill_cells(db: Database, requests: Sequence[ListedRequest]) -> None:
    """Adds to each request what its accounts have done."""
    by_id = {request.id: request for request in requests}
    counts: dict[tuple[int, str], dict[State, int]] = {}
    for row in db.execute(_CELLS, {"ids": list(by_id)}).fetchall():
        counts.setdefault((row["request"], row["account"]), {})[State(row["state"])] = row["n"]
    for (request, account), states in counts.items():
        by_id[request].cells[account] = _cell(states)


def _cell(states: dict[State, int]) -> Cell:
    still_open = [state for state in OPEN_STATES if state in states]
    ended = sum(n for state, n in states.items() if state not in OPEN_STATES)
    state: State | Status = still_open[0] if still_open else account_outcome(set(states))
    return Cell(state, ended, sum(states.values()))


def _prefix(text: str) -> str:
    """A LIKE pattern for what begins with the text, whatever characters it holds."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"


# Filters that are absent are null: PostgreSQL plans each call with its values, and drops what is true.
# A page begins where the one before ended, not at an offset: the hundredth costs what the first does.
_WANTED = SQL("""
  FROM dsar.request r
 WHERE (%(status)s::text IS NULL OR r.status = %(status)s)
   AND (%(action)s::text IS NULL OR r.action = %(action)s)
   AND (%(regulation)s::text IS NULL OR r.regulation = %(regulation)s)
   AND (%(above)s::timestamptz IS NULL OR r.due_at > %(above)s)
   AND (%(upto)s::timestamptz IS NULL OR r.due_at <= %(upto)s)
   AND (%(prefix)s::text IS NULL OR r.request_id LIKE %(prefix)s)
""")
# Not in an OR with "IS NULL": the planner must be free to begin with the submissions, where they are few.
_AT_ACCOUNT = SQL("""
   AND r.id IN (SELECT s.request FROM dsar.submission s
                 WHERE (%(account)s::text IS NULL OR s.account = %(account)s)
                   AND (%(state)s::text IS NULL OR s.state = %(state)s))
""")
_COLUMNS = SQL(
    "SELECT r.id, r.request_id, r.action, r.regulation, r.received_at, r.due_at, r.status, r.closed_at"
)
_RISING = SQL("""
   AND (%(from_due_at)s::timestamptz IS NULL OR (r.due_at, r.id) > (%(from_due_at)s, %(from_id)s))
 ORDER BY r.due_at, r.id LIMIT %(limit)s
""")
_FALLING = SQL("""
   AND (%(from_due_at)s::timestamptz IS NULL OR (r.due_at, r.id) < (%(from_due_at)s, %(from_id)s))
 ORDER BY r.due_at DESC, r.id DESC LIMIT %(limit)s
""")
_EVERYWHERE = SQL("")

# By (is limited to an account or a state, rises).
_PAGES = {
    (at_account, rising): _COLUMNS + _WANTED + (_AT_ACCOUNT if at_account else _EVERYWHERE) + order
    for at_account in (False, True)
    for rising, order in ((True, _RISING), (False, _FALLING))
}
_COUNTS = {
    at_account: SQL("SELECT count(*) AS n FROM (SELECT")
    + _WANTED
    + submissions
    + SQL("LIMIT %(most)s) AS found")
    for at_account, submissions in ((False, _EVERYWHERE), (True, _AT_ACCOUNT))
}

_CELLS = """
SELECT request, account, state, count(*) AS n FROM dsar.submission
 WHERE request = ANY(%(ids)s) GROUP BY request, account, state ORDER BY account
"""
