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
from include.dsar.ledger import reply_shapes, reporting
from include.dsar.ledger.database import Database
from include.dsar.ledger.reporting import AccountDay, Attention
from include.dsar.model import State
from include.dsar.sending.calls import start_of_utc_day
from include.dsar.stages.contract import drift_text
from include.dsar.zones import DATES, in_zone

log = logging.getLogger(__name__)

COLUMNS = (
    "request_id", "request_type", "regulation", "received_at", "due_at", "status", "closed_at",
    "account", "vendor", "outcome", "reason", "submissions", "submitted_at", "finished_at",
)  # fmt: skip
IDS_PER_SENTENCE = 10


@dataclass
class Report:
    """The report stage. The register covers the UTC day. The summary covers this run.

    The list for the operator covers everything since the last report of an earlier run.
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
        attention = reporting.attention(
            self.db, now=now, since=since, held=list(self.held), run_after=self.run_after
        )
        return [
            *todo(attention, self.connections),
            *stranded(days, self.accounts),
            *self._drifted(since),
        ]

    def mark_reported(self) -> None:
        """Records that the sentences were logged. The next report covers later events only."""
        reporting.reported(self.db, self.run_after, at=self._reported_at)

    def _drifted(self, since: datetime | None) -> list[str]:
        """Returns one sentence for each account whose API was found changed since this time. Logs the
        sentences of earlier checks, because they were reported before.
        """
        new = []
        for check in reply_shapes.checks(self.db, list(self.accounts)):
            sentence = drift_text(check.account, check.drift, _connection(check.account, self.connections))
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


OVERDUE = (
    "Past the legal due date: {requests}. Ask the vendors that have not answered. "
    "Tell the data subjects why it takes longer (GDPR Art. 12(3), CCPA regulations § 7021(b))."
)
FAILED = (
    "{account} failed for {requests}. The receipt of each request gives the reason. "
    "Fix the cause, then trigger dsar_daily with retry_failed."
)
REJECTED = (
    "{account} refused the identifiers of {requests}. The receipt of each request gives the vendor's code. "
    "Add a corrected row with a new request_id to the source, or answer by hand."
)
UNCONFIRMED = (
    "{account} gave implausible outcomes for {requests}. They wait, and nothing is closed. Check that "
    "connection {connection} has the right key, partner and environment. Then trigger dsar_daily with the "
    "decision `{account} discard_outcomes <reason>` to send them again, or "
    "`{account} confirm_outcomes <reason>` if they are right."
)
UNRECONCILED = (
    "It is not known whether {account} accepted {requests}, the oldest since {since}. {reason}. Nothing is "
    "sent again until a run can find out. The log of {account}.submit has each attempt. Check connection "
    "{connection}, and ask the vendor whether the API has changed."
)
HELD = (
    "It is not known whether {account} accepted {requests}. Ask the vendor. Then trigger dsar_daily with a "
    "decision for each request: `{first} {account} send_again`, or `{first} {account} taken <job id>`."
    "{which}"
)
WHICH = " {first} has several uncertain submissions, so add one of {labels} to the decision."
VOLUME_WAITS = (
    "{one.account}: {one.held:,} {one.action} submissions are on hold, because {one.count:,} in a day are "
    "unusual (usual: {one.usual:,}, allowed: {one.max_count:,}). The first is due on {due}. Check the "
    "source. Then approve or deny them under Required Actions of dsar_daily. The task approve_volume of each "
    "run asks."
)
VOLUME_DENIED = (
    "{one.account}: {one.held:,} {one.action} submissions are on hold, because {one.decided_by} denied them "
    "({one.reason}). The first is due on {due}. To send them after all, trigger dsar_daily with the decision "
    "`{one.account} release_volume <reason>`."
)


def todo(attention: Attention, connections: Mapping[str, str]) -> list[str]:
    """Returns one sentence for each action that an operator must take."""
    overdue = [OVERDUE.format(requests=_some(attention.overdue))] if attention.overdue else []
    of_accounts = (
        (UNCONFIRMED, attention.unconfirmed),
        (FAILED, attention.failed),
        (REJECTED, attention.rejected),
        (HELD, attention.held),
    )
    unreconciled = [
        UNRECONCILED.format(
            account=account,
            requests=_some([one.request_id for one in found]),
            since=f"{found[0].since.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
            reason=_sentence(found[0].reason or "its reply was lost"),
            connection=_connection(account, connections),
        )
        for account, found in attention.unreconciled.items()
    ]
    sentences = [
        sentence.format(
            account=account,
            requests=_some(ids),
            first=ids[0],
            connection=_connection(account, connections),
            which=_which(ids[0], attention.held_labels.get(account, ())),
        )
        for sentence, found in of_accounts
        for account, ids in found.items()
    ]
    volumes = [
        (VOLUME_DENIED if one.decision else VOLUME_WAITS).format(
            one=one, due=f"{one.due_soonest.astimezone(UTC):%Y-%m-%d}"
        )
        for one in attention.volumes
    ]
    return overdue + volumes + unreconciled + sentences


def _which(request_id: str, labels: Sequence[str]) -> str:
    return WHICH.format(first=request_id, labels=", ".join(labels)) if len(labels) > 1 else ""


def _connection(account: str, connections: Mapping[str, str]) -> str:
    return connections.get(account, f"of {account}")


def stranded(days: Sequence[AccountDay], accounts: Collection[str]) -> list[str]:
    """Returns one sentence for each account that was removed or renamed while it had open submissions."""
    return [
        f"{day.account} has open submissions ({_counts(day.open)}), but include/accounts.py does not list "
        "this account. No task works on them, so their requests stay open. Add the account again until they "
        "have ended. To send it nothing new, set identities=()."
        for day in days
        if day.open and day.account not in accounts
    ]


def _some(request_ids: Sequence[str]) -> str:
    shown = ", ".join(request_ids[:IDS_PER_SENTENCE])
    more = f" and {len(request_ids) - IDS_PER_SENTENCE} more" if len(request_ids) > IDS_PER_SENTENCE else ""
    return f"{len(request_ids)} request{'s' if len(request_ids) > 1 else ''} ({shown}{more})"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items())) or "-"


def _iso(name: str, moment: datetime) -> str:
    return (moment if name in DATES else moment.astimezone(UTC)).isoformat(timespec="seconds")


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _iso(name, value) if isinstance(value, datetime) else value
        for name, value in in_zone(row).items()
    }
