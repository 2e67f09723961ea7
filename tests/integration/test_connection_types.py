"""Each vendor has a connection type with a form in Airflow and a Test button."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.models.connection import Connection
from airflow.sdk import BaseHook
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

from dsar_airflow.connections.accounts import account_settings
from dsar_airflow.provider import get_provider_info
from include.dsar.accounts import Account
from include.dsar.errors import ConfigurationError
from include.dsar.vendors import VENDORS
from include.dsar.vendors.pacing_fields import connection_fields
from include.dsar.vendors.vendor import Vendor
from include.sandbox import Sandbox
from include.sandbox.vendor import WRONG_ACCOUNT
from tests.conftest import EXTRA

TYPES = {each["connection-type"]: each for each in get_provider_info()["connection-types"]}
# Airflow's own Test button uses a method that Airflow has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated")

DOCS = Path(__file__).resolve().parents[2] / "docs/connections.md"
EXAMPLES = re.findall(r"^AIRFLOW_CONN_(\w+)_DEFAULT='(\{.*?\})'$", DOCS.read_text(), re.M | re.S)

every_vendor = pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)


def pressed(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, vendor: str, extra: dict[str, Any] | None = None,
    **fields: Any,
) -> tuple[bool, str]:  # fmt: skip
    """Presses the Test button. Returns whether the connection works, and the message."""
    given = {"conn_type": vendor, "host": sandbox.url, "password": "sandbox-secret"} | fields
    given["extra"] = json.dumps({**EXTRA[vendor]} if extra is None else extra)
    connection = Connection(conn_id="transient", **given)
    monkeypatch.setenv("AIRFLOW_CONN_TRANSIENT", connection.get_uri())  # as the API server does
    status, message = connection.test_connection()
    return status, message


@every_vendor
def test_a_connection_that_works(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, vendor: Vendor) -> None:
    """The Test button makes one call that changes nothing, and one more if the API has a discovery."""
    works, sentence = pressed(monkeypatch, sandbox, vendor.name)
    assert works and sentence.startswith(f"{vendor.title} accepts our credentials.")
    assert sandbox.jobs() == []
    calls = 1 if type(vendor).discovery is Vendor.discovery else 2
    assert sum(sandbox.calls()[vendor.name].values()) == calls


@every_vendor
def test_a_wrong_secret(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, vendor: Vendor) -> None:
    """The message names the field Password and does not contain the secret."""
    works, sentence = pressed(monkeypatch, sandbox, vendor.name, password="wrong-secret")
    assert not works
    assert sentence.startswith(f"{vendor.title} refused our credentials (HTTP 40")
    assert sentence.endswith("enter a valid secret in Password.")
    assert "wrong-secret" not in sentence


def test_a_discovery_without_a_usable_answer(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection works even if its discovery fails, because some processors do not have this route."""
    sandbox.inject("status", vendor="opendsr", route="me", status=404, body="<html>")
    works, sentence = pressed(monkeypatch, sandbox, "opendsr")
    assert works and "Our copy of its certificate is valid until " in sentence
    assert "OpenDSR does not say what it supports (HTTP 404: no such API route" in sentence


@every_vendor
def test_no_server_at_the_host(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, vendor: Vendor) -> None:
    """If no server answers at the host, the message names the fields Host, Port and Schema."""
    works, sentence = pressed(monkeypatch, sandbox, vendor.name, host="http://127.0.0.1:1")
    assert not works
    assert sentence.startswith("No connection to the vendor")
    assert sentence.endswith("check Host, Port and Schema.")


@every_vendor
@pytest.mark.parametrize("status", [200, 404, 405])
def test_another_server_at_the_host(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, vendor: Vendor, status: int
) -> None:
    """The Test button reports a web page as a wrong host, whatever the HTTP status of the page is."""
    body = "<html>Welcome to nginx</html>"
    sandbox.inject("status", vendor=vendor.name, status=status, body=body, content_type="text/html")
    works, sentence = pressed(monkeypatch, sandbox, vendor.name)
    assert not works
    assert "host" in sentence.lower()
    assert "nginx" not in sentence


@pytest.mark.parametrize(
    ("vendor", "field"),
    [(known.name, field.name) for known in VENDORS.values() for field in known.fields if field.required],
)
def test_a_missing_field(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, vendor: str, field: str) -> None:
    """The message names the missing field, and no call is made."""
    works, sentence = pressed(monkeypatch, sandbox, vendor, extra={})
    assert (works, sentence) == (False, f"Connection under test: {field} is missing in Extra.")
    assert not any(sandbox.calls().values())


def test_a_wrong_partner_id(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """ID5's replies distinguish a wrong partner id from a wrong token."""
    works, sentence = pressed(monkeypatch, sandbox, "id5", extra={"partner_id": WRONG_ACCOUNT})
    assert (works, sentence[:36]) == (False, "ID5 does not accept this connection:")
    assert sentence.endswith("check partner_id of the connection.")


def test_airflow_finds_the_types() -> None:
    """If the project is installed as a distribution, Airflow lists the project's connection types together
    with its own types.
    """
    hooks = ProvidersManagerTaskRuntime().hooks
    for vendor in VENDORS.values():
        hook = hooks[vendor.name]
        assert hook is not None
        assert (hook.hook_name, hook.connection_testable) == (vendor.title, True)


@every_vendor
def test_the_form_has_every_field_of_the_vendor(vendor: Vendor) -> None:
    """Each field has a schema. The text of the schema says that the field is required, or what an empty
    field means.
    """
    form = TYPES[vendor.name]
    assert list(form["conn-fields"]) == [field.name for field in connection_fields(vendor)]
    for field in connection_fields(vendor):
        shown = form["conn-fields"][field.name]
        assert (shown["label"], shown["description"]) == (field.title, field.description)
        assert field.secret == (shown["schema"].get("format") == "password")
        assert not field.choices or any(choice in field.help for choice in field.choices)
    assert form["ui-field-behaviour"]["placeholders"]["host"].startswith(vendor.base_url)
    assert form["ui-field-behaviour"]["relabeling"] == {"password": f"Password: {vendor.credential}"}


def test_what_the_forms_are_made_of() -> None:
    """The form has the expected schema for a number field, a secret field and a choice field."""
    batch, besitos = (TYPES[name]["conn-fields"] for name in ("batch", "besitos"))
    assert batch["api_key"] == {
        "label": "API key of the app",
        "description": "Required. Each app (iOS, Android, web) is its own account.",
        "schema": {"type": ["string", "null"], "format": "password"},
    }
    assert besitos["users_per_call"] == {
        "label": "Users per call",
        "description": "The maximum number of users in one call. Empty: 100.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 10_000},
    }
    assert besitos["on_uncertain"]["schema"] == {"type": ["string", "null"], "enum": ["repeat", "hold"]}
    assert "users_per_call" not in batch


def test_the_provider_imports_no_slow_library() -> None:
    """The module loads no slow library, because every Airflow process that lists providers loads the
    module.
    """
    slow = ("pydantic", "email_validator", "aiohttp", "phonenumbers", "cryptography", "airflow")
    code = (
        "import sys, dsar_airflow.provider as p; p.get_provider_info();"
        f"print(*[m for m in {slow} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []


def test_a_connection_of_another_vendor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of another vendor is refused, so its secret is never sent to the wrong vendor."""
    monkeypatch.setenv("AIRFLOW_CONN_BESITOS_DEFAULT", json.dumps({"conn_type": "batch", "password": "t"}))
    with pytest.raises(
        ConfigurationError, match="is of type batch, but account besitos belongs to vendor besitos"
    ):
        account_settings(Account("besitos", "besitos"), BaseHook.get_connection("besitos_default"))


@pytest.mark.parametrize(("name", "given"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_the_examples_in_the_docs(monkeypatch: pytest.MonkeyPatch, name: str, given: str) -> None:
    """Each example of docs/connections.md is a connection that works after its placeholders are filled."""
    parts = json.loads(given)
    vendor = VENDORS[parts["conn_type"]]
    assert parts["extra"].keys() <= {field.name for field in connection_fields(vendor)}
    if chain := parts["extra"].get("processor_certificate"):
        certificate = ["-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"]
        assert [line for line in chain.splitlines() if line.startswith("-----")] == certificate * 2
        parts["extra"] |= EXTRA[vendor.name]
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}_DEFAULT", json.dumps(parts))
    account = Account(name.lower(), vendor.name)
    found = account_settings(account, BaseHook.get_connection(account.connection))
    assert found.secret == parts["password"]


def test_every_vendor_has_an_example_in_the_docs() -> None:
    """docs/connections.md has an example in the environment for each vendor."""
    assert {json.loads(given)["conn_type"] for _, given in EXAMPLES} == set(VENDORS)


def test_a_secrets_backend(sandbox: Sandbox, tmp_path: Path, metadata_db: None) -> None:
    """A connection from a secrets backend is found, with its type and Extra, and it works."""
    secrets = tmp_path / "connections.json"
    given = {"conn_type": "id5", "host": sandbox.url, "password": "sandbox-secret", "extra": EXTRA["id5"]}
    secrets.write_text(json.dumps({"id5_default": given}))
    backend = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "connections", "test", "id5_default"],
        env={
            **os.environ,
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__SECRETS__BACKEND": backend,
            "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(secrets)}),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Connection success!" in done.stdout, done.stdout + done.stderr
    assert sum(sandbox.calls()["id5"].values()) == 1
