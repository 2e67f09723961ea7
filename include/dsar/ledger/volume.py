"""An unusual number of new submissions is held until an operator approves it.

A wrong query can mark a million data subjects for erasure, and an erasure cannot be undone. So the new
submissions of each account, action and UTC day are counted when they are planned. If there are too many,
all submissions that are not sent yet are put on hold in the same transaction. Therefore a crash of intake
releases nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from include.dsar.accounts import VolumeLimit
from include.dsar.ledger.database import Database

HISTORY_DAYS = 30
BUSIEST = 3  # two exceptional days, such as an approved backlog, do not change what is usual
URGENT = timedelta(days=3)

HELD = "on hold: an unusual number of submissions waits for an approval"
URGENT_SENT = "no longer on hold, because it is due within three days"


@dataclass(frozen=True)
class Usual:
    """The usual number of new submissions in a day, and the largest number that needs no approval."""

    count: int
    max_count: int


def usual(earlier: Sequence[int], *, has_history: bool, limit: VolumeLimit) -> Usual:
    """Returns the usual number and the limit. `earlier` has a count for each of the last 30 days with
    submissions.
    """
    count = sorted(earlier, reverse=True)[BUSIEST - 1] if len(earlier) >= BUSIEST else 0
    return Usual(
        count, max(int(limit.times * count), limit.at_least if has_history else limit.without_history)
    )


def count_new(
    db: Database, added: Sequence[dict[str, Any]], *, limit: VolumeLimit | None, now: datetime
) -> None:
    """Counts new submissions (account, action, n) in the caller's transaction. If there are too many today,
    puts on hold all submissions of today that are not sent yet.
    """
    day = now.astimezone(UTC).date()
    for row in sorted(added, key=lambda row: (row["account"], row["action"])):
        key = {"account": row["account"], "action": row["action"], "day": day}
        free = _number(db, _COUNT, {**key, "n": row["n"]})
        if limit is None:
            continue
        known = _usual(db, limit, **key)
        parameters = {**key, "count": free, "usual": known.count, "max_count": known.max_count, "now": now}
        # What follows in the same intake belongs to the same unusual volume.
        found = db.execute(_FIND_APPROVAL, parameters).fetchone()
        if found or free > known.max_count:
            approval = found["id"] if found else _number(db, _ADD_APPROVAL, parameters)
            held = db.execute(_HOLD, {**parameters, "approval": approval, "reason": HELD}).rowcount
            db.execute(_COUNT, {**key, "n": -held})
            if found:
                db.execute("UPDATE dsar.approval SET count = count + %s WHERE id = %s", [held, approval])


def send_urgent(db: Database, *, limit: VolumeLimit | None, now: datetime) -> int:
    """Releases undecided submissions that are due within three days, oldest first. Returns the number of
    released submissions. The account's limit for the day is not exceeded. Denied submissions stay on
    hold.
    """
    day, released = now.astimezone(UTC).date(), 0
    if limit is None:
        return 0
    waiting = db.execute(_URGENT_ACCOUNTS, {"until": now + URGENT}).fetchall()
    for row in waiting:
        key = {"account": row["account"], "action": row["action"], "day": day}
        with db.transaction():
            left = _usual(db, limit, **key).max_count - _number(db, _COUNT, {**key, "n": 0})
            parameters = {
                **key,
                "until": now + URGENT,
                "limit": max(left, 0),
                "now": now,
                "reason": URGENT_SENT,
            }
            sent = db.execute(_SEND_URGENT, parameters).rowcount
            db.execute(_COUNT, {**key, "n": sent})
        released += sent
    return released


def _usual(db: Database, limit: VolumeLimit, *, account: str, action: str, day: Any) -> Usual:
    parameters = {
        "account": account,
        "action": action,
        "day": day,
        "first": day - timedelta(days=HISTORY_DAYS),
    }
    rows = db.execute(_EARLIER, parameters).fetchall()
    recent = [row["n"] for row in rows if row["day"] >= parameters["first"]]
    has_history = any(row["day"] <= parameters["first"] for row in rows)
    return usual(recent, has_history=has_history, limit=limit)


def _number(db: Database, statement: str, parameters: dict[str, Any]) -> int:
    row = db.execute(statement, parameters).fetchone()
    assert row is not None
    return int(next(iter(row.values())))


_COUNT = """
INSERT INTO dsar.volume AS v (account, action, day, free) VALUES (%(account)s, %(action)s, %(day)s, %(n)s)
    ON CONFLICT (account, action, day) DO UPDATE SET free = v.free + excluded.free
RETURNING free
"""

# All days of the last 30, and the last one before them.
_EARLIER = """
(SELECT day, free + approved AS n FROM dsar.volume
  WHERE account = %(account)s AND action = %(action)s AND day < %(day)s AND day >= %(first)s)
UNION ALL
(SELECT day, free + approved FROM dsar.volume
  WHERE account = %(account)s AND action = %(action)s AND day < %(first)s ORDER BY day DESC LIMIT 1)
"""

_FIND_APPROVAL = """
SELECT id FROM dsar.approval
 WHERE account = %(account)s AND action = %(action)s AND decision IS NULL AND asked_at IS NULL
   AND created_at >= %(day)s::timestamp AT TIME ZONE 'UTC'
 ORDER BY id DESC LIMIT 1
"""

_ADD_APPROVAL = """
INSERT INTO dsar.approval (created_at, account, action, count, usual, max_count)
VALUES (%(now)s, %(account)s, %(action)s, %(count)s, %(usual)s, %(max_count)s) RETURNING id
"""

# Rows are locked in the order of their ids, as in transitions.py. What was attempted or approved before is
# not new. What was planned before today passed the check of its day.
_HOLD = """
WITH locked AS (
    SELECT s.id FROM dsar.submission s
     WHERE s.account = %(account)s AND s.state = 'planned' AND NOT s.is_held
       AND s.attempts = 0 AND s.approval IS NULL
       AND (SELECT r.action = %(action)s AND r.planned_at >= %(day)s::timestamp AT TIME ZONE 'UTC'
              FROM dsar.request r WHERE r.id = s.request)
     ORDER BY s.id FOR UPDATE
),
held AS (
    UPDATE dsar.submission s SET is_held = true, approval = %(approval)s
      FROM locked WHERE s.id = locked.id AND s.state = 'planned'
    RETURNING s.id, s.request, s.attempts
)
INSERT INTO dsar.event (at, request, submission, leaves, enters, reason, attempt)
SELECT %(now)s, request, id, 'planned', 'planned', %(reason)s, attempts FROM held
"""

_URGENT_ACCOUNTS = """
SELECT a.account, a.action FROM dsar.approval a
 WHERE a.decision IS NULL AND EXISTS (
       SELECT FROM dsar.submission s
        WHERE s.approval = a.id AND s.state = 'planned' AND s.is_held AND s.due_at <= %(until)s)
 GROUP BY a.account, a.action ORDER BY a.account, a.action
"""

_SEND_URGENT = """
WITH urgent AS (
    SELECT s.id
      FROM dsar.approval a
      JOIN dsar.submission s ON s.approval = a.id AND s.state = 'planned' AND s.is_held
      JOIN dsar.request r ON r.id = s.request
     WHERE a.decision IS NULL AND a.account = %(account)s AND a.action = %(action)s AND s.due_at <= %(until)s
     ORDER BY r.received_at, s.due_at, s.id LIMIT %(limit)s
),
locked AS (
    SELECT s.id FROM dsar.submission s JOIN urgent USING (id) ORDER BY s.id FOR UPDATE OF s
),
released AS (
    UPDATE dsar.submission s SET is_held = false
      FROM locked WHERE s.id = locked.id AND s.is_held
    RETURNING s.id, s.request, s.attempts
)
INSERT INTO dsar.event (at, request, submission, leaves, enters, reason, attempt)
SELECT %(now)s, request, id, 'planned', 'planned', %(reason)s, attempts FROM released
"""
