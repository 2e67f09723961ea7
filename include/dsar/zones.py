"""Time zones as text, so that the ledger can store the zone of each request."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo


def zone_name(moment: datetime) -> str:
    """Returns the zone of an aware time: a name such as `America/New_York`, or an offset such as `-05:00`."""
    key = getattr(moment.tzinfo, "key", None)
    return key if isinstance(key, str) else moment.isoformat()[-6:]


DATES = ("received_at", "due_at", "closed_at")  # the dates of a request, shown in its zone


def in_zone(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row of a request with its dates in its zone, and without the column `zone`."""
    found = dict(row)
    local = zone(found.pop("zone"))
    for name in DATES:
        if found.get(name):
            found[name] = found[name].astimezone(local)
    return found


@lru_cache
def zone(name: str | None) -> tzinfo:
    """Returns the zone with this name or offset. UTC for None, or if this machine does not know the name."""
    if name is None:
        return UTC
    try:
        if name[:1] in "+-":
            offset = datetime.fromisoformat(f"2000-01-01T00:00:00{name}").tzinfo
            assert offset is not None
            return offset
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return UTC
