"""Airflow's connections and variables, as what the stages below need."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook, Connection, ObjectStoragePath, Variable
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException, AirflowRuntimeError
from airflow.sdk.log import amask_secret, mask_secret

from include.accounts import ACCOUNTS
from include.dsar.accounts import WHOLE, Account, AccountSettings, Shard
from include.dsar.delivery.storage import Storage
from include.dsar.errors import ConfigurationError, ConnectionMissing, VendorUnavailable
from include.dsar.execution.account_work import AccountWork
from include.dsar.intake.source import Source
from include.dsar.ledger import database, deployment, planning
from include.dsar.ledger.database import Database
from include.dsar.vendors import VENDORS, settings, vendor
from include.dsar.vendors.vendor import OnUncertain

if TYPE_CHECKING:
    from include.dsar.delivery.seal import Seal

LEDGER = "dsar_db"
SOURCE = "dsar_source"  # where it is absent, the source is in the ledger's database
STORAGE = "dsar_storage_uri"
RECIPIENT = "dsar_age_recipient"  # where it is absent, packages are not sealed
UNSEALED = "none"  # in its place: a deployment that sealed its packages does so no longer
HASH_KEY = "dsar_hash_key"  # where it is absent, the ledger's own key is used

MISSING = (AirflowNotFoundException, AirflowRuntimeError)

# What libpq understands of a connection's Extra; the rest is for Airflow's own hooks.
LIBPQ = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslnegotiation",
    "channel_binding", "gssencmode", "target_session_attrs", "options", "application_name",
    "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
    "hostaddr", "passfile", "service",
)  # fmt: skip


def account_of(name: str) -> Account:
    """The account of that name in include/accounts.py. Raises ConfigurationError."""
    for account in ACCOUNTS:
        if account.name == name:
            return account
    raise ConfigurationError(f"include/accounts.py lists no account {name}")


@asynccontextmanager
async def account_work(
    name: str,
    *,
    shard: Shard = WHOLE,
    request_ids: Sequence[str] = (),
    request_pks: Sequence[int] | None = None,
) -> AsyncIterator[AccountWork]:
    """All that a stage needs to work on an account or a shard of it, each connection looked up once.

    A run that is limited to some requests names them by their ids, or by the ledger's.
    """
    from include.dsar.http.client import client  # only here: aiohttp takes longer to import than all the rest

    account = account_of(name)
    resolved = account_settings(account, await _aget(account.connection)).share(shard)
    info = ledger_conninfo(await _aget(LEDGER))
    try:
        async with _session(info) as db, client(resolved) as http:
            with database.without_rows():
                if request_ids:
                    request_pks = await asyncio.to_thread(planning.refs, db, request_ids)
                yield AccountWork(db, vendor(account.vendor), resolved, http, request_pks, shard)
    except VendorUnavailable as error:
        raise VendorUnavailable(
            f"{error} If it goes on, check Host, Port and Schema of connection {account.connection}, "
            "and whether the vendor has an outage."
        ) from None


@asynccontextmanager
async def _session(info: str) -> AsyncIterator[Database]:
    connecting = asyncio.ensure_future(asyncio.to_thread(database.connect, info))
    try:
        yield await asyncio.shield(connecting)
    finally:
        await asyncio.wait([connecting])  # a trigger may be broken off while it connects
        if not connecting.exception():
            await asyncio.to_thread(connecting.result().close)


def only(db: Database, request_ids: Sequence[str]) -> list[int] | None:
    """The ledger's ids of the requests that a run is limited to; None: all."""
    return planning.refs(db, request_ids) if request_ids else None


def held_accounts() -> list[str]:
    """Accounts whose uncertain submissions wait for a person."""
    held = []
    for account in ACCOUNTS:
        with suppress(ConfigurationError, ConnectionMissing):  # its own tasks say what is wrong with it
            if account_settings(account, _get(account.connection)).on_uncertain == OnUncertain.HOLD:
                held.append(account.name)
    return held


def settings_of(name: str) -> AccountSettings:
    """The settings of the account of that name. Raises ConfigurationError."""
    account = account_of(name)
    return account_settings(account, _get(account.connection))


def account_settings(account: Account, connection: Connection) -> AccountSettings:
    """The settings that a connection, of the vendor's own type or of type http, gives an account.

    Raises ConfigurationError.
    """
    if connection.conn_type in VENDORS and connection.conn_type != account.vendor:
        raise ConfigurationError(
            f"connection {account.connection} is of type {connection.conn_type}, "
            f"and account {account.name} is one of {account.vendor}"
        )
    return settings(
        account,
        base_url=_base_url(connection),
        secret=connection.password,
        extra=_extra(connection),
    )


@contextmanager
def ledger(*, migrate: bool = False) -> Iterator[Database]:
    """The ledger, brought up to date first where `migrate` says so."""
    info = ledger_conninfo(_get(LEDGER))
    with database.without_rows():
        if migrate:
            database.migrate(info)
        with database.connect(info) as db:
            yield db


def ledger_conninfo(connection: Connection) -> str:
    """libpq's connection string for a connection of type postgres."""
    extra = _extra(connection)
    return database.conninfo(
        {
            "host": connection.host,
            "port": connection.port,
            "user": connection.login,
            "password": connection.password,
            "dbname": connection.schema,
            **{name: extra[name] for name in LIBPQ if name in extra},
        }
    )


@contextmanager
def source() -> Iterator[Source]:
    """The source table, through the SQL hook of its connection. Raises ConfigurationError."""
    connection = _source_connection()
    try:
        engine = connection.get_hook().get_sqlalchemy_engine()  # type: ignore[no-untyped-call]
    except (AirflowException, AttributeError):
        raise ConfigurationError(
            f"connection {connection.conn_id}: type {connection.conn_type} is no SQL database that this "
            "Airflow can reach; correct the type, or install its provider"
        ) from None
    try:
        yield Source(engine)
    finally:
        engine.dispose()


def storage() -> Storage:
    """Where results, packages and receipts go. Raises ConfigurationError."""
    uri = Variable.get(STORAGE, default=None)
    # A relative path would be another place on each worker.
    if not uri or "://" not in uri or (uri.startswith("file:") and not uri.startswith("file:///")):
        raise ConfigurationError(
            f"set Variable {STORAGE} (or AIRFLOW_VAR_{STORAGE.upper()}) to where packages shall go, "
            "such as file:///var/lib/dsar or s3://aws_default@bucket/dsar"
        )
    try:
        path = ObjectStoragePath(uri)
        return Storage(path.fs, path.path)
    except (ValueError, ImportError, *MISSING) as error:
        raise ConfigurationError(
            f"Variable {STORAGE} cannot be used ({type(error).__name__}): it names a folder or a bucket, "
            "its scheme needs the Airflow provider, and what stands before @ is a connection"
        ) from None


def seal(db: Database) -> Seal | None:
    """Whom packages are sealed for; None: they are not. The ledger remembers which.

    Raises ConfigurationError; SettingDiffers where the variable is gone that packages were sealed by.
    """
    from include.dsar.delivery.seal import Seal

    given = Variable.get(RECIPIENT, default=None)
    try:
        found = None if given is None or given.strip().lower() == UNSEALED else Seal(given)
    except ValueError:
        raise ConfigurationError(
            f"Variable {RECIPIENT} (or AIRFLOW_VAR_{RECIPIENT.upper()}) is no public key: set it to one that "
            f"begins with age1 (age-keygen prints it) or ssh-ed25519, or to {UNSEALED} to seal nothing"
        ) from None
    deployment.remember_sealing(db, sealing=None if given is None else found is not None)
    return found


def hash_key(db: Database) -> bytes:
    """The key of the ledger's hashes."""
    given = Variable.get(HASH_KEY, default=None)
    return given.encode() if given else database.hash_key(db)


def _source_connection() -> Connection:
    try:
        return BaseHook.get_connection(SOURCE)
    except MISSING:
        if f"AIRFLOW_CONN_{SOURCE.upper()}" in os.environ:  # there, but not to be read
            raise _absent(SOURCE) from None
        return _get(LEDGER)


def _base_url(connection: Connection) -> str | None:
    """As Airflow's HttpHook reads it, but for the schema: where none is given it is https, and http
    only for this machine itself."""
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


def _extra(connection: Connection) -> dict[str, Any]:
    """Extra as an object: Airflow takes what is no JSON for an empty one, and what is missing in it
    would be reported instead."""
    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise ConfigurationError(f"connection {connection.conn_id}: Extra is not a JSON object")
    return extra


def _get(name: str) -> Connection:
    try:
        connection = BaseHook.get_connection(name)
    except MISSING:
        raise _absent(name) from None
    mask_secret(_extra(connection))  # Airflow itself masks Extra only as a whole
    return connection


async def _aget(name: str) -> Connection:
    try:
        connection = await BaseHook.aget_connection(name)
    except MISSING:
        raise _absent(name) from None
    await amask_secret(_extra(connection))
    return connection


def _absent(name: str) -> ConnectionMissing:
    return ConnectionMissing(
        f"connection {name} does not exist, or cannot be read: create it in Admin > Connections, "
        f"or set AIRFLOW_CONN_{name.upper()}"
    )
