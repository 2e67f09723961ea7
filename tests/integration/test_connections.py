"""Airflow's connections and variables give the accounts, the ledger, the source and the storage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import BaseHook
from psycopg.conninfo import conninfo_to_dict

from dsar_airflow.connections import lookup
from dsar_airflow.connections.account_work import account_work
from dsar_airflow.connections.accounts import account_settings, held_accounts
from dsar_airflow.connections.ledger import hash_key, ledger, ledger_conninfo
from dsar_airflow.connections.source import source
from dsar_airflow.connections.storage import storage
from include.dsar.accounts import Account, AccountSettings
from include.dsar.errors import (
    ConfigurationError,
    ConnectionMissing,
    DsarError,
    LedgerUnavailable,
    VendorUnavailable,
)
from include.dsar.ledger.database import Database
from include.dsar.vendors.vendor import OnUncertain
from tests.conftest import SetConnection
from tests.integration.conftest import Row, put

ACCOUNT = Account("besitos", vendor="besitos")


def read(monkeypatch: pytest.MonkeyPatch, connection: str | dict[str, Any]) -> AccountSettings:
    """Returns the settings of an account from a connection in the environment."""
    text = connection if isinstance(connection, str) else json.dumps({"conn_type": "http"} | connection)
    monkeypatch.setenv("AIRFLOW_CONN_BESITOS_DEFAULT", text)
    return account_settings(ACCOUNT, BaseHook.get_connection("besitos_default"))


PARTNER = {"partner_id": "demo"}
ADDRESSES = {
    "URI without a schema": ("http://:t@api.example.com/?partner_id=demo", "https://api.example.com"),
    "URI with a schema": ("http://:t@api.example.com/http?partner_id=demo", "http://api.example.com"),
    "URI with the schema as its type": (
        "https://:t@api.example.com:8443/?partner_id=demo", "https://api.example.com:8443"),
    "URI whose host has a schema": (
        "http://:t@https%3A%2F%2Fapi.example.com/?partner_id=demo", "https://api.example.com"),
    "URI with two schemas": (
        "http://https://:t@api.example.com:8443/?partner_id=demo", "https://api.example.com:8443"),
    "URI without a host": ("http://:t@/?partner_id=demo", "https://wall.besitos.ai"),
    "URI with JSON in its extra": (
        "http://:t@h.example/?__extra__=%7B%22partner_id%22%3A+%22demo%22%7D", "https://h.example"),
    "JSON without a host": ({"password": "t", "extra": PARTNER}, "https://wall.besitos.ai"),
    "JSON with a host": (
        {"password": "t", "host": "api.example.com", "extra": PARTNER}, "https://api.example.com"),
    "JSON with schema and port": (
        {"password": "t", "host": "h.example", "schema": "http", "port": 81, "extra": PARTNER},
        "http://h.example:81"),
    "JSON with a path and a port": (
        {"password": "t", "host": "https://h.example/besitos", "port": 8443, "extra": PARTNER},
        "https://h.example:8443/besitos"),
    "JSON with extra as text": (
        {"password": "t", "host": "h.example", "extra": json.dumps(PARTNER)}, "https://h.example"),
    "this machine": (
        {"password": "t", "host": "127.0.0.1", "port": 8090, "extra": PARTNER}, "http://127.0.0.1:8090"),
    "this machine by name, https": (
        {"password": "t", "host": "localhost", "schema": "https", "extra": PARTNER}, "https://localhost"),
    "IPv6": ({"password": "t", "host": "::1", "port": 80, "extra": PARTNER}, "http://[::1]:80"),
}  # fmt: skip


@pytest.mark.parametrize(("connection", "base_url"), ADDRESSES.values(), ids=ADDRESSES)
def test_every_form_of_a_connection_gives_the_address(
    monkeypatch: pytest.MonkeyPatch, connection: str | dict[str, Any], base_url: str
) -> None:
    """The rules for the address are those of Airflow's HttpHook. The default schema is https, but for this
    machine it is http.
    """
    resolved = read(monkeypatch, connection)
    assert resolved.base_url == base_url
    assert resolved.secret == "t"
    assert resolved.fields["partner_id"] == "demo"


def test_numbers_in_a_uri_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers in a URI are texts. They are read as numbers."""
    resolved = read(
        monkeypatch,
        "http://:t%2Fo%40k@/?partner_id=173&requests_per_second=2.5&users_per_call=7&daily_quota=9&poll_min_seconds=",
    )
    assert resolved.secret == "t/o@k"
    assert (resolved.fields["partner_id"], resolved.requests_per_second) == ("173", 2.5)
    assert (resolved.users_per_call, resolved.daily_quota) == (7, 9)
    assert resolved.poll_min_seconds > 1


REFUSED = {
    "no partner": ({"password": "t"}, "connection besitos_default: partner_id is missing in Extra"),
    "extra that is not JSON": (
        {"password": "t", "extra": "partner_id=demo"},
        "connection besitos_default: Extra is not a JSON object"),
    "extra that is not an object": (
        {"password": "t", "extra": '["demo"]'}, "connection besitos_default: Extra is not a JSON object"),
}  # fmt: skip


@pytest.mark.parametrize(("connection", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_connection_is_refused(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], sentence: str
) -> None:
    """The error names the connection and the field, but not the value."""
    with pytest.raises(ConfigurationError) as error:
        read(monkeypatch, connection)
    assert sentence in str(error.value)
    assert "demo" not in str(error.value)


async def test_a_missing_or_unreadable_connection_is_named(
    deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says where to set the connection. Airflow retries the task, because a secrets backend may
    be unavailable for a short time.
    """
    for text in (None, "http://a://b://c", '{"conn_type"'):
        if text is None:
            monkeypatch.delenv("AIRFLOW_CONN_BATCH_DEFAULT")
        else:
            monkeypatch.setenv("AIRFLOW_CONN_BATCH_DEFAULT", text)
        with pytest.raises(ConnectionMissing) as error:
            async with account_work("batch"):
                pass
        assert "connection batch_default does not exist or cannot be read" in str(error.value)
        assert "AIRFLOW_CONN_BATCH_DEFAULT" in str(error.value)


async def test_the_error_of_an_unavailable_vendor_names_the_connection(deployment: Path) -> None:
    """The error names the connection, because a wrong host looks like an outage."""
    with pytest.raises(VendorUnavailable, match=r"check Host, Port and Schema of connection batch_default"):
        async with account_work("batch"):
            raise VendorUnavailable("batch: no usable answer.")


async def test_an_account_that_is_not_listed_is_refused(deployment: Path) -> None:
    """An account that is not in the file is refused, and the error names the file."""
    with pytest.raises(ConfigurationError, match=r"include/accounts.py does not list the account nosuch"):
        async with account_work("nosuch"):
            pass


def test_held_accounts_are_those_with_on_uncertain_hold(
    deployment: Path, set_connection: SetConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only accounts with on_uncertain=hold are held. A wrong connection of another account is no error."""
    assert held_accounts() == []
    set_connection("id5", extra={"on_uncertain": OnUncertain.HOLD})
    monkeypatch.delenv("AIRFLOW_CONN_BATCH_DEFAULT")
    assert held_accounts() == ["id5"]


def test_the_connection_of_the_ledger_takes_options_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of libpq in Extra are used. Other fields of Extra are ignored."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_DSAR_DB",
        "postgresql://us%40er:p%2Fw@db.example:5433/ledger"
        "?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=3&cursor=realdictcursor&iam=false",
    )
    info = conninfo_to_dict(ledger_conninfo(BaseHook.get_connection("dsar_db")))
    expected = {
        "host": "db.example", "port": "5433", "user": "us@er", "password": "p/w", "dbname": "ledger",
        "sslmode": "verify-full", "sslrootcert": "/ca.pem", "connect_timeout": "3",
    }  # fmt: skip
    assert {name: info[name] for name in expected} == expected
    assert not {"cursor", "iam"} & info.keys()


@pytest.mark.parametrize(
    "dsn_of", ["", "postgresql://u:marker@127.0.0.1:1/none", "{server}/no_such_database"]
)
def test_an_unreachable_ledger_is_named(
    deployment: Path, dsn: str, monkeypatch: pytest.MonkeyPatch, dsn_of: str
) -> None:
    """The connection, the server or the database may be missing. The error names dsar_db and contains no
    password.
    """
    monkeypatch.setenv("AIRFLOW_CONN_DSAR_DB", dsn_of.format(server=dsn.rpartition("/")[0]))
    if not dsn_of:
        monkeypatch.delenv("AIRFLOW_CONN_DSAR_DB")
    with pytest.raises((LedgerUnavailable, ConfigurationError, ConnectionMissing)) as error, ledger():
        pass
    assert "connection dsar_db" in str(error.value)
    assert "marker" not in str(error.value)


def test_a_new_database_becomes_a_ledger(server: Any, deployment: Path, db: Database) -> None:
    """The function `migrate` can run again on the same database."""
    db.execute("DROP SCHEMA dsar CASCADE")
    for _ in range(2):
        with ledger(migrate=True) as own:
            assert own.execute("SELECT count(*) AS n FROM dsar.request").fetchone() == {"n": 0}


def test_the_source_is_in_the_database_of_the_ledger_by_default(
    deployment: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is in the ledger's database. If the connection dsar_source exists, the source is in that
    connection's database.
    """
    put(dsn, Row("e-1", user_id="u1"))
    with source() as table:
        rows = [row for chunk in table.pending(retry_failed=False) for row in chunk]
    assert [row["request_id"] for row in rows] == ["e-1"]
    monkeypatch.setenv("AIRFLOW_CONN_DSAR_SOURCE", dsn.rpartition("/")[0] + "/postgres")
    with source() as table, pytest.raises(DsarError, match="connection dsar_source"):
        list(table.pending(retry_failed=False))  # that database has no such table


@pytest.mark.parametrize("text", ["http://:t@h.example/", "nosuchdatabase://u@h/x", "postgres://a://b://c"])
def test_a_source_that_is_not_a_database_is_refused(
    deployment: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A connection dsar_source that is not a database raises an error. The ledger's database is not used
    instead.
    """
    monkeypatch.setenv("AIRFLOW_CONN_DSAR_SOURCE", text)
    with pytest.raises((ConfigurationError, ConnectionMissing), match="connection dsar_source"), source():
        pass


@pytest.mark.parametrize("uri", [None, "", "/var/lib/dsar", "file://relative/path", "storage"])
def test_storage_without_a_full_uri_is_refused(monkeypatch: pytest.MonkeyPatch, uri: str | None) -> None:
    """A relative path would mean another folder on each worker. The error gives examples."""
    if uri is None:
        monkeypatch.delenv("AIRFLOW_VAR_DSAR_STORAGE_URI", raising=False)
    else:
        monkeypatch.setenv("AIRFLOW_VAR_DSAR_STORAGE_URI", uri)
    with pytest.raises(ConfigurationError, match=r"set Variable dsar_storage_uri .*such as file:///"):
        storage()


@pytest.mark.parametrize("uri", ["nosuch://bucket/x", "file:///"])
def test_storage_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    """A scheme without a provider is refused, and so is the root of the disk."""
    monkeypatch.setenv("AIRFLOW_VAR_DSAR_STORAGE_URI", uri)
    with pytest.raises(ConfigurationError, match="Variable dsar_storage_uri cannot be used"):
        storage()


def test_files_are_written_below_the_uri(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_DSAR_STORAGE_URI", (tmp_path / "a b").as_uri().replace("%20", " "))
    storage().write("requests/r-1/receipt.json", b"{}")
    assert (tmp_path / "a b/requests/r-1/receipt.json").read_bytes() == b"{}"


def test_the_hash_key_is_the_variable_or_the_key_of_the_ledger(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the variable, the ledger creates its own key. That key never changes."""
    monkeypatch.delenv("AIRFLOW_VAR_DSAR_HASH_KEY", raising=False)
    own = hash_key(db)
    assert len(own) >= 32
    assert hash_key(db) == own
    monkeypatch.setenv("AIRFLOW_VAR_DSAR_HASH_KEY", "a deployment's key")
    assert hash_key(db) == b"a deployment's key"


def test_secrets_in_extra_are_masked_in_logs(deployment: Path) -> None:
    """Batch's api_key is in Extra, and Airflow itself masks only Password."""
    from airflow.sdk.log import _secrets_masker

    lookup.get("batch_default")
    assert "demo-app" not in str(_secrets_masker().redact("calling app demo-app"))
