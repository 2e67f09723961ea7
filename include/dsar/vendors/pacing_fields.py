"""The fields of a connection. The fields that every vendor has limit how fast and how long the vendor is
called.
"""

from __future__ import annotations

from datetime import timedelta

from include.dsar.vendors.fields import ConnectionField, FieldKind
from include.dsar.vendors.vendor import Vendor

MAX_SECONDS = 30 * 86_400
HOLD = "hold"
POLLED = "In seconds. A job is polled again after a quarter of its age, but within these two limits."
NUMBER, INTEGER = FieldKind.NUMBER, FieldKind.INTEGER


def connection_fields(vendor: Vendor) -> tuple[ConnectionField, ...]:
    """Returns all fields of the connection's Extra: the vendor's own fields, then the pacing fields with the
    vendor's defaults.
    """
    shortest, longest = vendor.poll_min.total_seconds(), vendor.poll_max.total_seconds()
    days, policy = vendor.give_up_after / timedelta(days=1), vendor.on_uncertain.value
    rate = "The rate is halved after a 429 or 503, and then recovers."
    quota = "Other submissions stay planned."
    table = (
        ("requests_per_second", "Calls per second", f"The maximum number of calls in one second. {rate}",
         NUMBER, vendor.requests_per_second, 1000),
        ("max_concurrency", "Calls at the same time", "The maximum number of calls at the same time.",
         INTEGER, vendor.max_concurrency, 256),
        ("users_per_call", "Users per call", "The maximum number of users in one call.",
         INTEGER, vendor.users_per_call, 10_000),
        ("daily_quota", "Submissions per day", f"The maximum number of submissions in one UTC day. {quota}",
         INTEGER, vendor.daily_quota, None),
        ("poll_min_seconds", "Shortest time between polls", POLLED, NUMBER, shortest, MAX_SECONDS),
        ("poll_max_seconds", "Longest time between polls", POLLED, NUMBER, longest, MAX_SECONDS),
        ("give_up_after_days", "Give up after", "Days until an open job counts as failed.",
         NUMBER, days, 3650),
    )  # fmt: skip
    return (
        *vendor.fields,
        *(
            ConnectionField(
                name, title, help, kind, default=default, empty="no limit",
                minimum=1 if kind is INTEGER else 0.01, maximum=maximum,
            )
            for name, title, help, kind, default, maximum in table
            if name != "users_per_call" or vendor.users_per_call > 1
        ),
        ConnectionField(
            "on_uncertain", "If a reply was lost", f"{HOLD}: an operator decides.", FieldKind.CHOICE,
            default=policy, choices=(policy, HOLD),
        ),
    )  # fmt: skip
