"""The transaction in which a page reads the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.errors import QueryCanceled

from include.dsar.errors import LedgerMissing, LedgerSlow
from include.dsar.ledger.database import Database

STATEMENT_SECONDS = 5


@contextmanager
def snapshot(db: Database) -> Iterator[None]:
    """Gives the block a read-only transaction in which all statements see the same data.

    Raises LedgerMissing if no run has created the ledger yet, and LedgerSlow if a statement takes longer
    than STATEMENT_SECONDS.
    """
    try:
        with db.transaction():
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            db.execute("SELECT set_config('statement_timeout', %s, true)", [f"{STATEMENT_SECONDS}s"])
            row = db.execute("SELECT to_regclass('dsar.request') IS NOT NULL AS exists").fetchone()
            if row is None or not row["exists"]:
                raise LedgerMissing(
                    "Trigger dsar_daily. The intake task of its first run creates the ledger."
                )
            yield
    except QueryCanceled:
        raise LedgerSlow(
            f"The ledger did not answer within {STATEMENT_SECONDS} seconds. Choose narrower filters or a "
            "shorter period. If this happens often, the database is overloaded or needs ANALYZE."
        ) from None
