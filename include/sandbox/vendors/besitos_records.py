"""The records that Besitos exports, as JSON text.

They contain values that only a verbatim copy keeps: non-ASCII names, the balance ``"0.00"``, the number
``1.10``.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from include.sandbox.jobs import Job

FIRST_NAMES = ("Zoë", "Łukasz", "Björk", "José", "Ольга", "美咲")
_NUMBER = "\x00number\x00"


def export_json(body: dict[str, object], job: Job) -> str:
    """Returns ``body`` with the records of ``job`` as its data.

    An unknown user gives null. The order of the records differs from the submitted order.
    """
    subjects = sorted(set(job.subjects), key=lambda subject: _digest(subject.value))
    if len(subjects) > 1 and [subject.value for subject in subjects] == job.values:
        subjects.reverse()
    records = [
        _record(subject.value, job) if subject.outcome == "completed" else None for subject in subjects
    ]
    text = json.dumps({**body, "data": {"data": records}}, ensure_ascii=False)
    # json.dumps would write this number as 1.1.
    return text.replace(json.dumps(_NUMBER), "1.10")


def _record(user_id: str, job: Job) -> dict[str, object]:
    number = int(_digest(user_id)[:8], 16)
    joined = datetime.fromtimestamp(job.created_at - 86_400 * (1 + number % 900), UTC)
    offer = {"offer_id": "UnjTSQWE5z6x", "offer_name": "3 Tiles: Tile Matching Games – Android"}
    seen = joined.strftime("%Y-%m-%d %H:%M:%S")
    return {
        "status": True,
        "sub_id": None,
        "balance": "0.00",
        "last_name": "O'Brien-Müller",
        "country_id": 1,
        "first_name": FIRST_NAMES[number % len(FIRST_NAMES)],
        "partner_id": job.account,
        "email_address": f"user{number % 10_000}@example.com",
        "payout_records": [{"amount": _NUMBER, "status": 5, "processed_at": _iso(joined)}],
        "enrolled_offers": [{**offer, "enrolled_at": seen}] if number % 2 else [],
        "partner_user_id": user_id,
        "redeem_requests": [{"amount": "10.00", "requested_at": _iso(joined)}] if number % 3 else [],
        "activity_summary": {"last_activity_timestamp": seen},
        "offer_participation": [{**offer, "participated_at": seen}],
        "device_platforms_used": ["android"],
        "last_updated_timestamp": _iso(joined),
        "account_creation_timestamp": _iso(joined),
        "support_interactions_count": number % 4,
    }


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.000000Z")
