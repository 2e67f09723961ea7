"""What the board calls things, and how it writes times, spans and numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from include.dsar.model import State, Status

LABELS: dict[str, str] = {
    State.PLANNED: "planned",
    State.SUBMITTING: "being sent",
    State.UNCERTAIN: "uncertain",
    State.SUBMITTED: "at the vendor",
    State.READY: "ready to collect",
    State.COMPLETED: "completed",
    State.NO_DATA: "no data",
    State.NOT_APPLICABLE: "not applicable",
    State.REJECTED: "rejected",
    State.FAILED: "failed",
    Status.IN_PROGRESS: "in progress",
    Status.PARTIAL: "partial",
}

MEANINGS: dict[str, str] = {
    State.PLANNED: "waits to be sent",
    State.SUBMITTING: "a worker is sending it now",
    State.UNCERTAIN: "sent, but nobody knows yet whether the vendor took it",
    State.SUBMITTED: "the vendor works on it",
    State.READY: "the vendor has a result, which is not collected yet",
    State.COMPLETED: "done",
    State.NO_DATA: "the vendor knows nobody of that name",
    State.NOT_APPLICABLE: "the vendor takes no such request, or none of the identifiers",
    State.REJECTED: "the vendor refused our input",
    State.FAILED: "it was not done",
    Status.IN_PROGRESS: "not all accounts have ended",
    Status.PARTIAL: "some of it failed",
}


def label(state: str) -> str:
    """A state, an outcome or a status in words."""
    return LABELS.get(state, state)


def number(n: int) -> str:
    return f"{n:,}"


def moment(at: datetime | None) -> str:
    """A time, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if at else "–"


def day(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d}" if at else "–"


def span(length: timedelta | None) -> str:
    """A length of time in its two greatest units."""
    if length is None:
        return "–"
    seconds = abs(int(length.total_seconds()))
    parts = [
        (seconds // 86_400, "d"),
        (seconds // 3600 % 24, "h"),
        (seconds // 60 % 60, "min"),
        (seconds % 60, "s"),
    ]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{n} {unit}" for i, (n, unit) in enumerate(parts[:2]) if n or not i)


def left(due_at: datetime, now: datetime) -> str:
    """What the law still gives."""
    between = due_at - now
    if between <= timedelta(0):
        return f"overdue by {span(between)}"
    return f"{between.days} days" if between >= timedelta(days=3) else span(between)


def urgency(due_at: datetime, now: datetime) -> str:
    """The step of days left that a due date lies in, as a word for the style sheet."""
    between = due_at - now
    if between <= timedelta(0):
        return "overdue"
    if between <= timedelta(days=3):
        return "urgent"
    return "soon" if between <= timedelta(days=10) else "calm"
