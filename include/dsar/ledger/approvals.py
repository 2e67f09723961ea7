"""Unusual volumes that wait for an operator, and the operator's answers. volume.py puts the submissions on
hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from include.dsar.ledger.database import Database

APPROVED = "decided by {by}: the unusual volume is approved ({reason})"
DENIED = "decided by {by}: the unusual volume is denied, on hold ({reason})"


@dataclass(frozen=True)
class Held:
    """An unusual volume with submissions on hold. `decision` is None or `denied`."""

    approval: int
    account: str
    action: str
    count: int  # new submissions of that day
    usual: int
    max_count: int
    decision: str | None
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None
    held: int  # submissions
    due_soonest: datetime


@dataclass(frozen=True)
class HeldDay:
    """The number of submissions on hold for one regulation and one day of receipt."""

    action: str
    regulation: str
    received: str  # a UTC day
    account: str
    held: int


def on_hold(db: Database) -> list[Held]:
    """Returns the volumes with submissions on hold, by account and action, oldest first."""
    return [Held(**row) for row in db.execute(_ON_HOLD).fetchall()]


def held_days(db: Database, approvals: Sequence[int]) -> list[HeldDay]:
    """Returns the submissions on hold, by action, regulation, day of receipt and account."""
    return [HeldDay(**row) for row in db.execute(_HELD_DAYS, [list(approvals)]).fetchall()]


def mark_asked(db: Database, approvals: Sequence[int], *, now: datetime) -> None:
    """Remembers that an operator is asked about these volumes. A later volume needs another approval."""
    db.execute("UPDATE dsar.approval SET asked_at = %s WHERE id = ANY(%s)", [now, list(approvals)])


def decide(db: Database, *, approve: bool, by: str, reason: str, now: datetime) -> int:
    """Records the operator's answer about all undecided volumes in the question. If the operator approves,
    the submissions of these volumes can be sent. Returns the number of submissions.
    """
    undecided = "SELECT id FROM dsar.approval WHERE decision IS NULL AND asked_at IS NOT NULL ORDER BY id"
    with db.transaction():
        ids = [row["id"] for row in db.execute(f"{undecided} FOR UPDATE").fetchall()]
        return _decide(db, ids, approve=approve, by=by, reason=reason, now=now)


def release(db: Database, account: str, *, by: str, reason: str, made_at: datetime, now: datetime) -> int:
    """Approves the volumes on hold at this account, even denied ones. Returns the number of released
    submissions. A volume stays on hold if one of its submissions was planned after `made_at`: the
    operator did not know about this submission.
    """
    with db.transaction():
        rows = db.execute(_TO_RELEASE, {"account": account, "made_at": made_at}).fetchall()
        return _decide(db, [row["id"] for row in rows], approve=True, by=by, reason=reason, now=now)


def _decide(db: Database, ids: Sequence[int], *, approve: bool, by: str, reason: str, now: datetime) -> int:
    noted = (APPROVED if approve else DENIED).format(by=by, reason=reason)
    decision = "approved" if approve else "denied"
    parameters = {"ids": list(ids), "now": now, "by": by, "given": reason, "decision": decision}
    db.execute(_DECIDE, parameters)
    return db.execute(_NOTE_DECISION, {**parameters, "held": not approve, "reason": noted}).rowcount


_ON_HOLD = """
SELECT a.id AS approval, a.account, a.action, a.count, a.usual, a.max_count, a.decision, a.decided_by,
       a.decided_at, a.reason, s.held, s.due_soonest
  FROM (SELECT approval, count(*) AS held, min(due_at) AS due_soonest
          FROM dsar.submission WHERE state = 'planned' AND is_held GROUP BY approval) AS s
  JOIN dsar.approval a ON a.id = s.approval
 ORDER BY a.account, a.action, a.id
"""

_HELD_DAYS = """
SELECT r.action, r.regulation, to_char(r.received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS received, s.account,
       count(*) AS held
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.state = 'planned' AND s.is_held AND s.approval = ANY(%s)
 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3 DESC, 4
"""

_TO_RELEASE = """
SELECT a.id FROM dsar.approval a
 WHERE a.account = %(account)s AND a.created_at <= %(made_at)s AND EXISTS (
       SELECT FROM dsar.submission s WHERE s.approval = a.id AND s.state = 'planned' AND s.is_held)
   AND NOT EXISTS (
       SELECT FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
        WHERE s.approval = a.id AND s.state = 'planned' AND s.is_held AND r.planned_at > %(made_at)s)
 ORDER BY a.id FOR UPDATE OF a
"""

_DECIDE = """
UPDATE dsar.approval
   SET decision = %(decision)s, decided_at = %(now)s, decided_by = %(by)s, reason = %(given)s
 WHERE id = ANY(%(ids)s)
"""

_NOTE_DECISION = """
WITH locked AS (
    SELECT id FROM dsar.submission
     WHERE state = 'planned' AND is_held AND approval = ANY(%(ids)s) ORDER BY id FOR UPDATE
),
decided AS (
    UPDATE dsar.submission s SET is_held = %(held)s
      FROM locked WHERE s.id = locked.id AND s.is_held
    RETURNING s.id, s.request, s.account, s.approval, s.attempts
),
counted AS (
    INSERT INTO dsar.volume AS v (account, action, day, approved)
    SELECT d.account, a.action, (%(now)s::timestamptz AT TIME ZONE 'UTC')::date, count(*)
      FROM decided d JOIN dsar.approval a ON a.id = d.approval
     WHERE NOT %(held)s
     GROUP BY d.account, a.action ORDER BY d.account, a.action
        ON CONFLICT (account, action, day) DO UPDATE SET approved = v.approved + excluded.approved
)
INSERT INTO dsar.event (at, request, submission, leaves, enters, reason, attempt)
SELECT %(now)s, request, id, 'planned', 'planned', %(reason)s, attempts FROM decided
"""
