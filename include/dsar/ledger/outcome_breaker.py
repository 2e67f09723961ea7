"""The outcome breaker: implausible outcomes of an account wait for an operator.

If the connection has a valid key of another account, the vendor answers "user not found" for every data
subject. To notice such a mistake, the outcomes of the account's open requests are compared with the
account's history. If too many outcomes are not `completed`, these outcomes are marked as unconfirmed. An
unconfirmed outcome keeps its request open until an operator confirms or discards the outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt
from typing import NamedTuple

from include.dsar.accounts import OutcomeBreaker
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import State

OUTCOMES = (State.COMPLETED, State.NO_DATA, State.REJECTED, State.FAILED)
HELD = OUTCOMES[1:]  # the outcomes that can wait

RUN = timedelta(days=1)  # the outcomes of a run are those of the last day
HISTORY = timedelta(days=90)
MIN_HISTORY = 50  # outcomes; fewer say nothing about the account
MAX_HISTORY = 2000  # the latest ones
DEVIATIONS = 4  # standard deviations from the usual share

IMPLAUSIBLE = "the account has too many such outcomes: this one waits for an operator"
CONFIRMED = "decided by {by}: the outcome is confirmed ({reason})"
DISCARDED = "decided by {by}: the outcome is discarded, send again ({reason})"


class Share(NamedTuple):
    """The number of outcomes that are not `completed`, out of `total` outcomes."""

    others: int
    total: int

    @property
    def value(self) -> float:
        return self.others / self.total if self.total else 0.0


@dataclass(frozen=True)
class Unconfirmed:
    """The outcomes of one account that wait for an operator."""

    account: str
    waiting: Mapping[State, int]
    seen: Share  # outcomes of open requests
    usual: Share  # outcomes of the history


def is_implausible(seen: Share, usual: Share, breaker: OutcomeBreaker) -> bool:
    """Returns whether the share of outcomes other than `completed` is implausibly high.

    If the account has no history, its settings give the limit. If the account has a history, the limit is
    the usual share plus DEVIATIONS standard deviations.
    """
    if seen.total < breaker.min_count or seen.others < breaker.min_count * breaker.max_share:
        return False
    if usual.total < MIN_HISTORY:
        return seen.value >= breaker.max_share
    share = (usual.others + 1) / (usual.total + 2)  # no history proves that an outcome is impossible
    deviation = sqrt(share * (1 - share) * (1 / seen.total + 1 / usual.total))
    return seen.value > share + DEVIATIONS * deviation


def hold_implausible(
    db: Database, breakers: Mapping[str, OutcomeBreaker], *, account: str | None = None, now: datetime
) -> list[Unconfirmed]:
    """Marks the implausible outcomes of open requests. Returns the outcomes that wait now, by account.

    Checks the outcomes of the last day and the outcomes of all open requests. `account` limits the check to
    one account. An account that is not in `breakers` has the default limits.
    """
    waits = []
    rows = db.execute(_SEEN, {"account": account, "since": now - RUN, "outcomes": list(OUTCOMES)}).fetchall()
    for row in rows:
        of_all = Share(row["others"], row["total"])
        of_run = Share(row["run_others"], row["run_total"])
        breaker, usual = breakers.get(row["account"], OutcomeBreaker()), Share(0, 0)
        if row["waiting"] or max(of_run.others, of_all.others) >= breaker.min_count * breaker.max_share:
            usual = _usual(db, row["account"], now)
        parameters = {"account": row["account"], "now": now, "held": list(HELD), "reason": IMPLAUSIBLE}
        waiting = row["waiting"]
        for seen, since in ((of_all, None), (of_run, now - RUN)):
            if is_implausible(seen, usual, breaker):
                waiting += db.execute(_HOLD, {**parameters, "since": since}).rowcount
        if waiting:
            found = db.execute(_WAITING, parameters).fetchall()
            by_state = {State(one["state"]): one["n"] for one in found}
            waits.append(Unconfirmed(row["account"], by_state, of_all, usual))
    return waits


def waiting_requests(db: Database) -> dict[str, list[str]]:
    """Returns the request ids of outcomes that wait for an operator, by account."""
    found: dict[str, list[str]] = {}
    for row in db.execute(_REQUESTS).fetchall():
        found.setdefault(row["account"], []).append(row["request_id"])
    return found


def confirm(db: Database, account: str, *, by: str, reason: str, made_at: datetime, now: datetime) -> int:
    """Confirms waiting outcomes that ended before `made_at`. Returns the number of these outcomes."""
    noted = CONFIRMED.format(by=by, reason=reason)
    return db.execute(
        _CONFIRM, {"account": account, "reason": noted, "made_at": made_at, "now": now}
    ).rowcount


def discard(db: Database, account: str, *, by: str, reason: str, made_at: datetime, now: datetime) -> int:
    """Plans submissions again if they ended before `made_at` and their outcome waits for an operator.
    Returns the number of these submissions.
    """
    noted = DISCARDED.format(by=by, reason=reason)
    moved: Counter[State] = Counter()
    with db.transaction():
        for state in HELD:
            rows = db.execute(_TO_DISCARD, {"account": account, "state": state, "made_at": made_at})
            moves = [Move(row["id"], State.PLANNED, noted) for row in rows.fetchall()]
            moved[state] = len(move(db, moves, leave=state, now=now))
    return moved.total()


def _usual(db: Database, account: str, now: datetime) -> Share:
    row = db.execute(
        _USUAL, {"account": account, "since": now - HISTORY, "outcomes": list(OUTCOMES), "limit": MAX_HISTORY}
    ).fetchone()
    assert row is not None
    return Share(row["others"], row["total"])


# Identifiers are erased when a request closes. So a submission with identifiers is of an open request, and
# has not been closed before. What an operator confirmed is not compared again: it is history.
_SEEN = """
SELECT s.account, count(*) AS total, count(*) FILTER (WHERE s.state <> 'completed') AS others,
       count(*) FILTER (WHERE s.finished_at >= %(since)s) AS run_total,
       count(*) FILTER (WHERE s.finished_at >= %(since)s AND s.state <> 'completed') AS run_others,
       count(*) FILTER (WHERE s.is_unconfirmed) AS waiting
  FROM dsar.request r,
       LATERAL (SELECT o.account, o.state, o.finished_at, o.is_unconfirmed FROM dsar.submission o
                 WHERE o.request = r.id AND (%(account)s::text IS NULL OR o.account = %(account)s)
                   AND o.state = ANY(%(outcomes)s) AND o.identifiers IS NOT NULL AND o.confirmed_at IS NULL
                OFFSET 0) AS s
 WHERE r.status = 'in_progress'
 GROUP BY s.account ORDER BY s.account
"""

_USUAL = """
SELECT count(*) AS total, count(*) FILTER (WHERE state <> 'completed') AS others
  FROM (SELECT state FROM dsar.submission
         WHERE account = %(account)s AND finished_at >= %(since)s AND state = ANY(%(outcomes)s)
           AND (identifiers IS NULL OR confirmed_at IS NOT NULL)
         ORDER BY finished_at DESC LIMIT %(limit)s) AS latest
"""

# Locked in the order of their ids, as in transitions.py.
_HOLD = """
WITH implausible AS (
    SELECT s.id
      FROM dsar.request r,
           LATERAL (SELECT o.id FROM dsar.submission o
                     WHERE o.request = r.id AND o.account = %(account)s AND o.state = ANY(%(held)s)
                       AND o.identifiers IS NOT NULL AND o.confirmed_at IS NULL AND NOT o.is_unconfirmed
                       AND (%(since)s::timestamptz IS NULL OR o.finished_at >= %(since)s)
                    OFFSET 0) AS s
     WHERE r.status = 'in_progress'
),
locked AS (
    SELECT s.id FROM dsar.submission s JOIN implausible USING (id) ORDER BY s.id FOR UPDATE OF s
),
held AS (
    UPDATE dsar.submission s SET is_unconfirmed = true
      FROM locked
     WHERE s.id = locked.id AND s.state = ANY(%(held)s) AND s.identifiers IS NOT NULL
       AND NOT s.is_unconfirmed
    RETURNING s.id, s.request, s.state, s.attempts, s.job_id
)
INSERT INTO dsar.event (at, request, submission, leaves, enters, reason, attempt, job_id)
SELECT %(now)s, request, id, state, state, %(reason)s, attempts, job_id FROM held
"""

_WAITING = """
SELECT state, count(*) AS n FROM dsar.submission
 WHERE account = %(account)s AND is_unconfirmed GROUP BY state ORDER BY state
"""

_REQUESTS = """
SELECT DISTINCT s.account, (SELECT request_id FROM dsar.request WHERE id = s.request) AS request_id
  FROM dsar.submission s WHERE s.is_unconfirmed ORDER BY s.account, request_id
"""

_CONFIRM = """
WITH locked AS (
    SELECT id FROM dsar.submission
     WHERE account = %(account)s AND is_unconfirmed AND finished_at <= %(made_at)s
     ORDER BY id FOR UPDATE
),
confirmed AS (
    UPDATE dsar.submission s SET is_unconfirmed = false, confirmed_at = %(now)s
      FROM locked
     WHERE s.id = locked.id
    RETURNING s.id, s.request, s.state, s.attempts, s.job_id
)
INSERT INTO dsar.event (at, request, submission, leaves, enters, reason, attempt, job_id)
SELECT %(now)s, request, id, state, state, %(reason)s, attempts, job_id FROM confirmed
"""

_TO_DISCARD = """
SELECT id FROM dsar.submission
 WHERE account = %(account)s AND is_unconfirmed AND state = %(state)s AND finished_at <= %(made_at)s
 ORDER BY id
"""
