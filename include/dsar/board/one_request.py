"""One request: what its accounts did, and what happened when."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from include.dsar.board.request_list import ListedRequest, fill_cells
from include.dsar.ledger.database import Database
from include.dsar.ledger.uncertain import MAX_UNCERTAIN_ATTEMPTS
from include.dsar.model import State
from include.dsar.vendors import vendor

UNCERTAIN = State.UNCERTAIN.value
MOST_EVENTS = 500


@dataclass(frozen=True)
class Submission:
    id: int
    account: str
    vendor: str
    identity: str  # kinds, never a value
    state: str
    reason: str | None
    not_before: datetime | None
    attempts: int
    attempted_at: datetime | None
    job_id: str | None
    submitted_at: datetime | None
    finished_at: datetime | None
    file_bytes: int | None
    doubts: int  # about it, so far

    @property
    def is_stuck(self) -> bool:
        """In doubt, and after so many doubts that no run settles it."""
        return self.state == UNCERTAIN and self.doubts >= MAX_UNCERTAIN_ATTEMPTS


@dataclass(frozen=True)
class UndecidedKind:
    """The uncertain submissions of one kind of identity at one account."""

    identity: str
    submissions: int
    one_job: bool  # whether a person can say that the vendor took them as one job


@dataclass(frozen=True)
class Event:
    """Something that happened to the request, or to one of its submissions."""

    at: datetime
    what: str
    account: str | None = None
    identity: str | None = None
    reason: str | None = None
    attempt: int | None = None
    job_id: str | None = None
    by_task: bool = True  # of Airflow


@dataclass(frozen=True)
class OneRequest:
    request: ListedRequest
    status_reason: str | None
    planned_at: datetime
    export_uri: str | None
    source_told: bool
    submissions: list[Submission]
    events: list[Event]
    events_left_out: int  # the oldest of them

    @property
    def uncertain_at(self) -> list[str]:
        """Accounts of which nobody knows whether they have taken what was sent."""
        return sorted({s.account for s in self.submissions if s.state == UNCERTAIN})

    def is_stuck(self, account: str) -> bool:
        """Whether no run settles what is uncertain at this account."""
        return any(s.account == account and s.is_stuck for s in self.submissions)

    def doubts(self, account: str) -> list[UndecidedKind]:
        """What is uncertain at this account, by kind."""
        uncertain = [s for s in self.submissions if (s.account, s.state) == (account, UNCERTAIN)]
        counts = Counter(s.identity for s in uncertain)
        # Where a vendor takes one in a call, a line cannot say which of several of a kind a job is of.
        together = bool(uncertain) and vendor(uncertain[0].vendor).users_per_call > 1
        return [UndecidedKind(kind, n, one_job=n == 1 or together) for kind, n in sorted(counts.items())]

    @property
    def receipt_uri(self) -> str | None:
        """The receipt lies beside the package; for erasure it is all that there is."""
        if self.export_uri is None:
            return None
        return self.export_uri.rsplit("/", 1)[0] + "/receipt.json"

    @property
    def package_uri(self) -> str | None:
        return None if self.export_uri == self.receipt_uri else self.export_uri


def one_request(db: Database, request_id: str) -> OneRequest | None:
    """All that the ledger says of a request, but for who the person is; None where it knows none."""
    row = db.execute(_REQUEST, [request_id]).fetchone()
    if row is None:
        return None
    more = {name: row.pop(name) for name in ("status_reason", "planned_at", "export_uri", "source_told")}
    request = ListedRequest(**row)
    fill_cells(db, [request])
    submissions = [Submission(**each) for each in db.execute(_SUBMISSIONS, [request.id]).fetchall()]
    noted = db.execute(_EVENTS, {"request": request.id, "most": MOST_EVENTS}).fetchall()
    total = db.execute("SELECT count(*) AS n FROM dsar.event WHERE request = %s", [request.id]).fetchone()
    assert total is not None
    return OneRequest(
        request=request,
        **more,
        submissions=submissions,
        events=_timeline(request, more["planned_at"], submissions, noted),
        events_left_out=total["n"] - len(noted),
    )


def _timeline(
    request: ListedRequest, planned_at: datetime, submissions: list[Submission], noted: list[dict[str, Any]]
) -> list[Event]:
    """The ordinary way of each submission stands in its own row, what departs from it in the event log."""
    events = [
        Event(request.received_at, "received", by_task=False),
        Event(planned_at, "taken in, its submissions planned"),
    ]
    by_id = {each.id: each for each in submissions}
    told = {(row["submission"], row["at"], row["enters"]) for row in noted}
    for one in submissions:
        mine = Event(planned_at, "", one.account, one.identity, job_id=one.job_id)
        if one.attempted_at and one.attempts:
            events.append(replace(mine, at=one.attempted_at, what="sent", attempt=one.attempts, job_id=None))
        if one.submitted_at and (one.id, one.submitted_at, State.SUBMITTED) not in told:
            events.append(replace(mine, at=one.submitted_at, what="taken by the vendor"))
        if (
            one.finished_at
            and one.state != State.NOT_APPLICABLE
            and (one.id, one.finished_at, one.state) not in told
        ):
            events.append(replace(mine, at=one.finished_at, what=one.state, reason=one.reason))
    for row in noted:
        submission = by_id.get(row["submission"])
        events.append(
            Event(
                row["at"],
                row["enters"],
                submission.account if submission else None,
                submission.identity if submission else None,
                row["reason"],
                row["attempt"] or None,
                row["job_id"],
            )
        )
    if request.closed_at:
        events.append(Event(request.closed_at, f"closed: {request.status}"))
    return sorted(events, key=lambda event: event.at)


_REQUEST = """
SELECT id, request_id, action, regulation, received_at, due_at, status, closed_at,
       status_reason, planned_at, export_uri, source_told
  FROM dsar.request WHERE request_id = %s
"""

_SUBMISSIONS = """
SELECT id, account, vendor, identity, state, reason, not_before, attempts, attempted_at, job_id,
       submitted_at, finished_at, file_bytes,
       (SELECT count(*) FROM dsar.event e
         WHERE e.request = s.request AND e.submission = s.id AND e.enters = 'uncertain') AS doubts
  FROM dsar.submission s WHERE request = %s ORDER BY account, id
"""

_EVENTS = """
SELECT at, submission, enters, reason, attempt, job_id
  FROM dsar.event WHERE request = %(request)s ORDER BY id DESC LIMIT %(most)s
"""
