"""The connection types of this project, made from the vendors' declarations.

Airflow loads this module in every process that lists its providers, so all imports must be fast.
"""

from __future__ import annotations

from typing import Any

from include.dsar.vendors import VENDORS
from include.dsar.vendors.fields import ConnectionField, FieldKind
from include.dsar.vendors.pacing_fields import connection_fields
from include.dsar.vendors.vendor import Vendor

DISTRIBUTION = "airflow-dsar"

JSON_TYPES = {FieldKind.NUMBER: "number", FieldKind.INTEGER: "integer", FieldKind.OBJECT: "object"}


def get_provider_info() -> dict[str, Any]:
    """Returns the provider's description. The entry point `apache_airflow_provider` calls this."""
    return {
        "package-name": DISTRIBUTION,
        "name": "Privacy requests",
        "description": "Sends privacy requests (DSARs) to vendors, and polls them until they end.",
        "connection-types": [_connection_type(vendor) for vendor in VENDORS.values()],
    }


def hook_name(vendor: Vendor) -> str:
    """Returns the name of the vendor's hook class in `hooks.py`."""
    return f"{type(vendor).__name__}Hook"


def _connection_type(vendor: Vendor) -> dict[str, Any]:
    host = f"{vendor.base_url} (empty: this)" if vendor.base_url else "https://... (required)"
    return {
        "connection-type": vendor.name,
        "hook-class-name": f"dsar_airflow.hooks.{hook_name(vendor)}",
        "hook-name": vendor.title,
        "ui-field-behaviour": {
            "hidden-fields": ["login"],
            "relabeling": {"password": f"Password: {vendor.credential}"},
            "placeholders": {"host": host, "port": "443", "schema": "https"},
        },
        "conn-fields": {field.name: _form_field(field) for field in connection_fields(vendor)},
    }


def _form_field(field: ConnectionField) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": [JSON_TYPES.get(field.kind, "string"), "null"]}
    if field.kind is FieldKind.TEXT:
        schema["format"] = "multiline"
    if field.secret:
        schema["format"] = "password"
    if field.choices:
        schema["enum"] = list(field.choices)
    if field.kind in (FieldKind.NUMBER, FieldKind.INTEGER):
        schema["minimum"] = field.minimum
        if field.maximum is not None:
            schema["maximum"] = field.maximum
    return {"label": field.title, "description": field.description, "schema": schema}
