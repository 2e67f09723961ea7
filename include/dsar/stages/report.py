"""Report: the day's register and a summary; what a person has to do."""

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
from include.dsar.ledger import reporting
from include.dsar.ledger.database import Database
from include.dsar.ledger.reporting import AccountDay, Attention
from include.dsar.model import State
from include.dsar.sending.calls import start_of_utc_day

log = logging.getLogger(__name__)

COLUMNS = (
    "request_id", "request_type", "regulation", "received_at", "due_at", "status", "closed_at",
    "account", "vendor", "outcome", "reason", "submissions", "submitted_at", "finished_at",
)  # fmt: skip
SHOWN = 10  # request ids in a sentence


@dataclass
class Report:
    """The stage. The register covers the whole UTC day, the summary this run, and what is to be done
    all that no report of an earlier run has told."""

    db: Database
    storage: Storage
    run_after: datetime  # when the run was due to begin
    accounts: Collection[str]  # those of this deployment
    held: Sequence[str] = ()  # accounts whose uncertain submissions wait for a person
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def run(self) -> list[str]:
        """Writes the register, logs the summary, and returns a sentence for each thing to be done."""
        log.info("report: writing the register of %s", f"{self.run_after.astimezone(UTC):%Y-%m-%d}")
        uri = self._write_register()
        requests = reporting.request_counts(self.db, self.run_after)
        days = reporting.account_days(self.db, self.run_after)
        log.info("\n%s", summary(days, requests))
        log.info("register: %s", uri)
        self._looked_at = now = self.clock()
        since = reporting.reported_before(self.db, self.run_after)
        attention = reporting.attention(self.db, now=now, since=since, held=list(self.held))
        return [*todo(attention), *stranded(days, self.accounts)]

    def told(self) -> None:
        """A person has got the sentences: the next run's report begins where this one looked."""
        reporting.reported(self.db, self.run_after, at=self._looked_at)

    def _write_register(self) -> str:
        path = f"register/{self.run_after.astimezone(UTC):%Y-%m-%d}.csv"
        # Row by row: it holds all that is open, which may not fit into memory.
        with (
            self.storage.writer(path) as target,
            io.TextIOWrapper(cast(BinaryIO, target), encoding="utf-8", newline="") as text,
        ):
            writer = csv.DictWriter(text, COLUMNS)
            writer.writeheader()
            writer.writerows(map(_cells, reporting.register(self.db, start_of_utc_day(self.run_after))))
        return self.storage.uri(path)


def summary(accounts: Sequence[AccountDay], requests: Mapping[str, int]) -> str:
    """A table for the log: the submissions of each account that ended in this run, and those open."""
    counts = pd.DataFrame(
        [day.ended | day.open for day in accounts],
        index=[day.account for day in accounts],
        columns=[state.value for state in State],
    )
    table = counts.dropna(axis="columns", how="all").fillna(0).astype(int)
    table["due soonest"] = [f"{day.due_soonest:%Y-%m-%d}" if day.due_soonest else "-" for day in accounts]
    shown = table.to_string() if accounts else "no submission has ended, none is open"
    return f"{shown}\nrequests: {_counts(requests)}"


def todo(attention: Attention) -> list[str]:
    """A sentence for each thing that a person has to do."""
    found = []
    if attention.overdue:
        found.append(
            f"past their legal due date: {_some(attention.overdue)}. Ask the vendors whose outcome is "
            "missing, and tell the persons why it takes longer (GDPR Art. 12(3), CCPA regulations § 7021(b))."
        )
    for account, ids in attention.failed.items():
        found.append(
            f"{account} failed {_some(ids)}. Each receipt gives the reason. "
            "Trigger dsar_daily with retry_failed once it is mended."
        )
    for account, ids in attention.rejected.items():
        found.append(
            f"{account} refused the identifiers of {_some(ids)}. Each receipt gives the vendor's code. "
            "Correct the source and enter the request under a new request_id, or answer it by hand."
        )
    for account, ids in attention.held.items():
        found.append(
            f"{account} may or may not have taken {_some(ids)}: no run settles that. Ask the vendor, then "
            f"trigger dsar_daily with a decision for each: `{ids[0]} {account} send_again`, or "
            f"`{ids[0]} {account} taken <job id>`."
        )
    return found


def stranded(days: Sequence[AccountDay], accounts: Collection[str]) -> list[str]:
    """A sentence for each account that was removed or renamed while it had open submissions."""
    return [
        f"include/accounts.py lists no account {day.account} any more, which has open submissions "
        f"({_counts(day.open)}): no task sends, awaits or collects them, and their requests stay open. Put "
        "it back until they have ended, with identities=() if it shall be given nothing new."
        for day in days
        if day.open and day.account not in accounts
    ]


def _some(request_ids: Sequence[str]) -> str:
    shown = ", ".join(request_ids[:SHOWN])
    more = f" and {len(request_ids) - SHOWN} more" if len(request_ids) > SHOWN else ""
    return f"{len(request_ids)} request{'s' if len(request_ids) > 1 else ''} ({shown}{more})"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items())) or "-"


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.astimezone(UTC).isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for name, value in row.items()
    }
