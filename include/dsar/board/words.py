"""Labels of states, and formats of times, durations and numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from include.dsar.model import State, Status

LABELS: dict[str, str] = {
    State.SUBMITTING: "being sent",
    State.SUBMITTED: "at the vendor",
    State.READY: "ready to collect",
    State.NO_DATA: "no data",
    State.NOT_APPLICABLE: "not applicable",
    Status.IN_PROGRESS: "in progress",
}

MEANINGS: dict[str, str] = {
    State.PLANNED: "It waits to be sent.",
    State.SUBMITTING: "A task is sending it now.",
    State.UNCERTAIN: "It was sent, but we do not know whether the vendor accepted it.",
    State.SUBMITTED: "The vendor is working on it.",
    State.READY: "The vendor has a result, and we have not collected it yet.",
    State.COMPLETED: "It is done.",
    State.NO_DATA: "The vendor has no data about this data subject.",
    State.NOT_APPLICABLE: "The vendor does not accept this type of request or these identifiers.",
    State.REJECTED: "The vendor rejected our input.",
    State.FAILED: "It ended with an error.",
    Status.IN_PROGRESS: "At least one account has not finished.",
    Status.PARTIAL: "One part succeeded and another part failed.",
}


def label(state: str) -> str:
    """Returns the label of a state, an outcome or a status."""
    return LABELS.get(state, state)


def number(n: int) -> str:
    return f"{n:,}"


def moment(at: datetime | None) -> str:
    """Formats a time in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if at else "–"


def local_moment(at: datetime | None) -> str:
    """Formats a time in its own zone. Adds the offset if the zone is not UTC."""
    if not at:
        return "–"
    offset = f" {at.isoformat()[-6:]}" if at.utcoffset() else ""
    return f"{at:%Y-%m-%d %H:%M:%S}{offset}"


def day(at: datetime | None) -> str:
    """Formats a date in the zone of `at`."""
    return f"{at:%Y-%m-%d}" if at else "–"


def span(length: timedelta | None) -> str:
    """Formats a duration in its two largest units."""
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
    """Formats the time until the due date."""
    between = due_at - now
    if between <= timedelta(0):
        return f"overdue by {span(between)}"
    return f"{between.days} days" if between >= timedelta(days=3) else span(between)


def urgency(due_at: datetime, now: datetime) -> str:
    """Returns the style of a due date. The overview uses the same levels of urgency."""
    between = due_at - now
    if between <= timedelta(0):
        return "overdue"
    if between <= timedelta(days=3):
        return "urgent"
    return "soon" if between <= timedelta(days=10) else "calm"
