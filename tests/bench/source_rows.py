"""Generates rows of the source table, about data subjects who do not exist."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import psycopg

ACCOUNTS = ("besitos", "batch", "id5", "attentive")  # the vendor server simulates these accounts
COLUMNS = (
    "request_id, request_type, regulation, received_at, email, phone, user_id, advertising_id, "
    "id5_id, accounts"
)
Row = tuple[object, ...]


def half_access(count: int) -> Iterator[Row]:
    """Returns rows that alternate between access by user id and erasure by user id, e-mail and phone.

    An access request has 2 submissions. An erasure request has 4 submissions.
    """
    for n in range(count):
        columns = ("access", None, None) if n % 2 == 0 else ("erasure", [_email(n)], [_phone(n)])
        yield _row(n, *columns)


def all_kinds(count: int) -> Iterator[Row]:
    """Returns rows that alternate between access and erasure, each with five kinds of identifiers.

    A request has 6 submissions on average.
    """
    for n in range(count):
        device, id5 = str(UUID(int=n + (4 << 76) + (8 << 60) + (1 << 100))), f"ID5*{n:048x}"
        yield _row(n, "erasure" if n % 2 else "access", [_email(n)], [_phone(n)], device, id5)


def one_account_each(count: int) -> Iterator[Row]:
    """Returns rows for one account each. Access and erasure alternate if the account supports both."""
    for n in range(count):
        account = ACCOUNTS[n % 4]
        kind = "access" if n % 8 < 2 else "erasure"
        yield _row(n, kind, [_email(n)], [_phone(n)], accounts=(account,))


def access_at_two(count: int) -> Iterator[Row]:
    """Returns access requests by user id for the two accounts that return data."""
    for n in range(count):
        yield _row(n, "access", None, None)


def insert(url: str, rows: Iterator[Row]) -> None:
    """Insert the rows into the source table as pending requests."""
    with psycopg.connect(url) as db, db.cursor() as cursor:
        with cursor.copy(f"COPY public.dsar_requests ({COLUMNS}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute("ANALYZE public.dsar_requests")


def _row(
    n: int,
    kind: str,
    email: list[str] | None,
    phone: list[str] | None,
    device: str | None = None,
    id5: str | None = None,
    accounts: tuple[str, ...] = ACCOUNTS,
) -> Row:
    received = f"2026-{1 + n % 10:02}-{1 + n % 28:02}T10:00:00+00:00"
    lists = ([value] if value else None for value in (f"u-{n:08}", device, id5))
    return (
        f"bench-{n:08}",
        kind,
        "GDPR" if n % 3 else "CCPA",
        received,
        email,
        phone,
        *lists,
        list(accounts),
    )


def _email(n: int) -> str:
    return f"ada.lovelace.{n}@example.com"


def _phone(n: int) -> str:
    return f"+1 {202 + n // 10_000 % 600} 555 {n % 10_000:04}"
