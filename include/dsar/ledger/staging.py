"""Stages all rows of one intake in temporary tables. SQL compares the rows before the first request is
planned.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from include.dsar.ledger.database import Database
from include.dsar.model import Action, IdentityKind, State

ROWS_PER_TRANSACTION = 10_000


@dataclass(frozen=True)
class PlannedSubmission:
    account: str
    vendor: str
    state: State  # PLANNED, or NOT_APPLICABLE with its reason
    reason: str | None
    identity: str
    identity_hash: str
    identifiers: Mapping[IdentityKind, str] | None = field(repr=False)
    is_left_out: bool = False  # the account accepts such identifiers, but has no API for the action


@dataclass(frozen=True)
class PlannedRequest:
    request_id: str
    action: Action
    regulation: str
    jurisdiction: str | None
    received_at: datetime
    zone: str  # of received_at
    due_at: datetime
    ack_due_at: datetime | None
    fingerprint: str  # keyed hash of what is asked: tells whether a row has changed
    submissions: tuple[PlannedSubmission, ...]

    def columns(self) -> tuple[object, ...]:
        """Returns the values of the staging table's columns from `action` on."""
        return (
            self.action,
            self.regulation,
            self.jurisdiction,
            self.received_at,
            self.zone,
            self.due_at,
            self.ack_due_at,
            self.fingerprint,
            self.not_asked,
            self.needs_answer,
        )

    @property
    def not_asked(self) -> list[str]:
        """The accounts that may hold data of the data subject, but cannot be asked."""
        return [s.account for s in self.submissions if s.is_left_out]

    @property
    def needs_answer(self) -> bool:
        """Returns whether no account can serve this request, so that an operator must answer it."""
        return all(s.state is State.NOT_APPLICABLE for s in self.submissions)


@dataclass(frozen=True)
class Readable:
    """The parts of an invalid row that could be read, and its due date. None means not readable."""

    action: Action | None
    regulation: str | None
    received_at: datetime | None
    due_at: datetime

    def columns(self) -> tuple[object, ...]:
        """Returns the values of the staging table's columns from `action` on."""
        return (self.action, self.regulation, None, self.received_at, None, self.due_at, *(None,) * 4)


@dataclass(frozen=True)
class SourceRow:
    """A row of the source: a request, or the reason why it is invalid."""

    number: int  # counted from 1 in the order of the source
    source_id: str | None  # what finds the row in the source, as JSON; None: nothing does
    request_id: str | None  # None: the row has no safe one
    request: PlannedRequest | None = None
    reason: str | None = None
    readable: Readable | None = None  # of an invalid row
    row_key: str | None = None  # keyed hash that recognises the row in another intake


class RowOutcome(StrEnum):
    """The result of planning for a row."""

    NEW = "new"
    KNOWN = "known"  # in the ledger already
    REPEATED = "repeated"  # an earlier row of the source is the same
    CHANGED = "changed"  # in the ledger already, but not as this row asks
    INVALID = "invalid"


@dataclass(frozen=True)
class PlannedRow:
    """A row of the source, with the result of planning."""

    number: int
    source_id: str | None
    request_id: str | None
    reason: str | None


def create(db: Database) -> None:
    """Creates empty staging tables. They exist until the session ends or `drop` is called."""
    drop(db)
    db.execute(_CREATE)


def drop(db: Database) -> None:
    db.execute(_DROP)


def add(db: Database, rows: Sequence[SourceRow]) -> None:
    """Stages these rows. It plans nothing."""
    with db.cursor() as cursor:
        with cursor.copy(
            "COPY staged (number, source_id, row_key, request_id, reason, action, regulation, jurisdiction,"
            " received_at, zone, due_at, ack_due_at, fingerprint, not_asked, needs_answer) FROM STDIN"
        ) as copy:
            for row in rows:
                read = row.request or row.readable
                copy.write_row(
                    (
                        row.number,
                        row.source_id,
                        row.row_key,
                        row.request_id,
                        row.reason,
                        *(read.columns() if read else (None,) * 10),
                    )
                )
        with cursor.copy(
            "COPY staged_submission (number, account, vendor, state, reason, identity, identity_hash,"
            " identifiers, position) FROM STDIN"
        ) as copy:
            for row in rows:
                for position, s in enumerate(row.request.submissions if row.request else ()):
                    known = None if s.identifiers is None else identifiers_json(s.identifiers)
                    copy.write_row(
                        (
                            row.number,
                            s.account,
                            s.vendor,
                            s.state,
                            s.reason,
                            s.identity,
                            s.identity_hash,
                            known,
                            position,
                        )
                    )


def compare(db: Database) -> Iterator[range]:
    """Finds rows that share a request_id. Then yields ranges of row numbers, one range per transaction."""
    db.execute(_INDEX)
    db.execute(_FIND_DUPLICATES)
    db.execute("ANALYZE staged, staged_submission, staged_duplicate")
    row = db.execute("SELECT coalesce(max(number), 0) AS last FROM staged").fetchone()
    assert row is not None
    for first in range(1, row["last"] + 1, ROWS_PER_TRANSACTION):
        yield range(first, min(first + ROWS_PER_TRANSACTION, row["last"] + 1))


def rows_with(db: Database, outcome: RowOutcome, *, limit: int, after: int = 0) -> list[PlannedRow]:
    """Returns up to `limit` planned rows with this outcome and a row number above `after`."""
    parameters = {"outcome": outcome, "limit": limit, "after": after}
    return [PlannedRow(**row) for row in db.execute(_ROWS_WITH, parameters).fetchall()]


def identifiers_json(identifiers: Mapping[IdentityKind, str]) -> str:
    """Returns the identifiers as JSON with sorted kinds. The text is always the same, because it is hashed.

    Only strings are passed to `json.dumps`. For an object, `json.dumps` makes a new encoder at each call,
    and these encoders took a third of the time of intake.
    """
    return (
        "{" + ", ".join([f'"{kind}": {json.dumps(identifiers[kind])}' for kind in sorted(identifiers)]) + "}"
    )


_DROP = """
DROP TABLE IF EXISTS pg_temp.staged, pg_temp.staged_submission, pg_temp.staged_duplicate,
                     pg_temp.staged_outcome CASCADE
"""

_CREATE = """
CREATE TEMP TABLE staged (
    number bigint, source_id text, row_key text, request_id text, reason text, action text, regulation text,
    jurisdiction text, received_at timestamptz, zone text, due_at timestamptz, ack_due_at timestamptz,
    fingerprint text, not_asked text[], needs_answer boolean
);
CREATE TEMP TABLE staged_submission (
    number bigint, account text, vendor text, state text, reason text, identity text, identity_hash text,
    identifiers jsonb, position int  -- in its request
);
CREATE TEMP TABLE staged_duplicate (number bigint PRIMARY KEY, is_contradictory boolean, is_repeated boolean);
CREATE TEMP TABLE staged_outcome (number bigint PRIMARY KEY, request_id text, outcome text, reason text);
CREATE TEMP VIEW staged_known AS
    SELECT o.number, o.request_id, s.account, s.identity_hash, s.identifiers
      FROM staged_outcome o JOIN staged_submission s USING (number) WHERE o.outcome = 'known';
"""

_INDEX = "CREATE INDEX ON staged (number); CREATE INDEX ON staged_submission (number)"

# Rows that share their request_id with another row. Contradictory: the rows do not all ask the same, or one
# of them is invalid. Repeated: an earlier row asks the same.
_FIND_DUPLICATES = """
WITH shared_id AS (
    SELECT request_id, min(coalesce(fingerprint, '')) <> max(coalesce(fingerprint, '')) AS is_contradictory
      FROM staged WHERE request_id IS NOT NULL GROUP BY request_id HAVING count(*) > 1
)
INSERT INTO staged_duplicate
SELECT s.number, shared_id.is_contradictory,
       s.fingerprint IS NOT NULL
       AND row_number() OVER (PARTITION BY s.request_id, s.fingerprint ORDER BY s.number) > 1
  FROM staged s JOIN shared_id USING (request_id)
"""

_ROWS_WITH = """
SELECT o.number, s.source_id, o.request_id, o.reason
  FROM staged_outcome o JOIN staged s USING (number)
 WHERE o.outcome = %(outcome)s AND o.number > %(after)s ORDER BY o.number LIMIT %(limit)s
"""
