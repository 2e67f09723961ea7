"""Reads, for the report, the items that need an operator.

An item is loud if nobody has acknowledged it, if something about it happened after the acknowledgement, or
if it came closer to its due date by one of THRESHOLDS since the last report. Only loud items make the
report fail. All other items are only listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from include.dsar.ledger import approvals
from include.dsar.ledger.approvals import Held
from include.dsar.ledger.database import Database
from include.dsar.ledger.outcome_breaker import waiting_requests
from include.dsar.ledger.uncertain import MAX_UNCERTAIN_ATTEMPTS, REASON_NOT_RECONCILED, undecided

LONG_UNCERTAIN = timedelta(days=1)
NEAR = timedelta(days=3)
THRESHOLDS = (NEAR, timedelta())  # before the due date


@dataclass(frozen=True)
class Item:
    """A request, or a row of the source, that needs an operator. `name` is its request_id. If a row has no
    safe request_id, `name` is `#<ledger id>`.
    """

    name: str
    is_loud: bool
    until: datetime | None = None  # the end of its acknowledgement, if that has an end
    why: str | None = None  # of an invalid row


@dataclass(frozen=True)
class Unreconciled:
    """A request with a submission that became uncertain in an earlier run and is still uncertain."""

    request_id: str
    since: datetime
    reason: str | None


@dataclass(frozen=True)
class Attention:
    """The items that need an operator. The keys of mappings are accounts."""

    overdue: list[Item]
    near: list[Item]  # NEAR its due date since the last report. All are loud
    failed: dict[str, list[Item]]
    rejected: dict[str, list[Item]]
    not_asked: dict[str, list[Item]]
    invalid: list[Item]  # rows
    unanswered: list[Item]  # requests that an operator must answer
    held: dict[str, list[str]]  # request ids: a submission waits for an operator's decision
    unconfirmed: dict[str, list[str]] = field(default_factory=dict)  # outcomes that wait for an operator
    unreconciled: dict[str, list[Unreconciled]] = field(default_factory=dict)
    volumes: list[Held] = field(default_factory=list)  # unusual numbers of submissions on hold
    held_labels: dict[str, list[str]] = field(default_factory=dict)  # of the first held request: see label()


def attention(
    db: Database, *, now: datetime, since: datetime | None, held: list[str], run_after: datetime | None = None
) -> Attention:
    """Returns the items that need an operator. `since` is the time of the last report. None means that
    there was no report.

    An uncertain request is included only in three cases: its account is in `held`, it was uncertain
    MAX_UNCERTAIN_ATTEMPTS times, or it became uncertain before `run_after`.
    """
    given: dict[str, Any] = {
        "now": now,
        "since": since,
        "near": NEAR,
        "thresholds": list(THRESHOLDS),
        "held": held,
    }
    given |= {
        "max_uncertain_attempts": MAX_UNCERTAIN_ATTEMPTS,
        "tried": REASON_NOT_RECONCILED,
        "run_after": run_after or now,
        "long_ago": now - LONG_UNCERTAIN,
    }
    failures: dict[str, dict[str, list[Item]]] = {"failed": {}, "rejected": {}, "not_asked": {}}
    for statement in (_FAILED, _NOT_ASKED):
        for row in db.execute(statement, given).fetchall():
            failures[row.pop("state")].setdefault(row.pop("account"), []).append(Item(**row))
    waiting: dict[str, list[str]] = {}
    for row in db.execute(_HELD, given).fetchall():
        waiting.setdefault(row["account"], []).append(row["request_id"])
    unreconciled: dict[str, list[Unreconciled]] = {}
    for row in db.execute(_UNRECONCILED, given).fetchall():
        unreconciled.setdefault(row.pop("account"), []).append(Unreconciled(**row))
    return Attention(
        overdue=_items(db, _OVERDUE, given),
        near=_items(db, _NEAR, given),
        **failures,
        invalid=_items(db, _INVALID, given),
        unanswered=_items(db, _UNANSWERED, given),
        held=waiting,
        unconfirmed=waiting_requests(db),
        unreconciled=unreconciled,
        volumes=approvals.on_hold(db),
        held_labels={
            account: [one.label for one in undecided(db, first, account)]
            for account, (first, *_) in waiting.items()
        },
    )


def _items(db: Database, statement: str, given: dict[str, Any]) -> list[Item]:
    return [Item(**row) for row in db.execute(statement, given).fetchall()]


def loud(items: Sequence[Item]) -> list[str]:
    """Returns the names of the items for which the report fails."""
    return [item.name for item in items if item.is_loud]


# dsar.is_loud(acknowledged, happened_at, due_at, since, now, thresholds) is the rule of this module.
_OVERDUE = """
SELECT u.name, a.until,
       dsar.is_loud(a.given_at, NULL, u.due_at, %(since)s, %(now)s, %(thresholds)s) AS is_loud
  FROM dsar.unresolved(%(now)s) AS u
  LEFT JOIN LATERAL dsar.acknowledged(u.request, u.unplanned_row, %(now)s) AS a ON true
 WHERE u.due_at <= %(now)s ORDER BY u.due_at, u.name
"""

_NEAR = """
SELECT request_id AS name, true AS is_loud
  FROM dsar.request
 WHERE status = 'in_progress' AND due_at > %(now)s AND due_at <= %(now)s + %(near)s
   AND greatest(due_at - %(near)s, planned_at) > coalesce(%(since)s::timestamptz, '-infinity')
 ORDER BY due_at, id
"""

_FAILED = """
SELECT s.state, s.account, r.request_id AS name, a.until,
       dsar.is_loud(a.given_at, max(s.finished_at), r.due_at, %(since)s, %(now)s, %(thresholds)s) AS is_loud
  FROM dsar.request r
  JOIN dsar.submission s ON s.request = r.id
  LEFT JOIN LATERAL dsar.acknowledged(r.id, NULL, %(now)s) AS a ON true
 WHERE s.state IN ('failed', 'rejected') AND NOT s.is_unconfirmed
   AND (r.status = 'in_progress' OR r.is_unresolved)
 GROUP BY s.state, s.account, r.id, a.until, a.given_at ORDER BY s.state, s.account, r.request_id
"""

_NOT_ASKED = """
SELECT 'not_asked' AS state, one.account, r.request_id AS name, a.until,
       dsar.is_loud(a.given_at, r.closed_at, r.due_at, %(since)s, %(now)s, %(thresholds)s) AS is_loud
  FROM dsar.request r
 CROSS JOIN unnest(r.not_asked) AS one (account)
  LEFT JOIN LATERAL dsar.acknowledged(r.id, NULL, %(now)s) AS a ON true
 WHERE r.is_unresolved AND r.answered_at IS NULL AND dsar.is_left_out(ARRAY[one.account], %(now)s)
 ORDER BY one.account, r.due_at, r.id
"""

_INVALID = """
SELECT coalesce(u.request_id, '#' || u.id) AS name, a.until, u.reason AS why,
       dsar.is_loud(a.given_at, u.since, u.due_at, %(since)s, %(now)s, %(thresholds)s) AS is_loud
  FROM dsar.unplanned_row u
  LEFT JOIN LATERAL dsar.acknowledged(NULL, u.id, %(now)s) AS a ON true
 WHERE u.resolved_at IS NULL ORDER BY u.due_at, u.id
"""

_UNANSWERED = """
SELECT r.request_id AS name, a.until,
       dsar.is_loud(a.given_at, r.planned_at, r.due_at, %(since)s, %(now)s, %(thresholds)s) AS is_loud
  FROM dsar.request r
  LEFT JOIN LATERAL dsar.acknowledged(r.id, NULL, %(now)s) AS a ON true
 WHERE r.needs_answer ORDER BY r.due_at, r.id
"""

_HELD = """
SELECT DISTINCT s.account, (SELECT request_id FROM dsar.request WHERE id = s.request) AS request_id
  FROM dsar.submission s
 WHERE s.state = 'uncertain'
   AND (s.account = ANY(%(held)s) OR s.uncertain_count >= %(max_uncertain_attempts)s)
 ORDER BY s.account, request_id
"""

# After two runs: it was uncertain before this run began, and this run could not reconcile it. A vendor that
# is asked again on the next UTC day (ID5) has a day.
_UNRECONCILED = """
SELECT s.account, (SELECT request_id FROM dsar.request WHERE id = s.request) AS request_id,
       min(s.changed_at) AS since, max(s.reason) AS reason
  FROM dsar.submission s
 WHERE s.state = 'uncertain' AND NOT s.account = ANY(%(held)s)
   AND s.uncertain_count < %(max_uncertain_attempts)s AND s.changed_at < %(run_after)s
   AND (starts_with(s.reason, %(tried)s) OR s.changed_at < %(long_ago)s)
 GROUP BY s.account, s.request ORDER BY s.account, since, request_id
"""
