"""Reuses ledger sessions, because opening a session takes longer than most stages here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from include.dsar.ledger import database
from include.dsar.ledger.database import Database


class Sessions:
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._idle: list[Database] = []

    @contextmanager
    def open(self) -> Iterator[Database]:
        """Yields a session. Its worker lock is released afterwards, as at the end of a process."""
        db = self._idle.pop() if self._idle else database.connect(self._dsn)
        pid = db.info.backend_pid
        try:
            yield db
        finally:
            if db.closed:
                self._wait_for_the_end_of(pid)
            else:
                db.execute("SELECT pg_advisory_unlock_all()")
                self._idle.append(db)

    def close(self) -> None:
        for db in self._idle:
            db.close()

    def _wait_for_the_end_of(self, pid: int) -> None:
        """Wait until PostgreSQL has released the locks of a session that has ended."""
        with self.open() as db:
            while db.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid]).fetchall():
                time.sleep(0.001)
