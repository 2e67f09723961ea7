"""Reads the Retry-After header."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from include.dsar.http.messages import HttpReply

MAX_RETRY_AFTER = 24 * 3600.0  # seconds; we do not wait longer, whatever the vendor asks for


def retry_after(reply: HttpReply) -> float | None:
    """Returns the wait in seconds. The header has seconds or a date (RFC 9110, section 10.2.3). None
    without a header.
    """
    text = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), MAX_RETRY_AFTER)
    at = _http_date(text)
    if at is None:
        return None
    now = _http_date(reply.headers.get("date", "")) or datetime.now(UTC)  # the vendor's clock, if known
    return min(max((at - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
