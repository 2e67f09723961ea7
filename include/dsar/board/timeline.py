"""The timeline of a request, from its columns, its submissions and its event log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from include.dsar.ledger.board.one_request import OneRequest, Submission
from include.dsar.model import State


@dataclass(frozen=True)
class Event:
    """Something that happened to a request or to one of its submissions."""

    at: datetime
    what: str  # a state, or a text
    account: str | None = None
    identity: str | None = None
    reason: str | None = None
    attempt: int | None = None
    job_id: str | None = None
    by_task: bool = True  # of Airflow


def timeline(one: OneRequest) -> list[Event]:
    """Returns all events, oldest first.

    The times of usual steps come from the rows of the submissions. Unusual steps come from the event log. A
    usual step that is also in the event log is listed only once.
    """
    request = one.request
    by_id: dict[int | None, Submission] = {each.id: each for each in one.submissions}
    logged = {(each.submission, each.at, each.enters) for each in one.events}
    events = [
        Event(request.received_at, "received", by_task=False),
        Event(one.planned_at, "taken in, submissions planned"),
    ]
    for each in one.submissions:
        step = Event(one.planned_at, "", each.account, each.identity)
        if each.attempted_at and each.attempts:
            events.append(replace(step, at=each.attempted_at, what="sent", attempt=each.attempts))
        step = replace(step, job_id=each.job_id)
        if each.submitted_at and (each.id, each.submitted_at, State.SUBMITTED) not in logged:
            events.append(replace(step, at=each.submitted_at, what="accepted by the vendor"))
        is_new = (each.id, each.finished_at, each.state) not in logged
        if each.finished_at and is_new and each.state != State.NOT_APPLICABLE:
            events.append(replace(step, at=each.finished_at, what=each.state, reason=each.reason))
    for row in one.events:
        of = by_id.get(row.submission)
        account, identity = (of.account, of.identity) if of else (None, None)
        events.append(Event(row.at, row.enters, account, identity, row.reason, row.attempt, row.job_id))
    if request.closed_at:
        events.append(Event(request.closed_at, f"closed: {request.status}"))
    return sorted(events, key=lambda event: event.at)
