"""Report: writes the register of the day and a summary, and lists what an operator must do."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast

import pandas as pd

from include.dsar.delivery.storage import Storage
from include.dsar.ledger import attention, reply_shapes, reporting
from include.dsar.ledger.database import Database
from include.dsar.ledger.reporting import AccountDay
from include.dsar.model import State
from include.dsar.sending.calls import start_of_utc_day
from include.dsar.stages.contract import drift_text
from include.dsar.stages.to_do import acknowledged, connection_of, todo
from include.dsar.zones import DATES, in_zone

log = logging.getLogger(__name__)

COLUMNS = (
    "request_id", "request_type", "regulation", "received_at", "due_at", "status", "closed_at",
    "account", "vendor", "outcome", "reason", "submissions", "submitted_at", "finished_at",
)  # fmt: skip


@dataclass
class Report:
    """The report stage. The register covers the UTC day. The summary covers this run.

    The list for the operator has everything that an operator must do. Acknowledged items are only logged.
    """

    db: Database
    storage: Storage
    run_after: datetime  # when the run was due to start
    accounts: Collection[str]  # those of this deployment
    held: Sequence[str] = ()  # accounts with on_uncertain=hold
    connections: Mapping[str, str] = field(default_factory=dict)  # by account
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def run(self) -> list[str]:
        """Writes the register, logs the summary, and returns one sentence for each action that an operator
        must take. If an old run is cleared, the register of its day stays as it was.
        """
        day = f"{self.run_after.astimezone(UTC):%Y-%m-%d}"
        if reporting.is_past(self.db, self.run_after, today=start_of_utc_day(self.clock())):
            log.info("report: the register of %s stays as it was: the ledger has only today's states", day)
        else:
            log.info("report: writing the register of %s", day)
            log.info("report: the register is in %s", self._write_register())
        requests = reporting.request_counts(self.db, self.run_after)
        days = reporting.account_days(self.db, self.run_after)
        log.info("\n%s", summary(days, requests))
        self._reported_at = now = self.clock()
        since = reporting.reported_before(self.db, self.run_after)
        found = attention.attention(
            self.db, now=now, since=since, held=list(self.held), run_after=self.run_after
        )
        for sentence in acknowledged(found):
            log.info("report: %s", sentence)
        return [
            *todo(found, self.connections),
            *stranded(days, self.accounts),
            *self._drifted(since),
        ]

    def mark_reported(self) -> None:
        """Records that the sentences were logged. The next report does not fail again because of a due date
        that was already near at this report.
        """
        reporting.reported(self.db, self.run_after, at=self._reported_at)

    def _drifted(self, since: datetime | None) -> list[str]:
        """Returns one sentence for each account if a check since this time found that its API has changed.
        If an earlier check found the change, only logs the sentence, because an earlier report has
        returned it.
        """
        new = []
        for check in reply_shapes.checks(self.db, list(self.accounts)):
            sentence = drift_text(check.account, check.drift, connection_of(check.account, self.connections))
            if check.drift and (since is None or check.checked_at > since):
                new.append(sentence)
            elif check.drift:
                log.warning("report: reported before: %s", sentence)
        return new

    def _write_register(self) -> str:
        path = f"register/{self.run_after.astimezone(UTC):%Y-%m-%d}.csv"
        # Row by row: the register holds all open requests, which may not fit into memory.
        with (
            self.storage.writer(path) as target,
            io.TextIOWrapper(cast(BinaryIO, target), encoding="utf-8", newline="") as text,
        ):
            writer = csv.DictWriter(text, COLUMNS)
            writer.writeheader()
            writer.writerows(map(_cells, reporting.register(self.db, start_of_utc_day(self.run_after))))
        return self.storage.uri(path)


def summary(accounts: Sequence[AccountDay], requests: Mapping[str, int]) -> str:
    """Returns a table for the log. For each account, it counts the submissions that ended in this run and
    those that are open.
    """
    counts = pd.DataFrame(
        [day.ended | day.open for day in accounts],
        index=[day.account for day in accounts],
        columns=[state.value for state in State],
    )
    table = counts.dropna(axis="columns", how="all").fillna(0).astype(int)
    table["due soonest"] = [f"{day.due_soonest:%Y-%m-%d}" if day.due_soonest else "-" for day in accounts]
    shown = table.to_string() if accounts else "no submission ended in this run, and no submission is open"
    return f"{shown}\nrequests: {_counts(requests)}"


def stranded(days: Sequence[AccountDay], accounts: Collection[str]) -> list[str]:
    """Returns one sentence for each account that was removed or renamed while it had open submissions."""
    return [
        f"{day.account} has open submissions ({_counts(day.open)}), but include/accounts.py does not list "
        "this account. No task works on them, so their requests stay open. Add the account again until they "
        "have ended. To send it nothing new, set identities=()."
        for day in days
        if day.open and day.account not in accounts
    ]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items())) or "-"


def _iso(name: str, moment: datetime) -> str:
    return (moment if name in DATES else moment.astimezone(UTC)).isoformat(timespec="seconds")


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _iso(name, value) if isinstance(value, datetime) else value
        for name, value in in_zone(row).items()
    }
