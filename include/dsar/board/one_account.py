"""One account: the jobs that its vendor works on, and what waits for a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from include.dsar.ledger.database import Database
from include.dsar.ledger.uncertain import MAX_UNCERTAIN_ATTEMPTS

MOST_JOBS = 50
MOST_UNDECIDED = 50


@dataclass(frozen=True)
class Job:
    job_id: str
    state: str
    submissions: int
    submitted_at: datetime
    due_soonest: datetime


@dataclass(frozen=True)
class Undecided:
    """A request whose submission to an account is uncertain."""

    request_id: str
    account: str
    due_at: datetime
    since: datetime


def jobs(db: Database, account: str) -> list[Job]:
    """The account's open jobs, the oldest first, MOST_JOBS of them."""
    rows = db.execute(_JOBS, {"account": account, "most": MOST_JOBS}).fetchall()
    return [Job(**row) for row in rows]


def undecided(db: Database, accounts: list[str], *, or_stuck: bool = False) -> list[Undecided]:
    """What is uncertain at these accounts, or anywhere after so many doubts that no run settles it; due
    soonest first, MOST_UNDECIDED of it."""
    parameters = {
        "accounts": accounts,
        "or_stuck": or_stuck,
        "max_uncertain_attempts": MAX_UNCERTAIN_ATTEMPTS,
        "most": MOST_UNDECIDED,
    }
    rows = db.execute(_UNDECIDED, parameters).fetchall()
    return [Undecided(**row) for row in rows]


def is_known(db: Database, account: str) -> bool:
    """Whether the ledger holds anything of an account that is not configured any more."""
    return (
        db.execute("SELECT FROM dsar.submission WHERE account = %s LIMIT 1", [account]).fetchone() is not None
    )


_JOBS = """
SELECT job_id, state, count(*) AS submissions, min(submitted_at) AS submitted_at, min(due_at) AS due_soonest
  FROM dsar.submission
 WHERE account = %(account)s AND state IN ('submitted', 'ready')
 GROUP BY job_id, state ORDER BY min(submitted_at), job_id LIMIT %(most)s
"""

# What is uncertain is of open requests: said, it keeps PostgreSQL from reading all that ever were.
_UNDECIDED = """
SELECT r.request_id, s.account, r.due_at, min(s.changed_at) AS since
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.state = 'uncertain' AND r.status = 'in_progress' AND (
           s.account = ANY(%(accounts)s)
           OR %(or_stuck)s AND (
               SELECT count(*) FROM dsar.event e
                WHERE e.request = s.request AND e.submission = s.id AND e.enters = 'uncertain')
               >= %(max_uncertain_attempts)s)
 GROUP BY r.id, s.account ORDER BY r.due_at, r.id, s.account LIMIT %(most)s
"""
