"""The record of instructions by operators and the source about requests, rows and accounts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from psycopg.types.json import Jsonb

from include.dsar.ledger.database import Database


@dataclass(frozen=True)
class Instruction:
    """An instruction by an operator or the source about a request, a row or an account. A request or row is
    given by its ledger id, an account by its name.
    """

    kind: str
    name: str  # what the operator or the source called it by
    author: str  # an Airflow user and run, or "source"
    given_at: datetime
    reason: str | None = None
    request: int | None = None
    unplanned_row: int | None = None
    account: str | None = None
    origin: str = "airflow"  # or "source"
    details: Mapping[str, str | None] = field(default_factory=dict)  # never an identifier

    @property
    def fingerprint(self) -> str:
        """Returns a hash of the instruction. If a run is repeated, its instruction has the same hash."""
        parts = [self.kind, self.name, self.author, self.given_at.isoformat(), self.reason, self.origin]
        return hashlib.sha256(json.dumps([parts, dict(self.details)], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Recorded:
    """The record of an instruction. `refused` is the reason why the instruction was refused. None if it was
    carried out.
    """

    refused: str | None


def recorded(db: Database, given: Instruction) -> Recorded | None:
    """Returns the record of an instruction. None if there is no record."""
    row = db.execute(
        "SELECT refused FROM dsar.instruction WHERE fingerprint = %s", [given.fingerprint]
    ).fetchone()
    return None if row is None else Recorded(**row)


def record(db: Database, given: Instruction, *, now: datetime, refused: str | None) -> None:
    """Records an instruction that was carried out, or the reason why it was refused."""
    parameters = {
        **vars(given),
        "fingerprint": given.fingerprint,
        "details": Jsonb(dict(given.details)),
        "now": now,
        "refused": refused,
    }
    db.execute(_RECORD, parameters)


_RECORD = """
INSERT INTO dsar.instruction (fingerprint, kind, request, unplanned_row, account, origin, author, given_at,
                              reason, details, decided_at, refused)
VALUES (%(fingerprint)s, %(kind)s, %(request)s, %(unplanned_row)s, %(account)s, %(origin)s, %(author)s,
        %(given_at)s, %(reason)s, %(details)s, %(now)s, %(refused)s)
ON CONFLICT (fingerprint) DO NOTHING
"""
