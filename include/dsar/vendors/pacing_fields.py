"""The fields that every connection has: how fast the vendor is called, and for how long."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from include.dsar.vendors.fields import ConnectionField, FieldKind

if TYPE_CHECKING:
    from include.dsar.vendors.vendor import Vendor

MAX_SECONDS = 30 * 86_400
HOLD = "hold"
POLLED = "Seconds. A job is polled again after a quarter of its age, within these limits."

_number = partial(ConnectionField, kind=FieldKind.NUMBER, minimum=0.01)
_integer = partial(ConnectionField, kind=FieldKind.INTEGER, minimum=1)


def pacing_fields(vendor: Vendor) -> tuple[ConnectionField, ...]:
    """The fields, with the vendor's own values as defaults."""
    users_per_call = _integer(
        "users_per_call",
        "Users per call",
        "Most users in one call.",
        default=vendor.users_per_call,
        maximum=10_000,
    )
    return (
        _number(
            "requests_per_second", "Calls per second",
            "Most calls in one second. Halved after a 429 or 503, then recovering.",
            default=vendor.requests_per_second, maximum=1000,
        ),
        _integer(
            "max_concurrency", "Calls at the same time", "Most calls that run at the same time.",
            default=vendor.max_concurrency, maximum=256,
        ),
        *([users_per_call] if vendor.users_per_call > 1 else []),
        _integer(
            "daily_quota", "Submissions per day", "Most submissions in one UTC day. The rest stays planned.",
            default=vendor.daily_quota, empty="no limit",
        ),
        _number(
            "poll_min_seconds", "Shortest time between polls", POLLED,
            default=vendor.poll_min.total_seconds(), maximum=MAX_SECONDS,
        ),
        _number(
            "poll_max_seconds", "Longest time between polls", POLLED,
            default=vendor.poll_max.total_seconds(), maximum=MAX_SECONDS,
        ),
        _number(
            "give_up_after_days", "Give up after", "Days until an open job counts as failed.",
            default=vendor.give_up_after / timedelta(days=1), maximum=3650,
        ),
        ConnectionField(
            "on_uncertain", "If a reply was lost", f"{HOLD}: an operator decides.", FieldKind.CHOICE,
            default=vendor.on_uncertain.value, choices=(vendor.on_uncertain.value, HOLD),
        ),
    )  # fmt: skip
