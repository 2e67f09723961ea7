"""The laws that a request is made under, and by when they want it answered."""

from __future__ import annotations

from datetime import datetime, timedelta

from dateutil.relativedelta import relativedelta

from include.dsar.errors import InvalidRow
from include.dsar.model import Regulation

PERIODS: dict[Regulation, relativedelta | timedelta] = {
    # GDPR, Art. 12(3): within one month of receipt. Regulation (EEC, Euratom) 1182/71, Art. 3(2)(c): it
    # ends on the same date of the next month, or on that month's last day where there is no such date.
    Regulation.GDPR: relativedelta(months=1),
    # California Code of Regulations, title 11, § 7021(b): 45 calendar days from receipt.
    Regulation.CCPA: timedelta(days=45),
}


def due_at(regulation: Regulation, received_at: datetime) -> datetime:
    """By when the request must be answered, in the zone of `received_at`.

    The month or the days are counted in that zone: 28 February, 21:30 in New York is 1 March in UTC, and
    so due on 28 March in the one and on 1 April in the other. The source must give the time in the zone
    of the law's day; intake takes one without a zone as UTC, and PostgreSQL gives a timestamptz in the
    zone of the session.

    In that zone it is on the safe side of the law, never beyond it: at the hour of receipt, where the law
    grants the rest of the day, and without the extension of Art. 3(4) past weekends and holidays, which
    differ from country to country. Raises InvalidRow where no calendar holds the date.
    """
    try:
        return received_at + PERIODS[regulation]
    except (OverflowError, ValueError):
        raise InvalidRow("received_at is out of range") from None


def regulation(text: object) -> Regulation:
    """The regulation that a source's column names, in any case. Raises InvalidRow."""
    try:
        return Regulation(str(text).strip().upper())
    except ValueError:
        raise InvalidRow(f"unknown regulation: expected {' or '.join(Regulation)}") from None
