"""How long a reply asks us to wait."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from include.dsar.http.messages import HttpReply

MAX_RETRY_AFTER = 24 * 3600.0  # seconds; a vendor that names more is asked again after a day


def retry_after(reply: HttpReply) -> float | None:
    """The seconds that Retry-After asks for, in either of its forms (RFC 9110, section 10.2.3)."""
    text = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), MAX_RETRY_AFTER)
    at = _http_date(text)
    if at is None:
        return None
    now = _http_date(reply.headers.get("date", "")) or datetime.now(UTC)  # the vendor's clock before ours
    return min(max((at - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
