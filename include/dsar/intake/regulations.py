"""The regulations and their legal periods."""

from __future__ import annotations

from datetime import datetime, timedelta

from dateutil.relativedelta import relativedelta

from include.dsar.errors import InvalidRow
from include.dsar.model import Regulation

PERIODS: dict[Regulation, relativedelta | timedelta] = {
    # GDPR, Art. 12(3): within one month of receipt. Regulation (EEC, Euratom) 1182/71, Art. 3(2)(c): the
    # month ends on the same date of the next month, or on its last day if there is no such date.
    Regulation.GDPR: relativedelta(months=1),
    # California Code of Regulations, title 11, § 7021(b): 45 calendar days from receipt.
    Regulation.CCPA: timedelta(days=45),
}


def due_at(regulation: Regulation, received_at: datetime) -> datetime:
    """Returns the legal due date, in the time zone of `received_at`.

    The period is counted in that zone. Example: a request arrives on 28 February at 21:30 in New York. In
    UTC, this is 1 March. The request is due on 28 March if the period is counted in New York, and on 1 April
    if it is counted in UTC. So the source must give times in the zone of the law. Intake reads a time
    without a zone as UTC. PostgreSQL returns a timestamptz in the zone of the session.

    The due date is never later than the law allows. It has the same time of day as the receipt, although
    the law grants the whole day. It ignores the extension of Art. 3(4) for weekends and holidays, because
    holidays differ by country. Raises InvalidRow if the date is out of range.
    """
    try:
        return received_at + PERIODS[regulation]
    except (OverflowError, ValueError):
        raise InvalidRow("received_at is out of range") from None


def shortest_due_at(received_at: datetime) -> datetime:
    """Returns the earliest due date of all regulations, for a request with an unknown regulation."""
    return min(due_at(law, received_at) for law in Regulation)


def regulation(text: object) -> Regulation:
    """Reads a regulation from the source. Ignores case. Raises InvalidRow if the regulation is unknown."""
    try:
        return Regulation(str(text).strip().upper())
    except ValueError:
        raise InvalidRow(f"unknown regulation: expected {' or '.join(Regulation)}") from None
