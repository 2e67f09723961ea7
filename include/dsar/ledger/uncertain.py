"""Submissions for which we do not know whether the vendor accepted the call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from include.dsar.ledger.claiming import WORKER_LOCK, subject
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import Action, State, Subject

MAX_UNCERTAIN_ATTEMPTS = 8  # of one submission; then an operator decides

REASON_NOT_RECONCILED = "it could not be reconciled"  # begins the reason if a run could not reconcile it
REASON_WORKER_DIED = "the worker died before it recorded the result"


@dataclass(frozen=True)
class UncertainSubmission:
    """A submission for which we do not know whether the vendor accepted the call."""

    action: Action
    since: datetime
    planned_at: datetime  # of its request
    attempted_at: datetime
    attempts: int
    uncertain_count: int  # attempts with an uncertain outcome, the last one included
    subject: Subject

    @property
    def is_stuck(self) -> bool:
        """Returns whether only an operator can reconcile the submission."""
        return self.uncertain_count >= MAX_UNCERTAIN_ATTEMPTS


@dataclass(frozen=True)
class Uncertain:
    """An uncertain submission that an operator can decide about."""

    submission: int
    vendor: str
    identity: str  # its kind
    label: str


def label(identity: str, number: int, of_kind: int) -> str:
    """Returns the name of a submission in a decision: its kind, such as `email`. If the request has several
    submissions of this kind at the account, adds a number, such as `email#2`.

    The numbers follow the order of the identifiers in the source. They stay the same after some of the
    submissions have ended.
    """
    return f"{identity}#{number}" if of_kind > 1 else identity


def mark_abandoned(db: Database, account: str, *, worker: int, now: datetime) -> int:
    """Marks submissions as uncertain if their worker died while sending them. Returns the number of these
    submissions.
    """
    marked = 0
    for row in db.execute(_HELD, {"account": account, "me": worker}).fetchall():
        if _is_dead(db, row["worker"]):
            moves = [Move(submission, State.UNCERTAIN, REASON_WORKER_DIED) for submission in row["ids"]]
            marked += len(move(db, moves, leave=State.SUBMITTING, now=now, worker=row["worker"]))
    return marked


def uncertain_submissions(
    db: Database, account: str, *, request_pks: Sequence[int] | None
) -> list[UncertainSubmission]:
    """Returns all uncertain submissions of the account."""
    rows = db.execute(_ALL, {"account": account, "request_pks": request_pks}).fetchall()
    return [
        UncertainSubmission(
            Action(row["action"]),
            row["changed_at"],
            row["planned_at"],
            row["attempted_at"],
            row["attempts"],
            row["uncertain_count"],
            subject(row),
        )
        for row in rows
    ]


def not_reconciled(db: Database, submissions: Sequence[int], why: str) -> None:
    """Records why a run could not reconcile these uncertain submissions."""
    reason = f"{REASON_NOT_RECONCILED}: {why}"
    db.execute(_NOT_RECONCILED, {"submissions": sorted(submissions), "reason": reason})


def undecided(
    db: Database,
    request_id: str,
    account: str,
    identity: str | None = None,
    *,
    number: int | None = None,
    until: datetime | None = None,
    state: State = State.UNCERTAIN,
) -> list[Uncertain]:
    """Returns the submissions of one request at one account that are in this state. `identity` selects the
    submissions of one kind, and `number` selects one of these: see `label`.
    """
    parameters = {
        "request_id": request_id,
        "account": account,
        "identity": identity,
        "number": number,
        "until": until,
        "state": state,
    }
    return [
        Uncertain(
            row["id"], row["vendor"], row["identity"], label(row["identity"], row["number"], row["of_kind"])
        )
        for row in db.execute(_UNCERTAIN, parameters).fetchall()
    ]


def _is_dead(db: Database, worker: int) -> bool:
    """Returns whether the worker is dead. PostgreSQL releases a worker's lock when its session ends."""
    row = db.execute("SELECT pg_try_advisory_lock(%s, %s) AS free", [WORKER_LOCK, worker]).fetchone()
    assert row is not None
    if row["free"]:
        db.execute("SELECT pg_advisory_unlock(%s, %s)", [WORKER_LOCK, worker])
    return bool(row["free"])


_HELD = """
SELECT worker, array_agg(id) AS ids FROM dsar.submission
 WHERE account = %(account)s AND state = 'submitting' AND worker <> %(me)s GROUP BY worker
"""

_ALL = """
SELECT s.id, s.changed_at, s.attempted_at, s.attempts, s.identifiers, r.action, r.regulation,
       r.jurisdiction, r.request_id,
       r.received_at, s.earlier_jobs, s.uncertain_count, r.planned_at
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.account = %(account)s AND s.state = 'uncertain'
   AND (%(request_pks)s::bigint[] IS NULL OR s.request = ANY(%(request_pks)s))
 ORDER BY s.id
"""

_NOT_RECONCILED = """
UPDATE dsar.submission SET reason = %(reason)s
 WHERE id = ANY(%(submissions)s) AND state = 'uncertain' AND reason IS DISTINCT FROM %(reason)s
"""

_UNCERTAIN = """
SELECT s.id, s.vendor, s.identity, s.number, s.of_kind
  FROM (SELECT o.*, row_number() OVER (PARTITION BY o.identity ORDER BY o.id) AS number,
               count(*) OVER (PARTITION BY o.identity) AS of_kind
          FROM dsar.submission o
         WHERE o.request = (SELECT r.id FROM dsar.request r WHERE r.request_id = %(request_id)s)
           AND o.account = %(account)s) AS s
 WHERE s.state = %(state)s
   AND (%(identity)s::text IS NULL OR s.identity = %(identity)s)
   AND (%(number)s::int IS NULL OR s.number = %(number)s)
   AND (%(until)s::timestamptz IS NULL OR s.changed_at <= %(until)s)
 ORDER BY s.id
"""
