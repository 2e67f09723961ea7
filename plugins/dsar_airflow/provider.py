"""What this project adds to Airflow where it is installed as a distribution: the connection types of
the vendors, with their own fields and help texts.

Data alone: every Airflow process that lists its providers loads this. A test holds it to the vendors'
own facts.
"""

from __future__ import annotations

from typing import Any

DISTRIBUTION = "airflow-dsar"

Field = dict[str, Any]


def get_provider_info() -> dict[str, Any]:
    """The entry point `apache_airflow_provider`."""
    return {
        "package-name": DISTRIBUTION,
        "name": "Privacy requests",
        "description": "Passes privacy requests (DSARs) on to vendors, and awaits them.",
        "connection-types": [
            _type(
                "besitos",
                "Besitos",
                host="https://wall.besitos.ai",
                credential="Bearer token",
                fields={
                    "partner_id": _text("Partner id", "Needed. Besitos' number or name for your company."),
                    **_pacing(rate=10, poll_min=300, poll_max=3600, give_up=7),
                    "users_per_call": _number(
                        "integer", "Users per call", "Most users in one call. Empty: 100.", 1, 10_000
                    ),
                },
            ),
            _type(
                "batch",
                "Batch",
                host="https://api.batch.com",
                credential="REST API key of your company",
                fields={
                    "api_key": _text(
                        "API key of the app", "Needed. Each app (iOS, Android, web) is its own account.",
                        hidden=True,
                    ),
                    **_pacing(rate=10, poll_min=60, poll_max=3600, give_up=20),
                },
            ),
            _type(
                "id5",
                "ID5",
                host="https://api.id5-sync.com",
                credential="API token",
                fields={
                    "partner_id": _text("Partner id", "Needed. ID5's number for your company."),
                    "reply_to_email": _text(
                        "Reply to", "A mailbox of your company, to which ID5 may write about a deletion."
                    ),
                    **_pacing(rate=10, poll_min=300, poll_max=21_600, give_up=30),
                    "daily_quota": _number(
                        "integer", "Calls a day", "Most deletions in one UTC day. Empty: 3000.", 1
                    ),
                },
            ),
            _type(
                "attentive",
                "Attentive",
                host="https://api.attentivemobile.com",
                credential="Bearer token, scope privacy_requests:write",
                fields=_pacing(rate=100, poll_min=21_600, poll_max=86_400, give_up=37),
            ),
        ],
    }  # fmt: skip


def _type(name: str, title: str, *, host: str, credential: str, fields: dict[str, Field]) -> dict[str, Any]:
    return {
        "connection-type": name,
        "hook-class-name": f"dsar_airflow.hooks.{title.title()}Hook",
        "hook-name": title,
        "ui-field-behaviour": {
            "hidden-fields": ["login"],
            "relabeling": {"password": f"Password: {credential}"},
            "placeholders": {"host": f"{host} (empty: this)", "port": "443", "schema": "https"},
        },
        "conn-fields": fields,
    }


def _pacing(*, rate: int, poll_min: int, poll_max: int, give_up: int) -> dict[str, Field]:
    return {
        "requests_per_second": _number(
            "number", "Calls a second", f"Most calls in a second. Empty: {rate}.", 0.01, 1000
        ),
        "max_concurrency": _number(
            "integer", "Calls at a time", "Most calls that are under way at once. Empty: 16.", 1, 256
        ),
        "poll_min_seconds": _number(
            "number", "Shortest time between polls", f"Seconds. Empty: {poll_min}.", 0.1, 2_592_000
        ),
        "poll_max_seconds": _number(
            "number", "Longest time between polls", f"Seconds. Empty: {poll_max}.", 0.1, 2_592_000
        ),
        "give_up_after_days": _number(
            "number", "Give up after", f"Days until an unfinished job counts as failed. Empty: {give_up}.",
            0.01, 3650,
        ),
        "on_uncertain": {
            "label": "When a reply was lost",
            "description": "Empty: settled by itself, as is right for this vendor. hold: a person decides.",
            "schema": {"type": ["string", "null"], "enum": ["hold"]},
        },
    }  # fmt: skip


def _text(label: str, description: str, *, hidden: bool = False) -> Field:
    schema = {"type": ["string", "null"]} | ({"format": "password"} if hidden else {})
    return {"label": label, "description": description, "schema": schema}


def _number(kind: str, label: str, description: str, minimum: float, maximum: float | None = None) -> Field:
    bounds = {"minimum": minimum} | ({} if maximum is None else {"maximum": maximum})
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **bounds}}
