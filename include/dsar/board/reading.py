"""One look at the ledger: read-only, consistent, and never for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.errors import QueryCanceled

from include.dsar.errors import LedgerMissing, LedgerSlow
from include.dsar.ledger.database import Database

STATEMENT_SECONDS = 5


@contextmanager
def reading(db: Database) -> Iterator[None]:
    """All statements of the block see the same moment.

    Raises LedgerMissing where no run has made the ledger yet, and LedgerSlow where a statement takes
    longer than STATEMENT_SECONDS.
    """
    try:
        with db.transaction():
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            db.execute("SELECT set_config('statement_timeout', %s, true)", [f"{STATEMENT_SECONDS}s"])
            row = db.execute("SELECT to_regclass('dsar.request') IS NOT NULL AS made").fetchone()
            if row is None or not row["made"]:
                raise LedgerMissing("The first run of dsar_daily makes it, in its task intake.")
            yield
    except QueryCanceled:
        raise LedgerSlow(
            f"The ledger took longer than {STATEMENT_SECONDS} seconds. Choose narrower filters or a "
            "shorter period. If it goes on, the database is overloaded, or its statistics are old (ANALYZE)."
        ) from None
