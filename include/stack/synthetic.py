"""Makes the demo's DSARs, about data subjects who do not exist.

Their domains (example.com, …; RFC 2606) and phone numbers (+1 … 555 01xx, NANPA; +44 7700 900xxx, Ofcom)
are reserved, so no one can own them.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import psycopg
from psycopg import sql

FIRST = ("Ada", "Amir", "Clara", "Elif", "Fatima", "Goran", "Ines", "Kofi", "Mei", "Olga", "Ravi", "Zoe")
LAST = ("Almeida", "Bauer", "Chen", "Diallo", "Garcia", "Haddad", "Ito", "Novak", "Okafor", "Silva")
DOMAINS = ("example.com", "example.org", "example.net")
AREA_CODES = (202, 206, 212, 303, 305, 312, 404, 415, 512, 617, 702, 718)


@dataclass(frozen=True)
class SyntheticRequest:
    """A new row of `public.dsar_requests`. The fields are the columns."""

    request_id: str
    request_type: str
    regulation: str
    received_at: datetime
    email: list[str] | None
    phone: list[str] | None
    user_id: list[str] | None
    advertising_id: list[str] | None
    install_id: list[str] | None
    id5_id: list[str] | None
    accounts: list[str] | None = None


def new_call() -> str:
    """Returns a name for one start of the demo, made from the time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}"


def insert(dsn: str, requests: list[SyntheticRequest]) -> None:
    """Inserts all requests into the source table in one transaction."""
    names = [field.name for field in fields(SyntheticRequest)]
    statement = sql.SQL("INSERT INTO public.dsar_requests ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(", ").join(sql.Placeholder() * len(names))
    )
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(statement, [astuple(request) for request in requests])


def synthetic_requests(call: str, count: int = 200) -> list[SyntheticRequest]:
    """Returns `count` requests (at least 40) with ids like `demo-<call>-0001`. The same `call` gives the
    same requests.

    Most of the requests complete. A few have a keyword of the sandbox in the e-mail address and the user id.
    The last few are rows that intake must reject.
    """
    random = Random(call)  # noqa: S311 - nothing here is a secret
    requests = [_plain(random, call, number) for number in range(1, count + 1)]
    # Spread out, so that they are in different batches.
    for position, keyword in enumerate(KEYWORDS):
        at = (position + 1) * (count - len(INVALID)) // (len(KEYWORDS) + 1)
        requests[at] = _with_keyword(requests[at], keyword)
    for position, change in enumerate(INVALID, start=count - len(INVALID)):
        requests[position] = replace(requests[position], **change)  # type: ignore[arg-type]
    return requests


# Some keywords appear twice: if one of the two is an access request, some vendors never receive it.
KEYWORDS = ("unknown", "jobfails", "slow", "refused", "unknown", "jobfails", "slow", "unknown")

NOTHING = dict.fromkeys(("email", "phone", "user_id", "advertising_id", "install_id", "id5_id"))
INVALID: tuple[dict[str, object], ...] = (
    {"request_type": "rectification"},
    {"regulation": "no such law"},
    {"email": ["kai.example.com"]},
    {"phone": ["+1 555 CALL ME"]},
    {"received_at": datetime(2100, 1, 1, tzinfo=UTC)},
    {"accounts": ["no_such_account"]},
    NOTHING,
)


def _plain(random: Random, call: str, number: int) -> SyntheticRequest:
    first, last = random.choice(FIRST), random.choice(LAST)
    handle = f"{first}.{last}.{call}{number}".lower()
    emails = [f"{handle}@{random.choice(DOMAINS)}"]
    if random.random() < 0.15:
        emails.append(f"{last}.{first}.{call}{number}@{random.choice(DOMAINS)}".lower())
    request_type = random.choice(("access", "erasure", "erasure", "export", "delete"))
    # No vendor can answer an access request without a user id.
    has_user_id = request_type in ("access", "export") or random.random() < 0.85
    age = timedelta(days=random.uniform(0.1, 20))
    return SyntheticRequest(
        request_id=f"demo-{call}-{number:04}",
        request_type=request_type,
        regulation=random.choice(("GDPR", "GDPR", "CCPA")),
        received_at=datetime.now(UTC).replace(microsecond=0) - age,
        email=emails,
        phone=[_phone(random)] if random.random() < 0.6 else None,
        user_id=[f"u-{call}-{number:04}"] if has_user_id else None,
        advertising_id=[str(_uuid(random))] if random.random() < 0.5 else None,
        install_id=[_uuid(random).hex.upper()] if random.random() < 0.2 else None,
        id5_id=[f"ID5*{random.randbytes(24).hex()}"] if random.random() < 0.25 else None,
    )


def _with_keyword(request: SyntheticRequest, keyword: str) -> SyntheticRequest:
    name, domain = (request.email or [""])[0].split("@")
    return replace(
        request,
        email=[f"{name}.{keyword}@{domain}"],
        user_id=[f"u-{request.request_id}-{keyword}"],
        accounts=None,
    )


def _phone(random: Random) -> str:
    if random.random() < 0.5:
        return f"+1 {random.choice(AREA_CODES)} 555 01{random.randrange(100):02}"
    return f"+44 7700 900{random.randrange(1000):03}"


def _uuid(random: Random) -> UUID:
    return UUID(int=random.getrandbits(128), version=4)
