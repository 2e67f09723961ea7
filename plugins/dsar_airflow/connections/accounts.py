"""Reads the settings of an account from its connection."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from urllib.parse import urlsplit

from airflow.sdk import Connection

from dsar_airflow.connections.lookup import extra, get
from include.accounts import ACCOUNTS
from include.dsar.accounts import Account, AccountSettings
from include.dsar.errors import ConfigurationError, ConnectionMissing
from include.dsar.vendors import VENDORS, settings
from include.dsar.vendors.vendor import OnUncertain


def account_of(name: str) -> Account:
    """Returns the account with this name. Raises ConfigurationError if include/accounts.py has none."""
    for account in ACCOUNTS:
        if account.name == name:
            return account
    raise ConfigurationError(f"include/accounts.py does not list the account {name}")


def settings_of(name: str) -> AccountSettings:
    """Returns the settings of the account with this name. Raises ConfigurationError if they are not valid."""
    account = account_of(name)
    return account_settings(account, get(account.connection))


def held_accounts() -> list[str]:
    """Returns accounts with `on_uncertain: hold`. An operator decides about their uncertain submissions."""
    held = []
    for account in ACCOUNTS:
        with suppress(ConfigurationError, ConnectionMissing):  # the account's own tasks report the error
            if settings_of(account.name).on_uncertain == OnUncertain.HOLD:
                held.append(account.name)
    return held


def account_settings(account: Account, connection: Connection) -> AccountSettings:
    """Returns the settings from a connection of the vendor's own type or of type http.

    Raises ConfigurationError if the connection has another type or a field is not valid.
    """
    if connection.conn_type in VENDORS and connection.conn_type != account.vendor:
        raise ConfigurationError(
            f"connection {account.connection} is of type {connection.conn_type}, "
            f"but account {account.name} belongs to vendor {account.vendor}"
        )
    return settings(
        account, base_url=_base_url(connection), secret=connection.password, extra=extra(connection)
    )


def _base_url(connection: Connection) -> str | None:
    """Returns the base URL of the connection, like Airflow's HttpHook. Only the default schema differs: it
    is https, or http if the host is this machine.
    """
    host = connection.host or ""
    if not host:
        return None
    if "://" in host:
        url = host
    else:
        schema = connection.schema or ("http" if _is_loopback(host) else "https")
        url = f"{schema}://[{host}]" if _is_ipv6(host) else f"{schema}://{host}"
    if not connection.port:
        return url
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc}:{connection.port}").geturl()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
