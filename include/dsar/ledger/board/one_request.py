"""One request: its submissions and its event log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from include.dsar.ledger.board.request_list import ListedRequest, listed
from include.dsar.ledger.database import Database
from include.dsar.ledger.uncertain import MAX_UNCERTAIN_ATTEMPTS, label
from include.dsar.model import State

MAX_EVENTS = 500


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
    uncertain_count: int  # how often it became uncertain
    is_unconfirmed: bool  # its outcome waits for an operator
    is_held: bool  # on hold, because its volume is unusual
    number: int  # among those of its kind at this account
    of_kind: int  # how many there are

    @property
    def label(self) -> str:
        return label(self.identity, self.number, self.of_kind)

    @property
    def is_stuck(self) -> bool:
        """Returns whether the submission is uncertain and no run tries to reconcile it any more."""
        return self.state == State.UNCERTAIN and self.uncertain_count >= MAX_UNCERTAIN_ATTEMPTS


@dataclass(frozen=True)
class LoggedEvent:
    """A row of the event log. `submission` is None if the event is about the request itself."""

    at: datetime
    submission: int | None
    enters: str
    reason: str | None
    attempt: int | None
    job_id: str | None


@dataclass(frozen=True)
class OneRequest:
    request: ListedRequest
    status_reason: str | None
    planned_at: datetime
    export_uri: str | None
    source_updated: bool
    needs_answer: bool  # no account can serve it: an operator must answer
    is_unresolved: bool  # closed, but it failed or left an account out
    not_asked: list[str]  # accounts
    submissions: list[Submission]
    events: list[LoggedEvent]  # the latest MAX_EVENTS, latest first
    total_events: int

    @property
    def receipt_uri(self) -> str | None:
        """Returns the address of the receipt. It is in the same folder as the package. An erasure has only
        a receipt.
        """
        return None if self.export_uri is None else self.export_uri.rsplit("/", 1)[0] + "/receipt.json"

    @property
    def package_uri(self) -> str | None:
        return None if self.export_uri == self.receipt_uri else self.export_uri


def one_request(db: Database, request_id: str) -> OneRequest | None:
    """Returns a request with its submissions and events, without identifiers. None if the ledger does not
    have this request.
    """
    found = db.execute(_REQUEST, [request_id]).fetchone()
    if found is None:
        return None
    parameters = {"request": found.pop("id"), "limit": MAX_EVENTS}
    (request,) = listed(db, [parameters["request"]])
    return OneRequest(
        request,
        **found,
        submissions=[Submission(**row) for row in db.execute(_SUBMISSIONS, parameters).fetchall()],
        events=[LoggedEvent(**row) for row in db.execute(_EVENTS, parameters).fetchall()],
    )


_REQUEST = """
SELECT id, status_reason, planned_at, export_uri, source_updated, needs_answer, is_unresolved, not_asked,
       (SELECT count(*) FROM dsar.event WHERE request = r.id) AS total_events
  FROM dsar.request r WHERE request_id = %s
"""

_SUBMISSIONS = """
SELECT id, account, vendor, identity, state, reason, not_before, attempts, attempted_at, job_id,
       submitted_at, finished_at, uncertain_count, is_unconfirmed, is_held,
       row_number() OVER (PARTITION BY account, identity ORDER BY id) AS number,
       count(*) OVER (PARTITION BY account, identity) AS of_kind
  FROM dsar.submission WHERE request = %(request)s ORDER BY account, id
"""

_EVENTS = """
SELECT at, submission, enters, reason, attempt, job_id
  FROM dsar.event WHERE request = %(request)s ORDER BY id DESC LIMIT %(limit)s
"""
