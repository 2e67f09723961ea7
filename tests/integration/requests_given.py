"""Adds requests to the ledger and reads its tables, for the tests of the stages. Has a movable clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from include.accounts import ACCOUNTS
from include.dsar.accounts import VolumeLimit
from include.dsar.intake.rows import Rules
from include.dsar.ledger import planning, staging
from include.dsar.ledger.database import Database
from include.dsar.ledger.planning import Planned
from include.dsar.ledger.staging import PlannedRequest, PlannedSubmission, SourceRow
from include.dsar.model import Action, IdentityKind, State
from include.regulations import REGULATIONS

RULES = Rules(ACCOUNTS, None, b"key", REGULATIONS)
KINDS = {"besitos": IdentityKind.USER_ID, "batch": IdentityKind.USER_ID}  # others: e-mail addresses
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Clock:
    """A clock that shows the real time plus an offset."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, **units: float) -> None:
        self.ahead += timedelta(**units)


def submission(
    value: str = "u1",
    account: str = "besitos",
    kind: IdentityKind | None = None,
    state: State = State.PLANNED,
) -> PlannedSubmission:
    kind = kind or KINDS.get(account, IdentityKind.EMAIL)
    given = state is State.PLANNED
    return PlannedSubmission(
        account=account,
        vendor=account,
        state=state,
        reason=None if given else "accepts no such requests",
        identity=kind if given else "",
        identity_hash=f"{kind}:{value}" if given else "",
        identifiers={kind: value} if given else None,
    )


def request(
    request_id: str = "r-1",
    *submissions: PlannedSubmission,
    action: Action = Action.ERASURE,
    received_at: datetime = NOW - timedelta(days=1),
    due_at: datetime = NOW + timedelta(days=29),
    fingerprint: str = "as asked",
) -> PlannedRequest:
    return PlannedRequest(
        request_id=request_id,
        action=action,
        regulation="GDPR",
        jurisdiction="GDPR",
        received_at=received_at,
        zone="UTC",
        due_at=due_at,
        ack_due_at=None,
        fingerprint=fingerprint,
        submissions=submissions or (submission(),),
    )


def plan(
    db: Database,
    *requests: PlannedRequest,
    retry_failed: bool = False,
    now: datetime = NOW,
    limit: VolumeLimit | None = None,
) -> Planned:
    staging.create(db)
    staging.add(db, [SourceRow(n, None, r.request_id, r) for n, r in enumerate(requests, 1)])
    *_, last = [
        planning.plan(db, n, now=now, retry_failed=retry_failed, limit=limit) for n in staging.compare(db)
    ]
    return last


def row(db: Database, submission_id: int) -> dict[str, Any]:
    """Returns a submission's row in the ledger."""
    found = db.execute("SELECT * FROM dsar.submission WHERE id = %s", [submission_id]).fetchone()
    assert found is not None
    return found


def rows(db: Database) -> list[dict[str, Any]]:
    """Returns the rows of all submissions, each with its request_id."""
    return db.execute(
        "SELECT s.*, r.request_id FROM dsar.submission s JOIN dsar.request r ON r.id = s.request"
        " ORDER BY s.id"
    ).fetchall()


def states(db: Database) -> dict[str, str]:
    """Returns the state of each request's only submission, by request id."""
    return {found["request_id"]: found["state"] for found in rows(db)}


def put_into(db: psycopg.Connection[Any], submission_ids: Sequence[int], values: Mapping[str, Any]) -> None:
    """Sets columns of submissions directly, without the ledger's checks."""
    pairs = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values
    )
    statement = sql.SQL("UPDATE dsar.submission SET {} WHERE id = ANY(%(ids)s)").format(pairs)
    db.execute(statement, {**values, "ids": list(submission_ids)})


def events(db: Database) -> list[dict[str, Any]]:
    return db.execute("SELECT * FROM dsar.event ORDER BY id").fetchall()
