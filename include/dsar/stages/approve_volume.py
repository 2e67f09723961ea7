"""Approve volume: asks an operator about an unusual number of submissions, and records the answer.

The question shows counts, account names, regulations and days. It never shows an identifier or a request id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from include.dsar.ledger import approvals
from include.dsar.ledger.approvals import Held, HeldDay
from include.dsar.ledger.database import Database

MAX_DAYS = 31  # rows of a table; earlier days are counted together
EARLIER = "earlier"

BODY = """\
Many more submissions than usual are ready to be sent. Those in this table are on hold until you answer. Check
the source first. A wrong query or join can mark many users for erasure, and an erasure cannot be undone.

| account | action | on hold | new that day | usual in a day | allowed in a day | first due |
|---|---|--:|--:|--:|--:|---|
{comparison}

The usual number is that of the third busiest of the last 30 days. This is what is on hold, by regulation and
by the day (UTC) on which the request was received:
{received}

- **Approve**: a new run starts when this run ends. It sends them.
- **Deny**: they stay on hold, and nobody is asked again. The documentation of this DAG says how to send them
  later.
- **Ask again**: they stay on hold, and the next run asks again.

Submissions that are due within three days are sent without an answer, at most as many in a day as the table
allows.
"""


@dataclass(frozen=True)
class Question:
    """The texts for Airflow's Required Actions. `body` is Markdown."""

    subject: str
    body: str
    summary: str  # for the log


def question(db: Database, *, now: datetime) -> Question | None:
    """Returns the question to an operator. None if no volume waits for an answer. The next run asks about
    later unusual volumes.
    """
    waiting = undecided(db)
    if not waiting:
        return None
    ids = [one.approval for one in waiting]
    approvals.mark_asked(db, ids, now=now)
    total = sum(one.held for one in waiting)
    return Question(
        f"Privacy requests: {total:,} submissions are on hold because there are unusually many",
        body(waiting, approvals.held_days(db, ids)),
        summary(waiting),
    )


def undecided(db: Database) -> list[Held]:
    """Returns the volumes that no operator has decided about."""
    return [one for one in approvals.on_hold(db) if one.decision is None]


def summary(waiting: Sequence[Held]) -> str:
    """Returns one sentence with the counts and the due date of the most urgent submission."""
    counts = ", ".join(f"{one.account} {one.held:,} {one.action}" for one in waiting)
    return f"on hold: {counts}. The first is due on {_day(min(one.due_soonest for one in waiting))}"


def body(waiting: Sequence[Held], days: Sequence[HeldDay]) -> str:
    """Returns the text of the question as Markdown: a comparison with the last 30 days, counts per
    regulation and day, and the effect of each answer.
    """
    comparison = [
        f"| {one.account} | {one.action} | {one.held:,} | {one.count:,} | {one.usual:,} | {one.max_count:,} "
        f"| {_day(one.due_soonest)} |"
        for one in waiting
    ]
    received = [line for action in sorted({one.action for one in days}) for line in _table(action, days)]
    return BODY.format(comparison="\n".join(comparison), received="\n".join(received))


def _table(action: str, days: Sequence[HeldDay]) -> list[str]:
    of_action = [one for one in days if one.action == action]
    accounts = sorted({one.account for one in of_action})
    received = sorted({one.received for one in of_action}, reverse=True)[:MAX_DAYS]
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for one in of_action:
        day = one.received if one.received in received else EARLIER
        cells = counts.setdefault((one.regulation, day), {})
        cells[one.account] = cells.get(one.account, 0) + one.held
    return [
        "",
        f"| {action}: regulation | received | {' | '.join(accounts)} |",
        f"|---|---|{'--:|' * len(accounts)}",
        *(
            f"| {regulation} | {day} | {' | '.join(f'{cells.get(account, 0):,}' for account in accounts)} |"
            for (regulation, day), cells in counts.items()
        ),
    ]


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}"
