"""A worker claims submissions before it sends them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import Action, IdentityKind, State, Subject

WORKER_LOCK = 0x64736172  # first half of the advisory lock that each worker holds while it lives
CLAIM_LOCK = 0x64736163  # first half of the lock that is held during a claim for an account

# An erasure waits for an earlier access request until this long before the erasure is due.
LAST_DAYS = timedelta(days=7)

REASON_SHARED = "shares a job with another open request of the same data subject"


@dataclass(frozen=True)
class Claim:
    """A submission that this worker has claimed and may send now."""

    action: Action
    batch_limit: int | None
    subject: Subject
    uncertain_reason: str | None = None  # why the outcome of an earlier call is uncertain


def register(db: Database) -> int:
    """Registers a worker and returns its number. The worker counts as alive while the session of `db`
    lasts.
    """
    row = db.execute(_REGISTER, {"lock": WORKER_LOCK}).fetchone()
    assert row is not None
    return int(row["worker"])


@contextmanager
def one_at_a_time(db: Database, account: str) -> Iterator[None]:
    """Opens a transaction in which no other worker can claim submissions of this account.

    Without this lock, two concurrent claims would not see each other. Both claims could use the same
    remaining quota. Each claim could also send a request of the same data subject, although these requests
    should share a job.
    """
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [CLAIM_LOCK, account])
        yield


def claim(
    db: Database,
    account: str,
    *,
    worker: int,
    limit: int,
    now: datetime,
    request_pks: Sequence[int] | None,
    one_job_per_subject: bool,
) -> list[Claim]:
    """Marks up to `limit` planned submissions as submitting and returns them. The soonest due date comes
    first.

    A submission that waits for another submission stays planned: see `dsar.waits_for`.
    """
    parameters = {
        "account": account,
        "worker": worker,
        "limit": limit,
        "now": now,
        "request_pks": request_pks,
        "one_job_per_subject": one_job_per_subject,
        "last_days": LAST_DAYS,
    }
    rows = db.execute(_CLAIM, parameters).fetchall()
    rows.sort(key=lambda row: (row["due_at"], row["id"]))
    return [
        Claim(Action(row["action"]), row["batch_limit"], subject(row), row["uncertain_reason"])
        for row in rows
    ]


def share_jobs(db: Database, account: str, *, now: datetime, request_pks: Sequence[int] | None) -> int:
    """Lets planned submissions share the running job of another request with the same content. Returns how
    many submissions share a job now.

    A submission shares only a job that was requested after the submission was planned. An older job may have
    read the data too early. We would then report an erasure as done, although newer data is not erased.
    """
    with db.transaction():
        rows = db.execute(
            _FIND_SHAREABLE, {"account": account, "now": now, "request_pks": request_pks}
        ).fetchall()
        moves = [
            Move(
                row["id"],
                State.SUBMITTED,
                REASON_SHARED,
                job_id=row["job_id"],
                submitted_at=row["submitted_at"],
            )
            for row in rows
        ]
        moved = move(db, moves, leave=State.PLANNED, now=now)
        owners = [row["shares_with"] for row in rows if row["id"] in moved]
        db.execute(_MARK_SHARED, {"submissions": owners, "reason": REASON_SHARED})
    return len(moved)


def next_planned_at(
    db: Database, account: str, *, now: datetime, request_pks: Sequence[int] | None, one_job_per_subject: bool
) -> datetime | None:
    """Returns when the next planned submission can be sent or share a job. None if no submission is
    planned, or if all planned submissions wait for another request of the same data subject.
    """
    parameters = {
        "account": account,
        "now": now,
        "request_pks": request_pks,
        "one_job_per_subject": one_job_per_subject,
        "last_days": LAST_DAYS,
    }
    row = db.execute(_NEXT_PLANNED, parameters).fetchone()
    assert row is not None
    return row["at"]  # type: ignore[no-any-return]


def attempted_since(db: Database, account: str, since: datetime) -> int:
    """Returns how many submissions of this account were claimed since this time. These submissions count
    against the account's daily quota.
    """
    row = db.execute(
        "SELECT count(*) AS n FROM dsar.submission"
        " WHERE account = %s AND attempted_at >= %s AND attempts > 0",
        [account, since],
    ).fetchone()
    assert row is not None
    return int(row["n"])


def planned_counts(db: Database, account: str, *, request_pks: Sequence[int] | None) -> dict[Action, int]:
    """Returns how many submissions wait to be sent, by action. Submissions on hold do not count."""
    rows = db.execute(_PLANNED_COUNTS, {"account": account, "request_pks": request_pks}).fetchall()
    return {Action(row["action"]): row["n"] for row in rows}


def subject(row: dict[str, object]) -> Subject:
    """Makes a Subject from a row with the columns of a claim."""
    identifiers = row["identifiers"]
    assert isinstance(identifiers, dict)
    return Subject(
        submission=int(str(row["id"])),
        identifiers={IdentityKind(kind): value for kind, value in identifiers.items()},
        regulation=str(row["regulation"]),
        jurisdiction=cast("str | None", row["jurisdiction"]),
        request_id=str(row["request_id"]),
        received_at=cast(datetime, row["received_at"]),
        earlier_jobs=int(str(row["earlier_jobs"])),
    )


# PostgreSQL would grant this session a lock that it already holds. A random number of 31 bits is new.
_REGISTER = """
WITH me AS MATERIALIZED (SELECT (random() * 2147483646)::int AS worker)
SELECT worker FROM me WHERE pg_advisory_lock(%(lock)s, worker) IS NOT NULL
"""

# dsar.waits_for (migration 0005) decides what can be sent.
_CLAIM = """
WITH chosen AS (
    SELECT s.id FROM dsar.submission s
     WHERE s.account = %(account)s AND s.state = 'planned' AND NOT s.is_held
       AND (s.not_before IS NULL OR s.not_before <= %(now)s)
       AND (%(request_pks)s::bigint[] IS NULL OR s.request = ANY(%(request_pks)s))
       AND NOT EXISTS (
           SELECT FROM dsar.waits_for(
               s, %(now)s, %(request_pks)s, %(one_job_per_subject)s, %(last_days)s) OFFSET 0)
     ORDER BY s.due_at, s.id
     LIMIT %(limit)s
       FOR UPDATE OF s SKIP LOCKED
)
UPDATE dsar.submission s
   SET state = 'submitting', worker = %(worker)s, attempts = attempts + 1, attempted_at = %(now)s,
       changed_at = %(now)s, reason = NULL
  FROM chosen, dsar.request r
 WHERE s.id = chosen.id AND r.id = s.request AND s.state = 'planned'
RETURNING s.id, s.due_at, s.identifiers, s.batch_limit, r.action, r.regulation, r.jurisdiction, r.request_id,
          r.received_at, s.earlier_jobs,
          -- A job resolves the uncertainty. A later call that was certainly not taken does not.
          CASE WHEN s.uncertain_count > 0 THEN (
              SELECT CASE e.enters WHEN 'uncertain' THEN e.reason END FROM dsar.event e
               WHERE e.request = s.request AND e.submission = s.id
                 AND (e.enters = 'uncertain' OR e.leaves IN ('submitted', 'failed', 'completed'))
               ORDER BY e.id DESC LIMIT 1) END AS uncertain_reason
"""

_FIND_SHAREABLE = """
SELECT DISTINCT ON (s.id) s.id, other.job_id, other.submitted_at, other.id AS shares_with
  FROM dsar.submission s,
       LATERAL (SELECT * FROM dsar.waits_for(s, %(now)s, %(request_pks)s, false, '0 days')
                 WHERE is_shareable OFFSET 0) AS other
 WHERE s.account = %(account)s AND s.state = 'planned' AND NOT s.is_held
   AND (s.not_before IS NULL OR s.not_before <= %(now)s)
   AND (%(request_pks)s::bigint[] IS NULL OR s.request = ANY(%(request_pks)s))
 ORDER BY s.id, other.submitted_at DESC
"""

# Both receipts show it. The rows are locked in the order of their ids, as in a move: poll may end them now.
_MARK_SHARED = """
WITH sharing AS (
    SELECT id FROM dsar.submission WHERE id = ANY(%(submissions)s) ORDER BY id FOR UPDATE
)
UPDATE dsar.submission s SET reason = concat_ws('; ', s.reason, %(reason)s::text)
  FROM sharing
 WHERE s.id = sharing.id AND s.state = 'submitted' AND strpos(coalesce(s.reason, ''), %(reason)s) = 0
"""

# A submission that can share a job does not wait.
_NEXT_PLANNED = """
SELECT min(coalesce(s.not_before, %(now)s)) AS at
  FROM dsar.submission s
 WHERE s.account = %(account)s AND s.state = 'planned' AND NOT s.is_held
   AND (%(request_pks)s::bigint[] IS NULL OR s.request = ANY(%(request_pks)s))
   AND NOT EXISTS (
       SELECT FROM dsar.waits_for(s, %(now)s, %(request_pks)s, %(one_job_per_subject)s, %(last_days)s)
        WHERE NOT is_shareable OFFSET 0)
"""

_PLANNED_COUNTS = """
SELECT r.action, count(*) AS n
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.account = %(account)s AND s.state = 'planned' AND NOT s.is_held AND r.hold_reason IS NULL
   AND (%(request_pks)s::bigint[] IS NULL OR s.request = ANY(%(request_pks)s))
 GROUP BY r.action
"""
