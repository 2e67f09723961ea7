"""The requests of the crash tests: a dozen requests of all kinds, which pass through the stages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from include.accounts import ACCOUNTS
from include.dsar.accounts import Account, AccountSettings
from include.dsar.intake.rows import Rules
from include.dsar.model import IdentityKind
from include.dsar.vendors import settings
from include.regulations import REGULATIONS
from tests.conftest import EXTRA
from tests.integration.conftest import Row

RULES = Rules(ACCOUNTS, None, b"key", REGULATIONS)

DEVICE, OTHER_DEVICE = "6d92078a-8246-4ba4-ae5b-76104861e7dc", "38400000-8cf0-41bd-b23e-10b96e40000d"

ROWS = (
    Row("a-1", "access", user_id="u1"),
    Row("a-2", "export", user_id=["u2", "unknown-2"], email="a@example.com"),
    Row("a-3", "access", user_id="refused-3"),
    Row("a-4", "access", "ccpa", user_id="u4", advertising_id=DEVICE, install_id=OTHER_DEVICE),
    Row("a-5", "access", user_id=["u12", "jobfails-13"], accounts=["batch"]),
    Row("e-1", "erasure", user_id="u5", email=["b@example.com", "c@example.com"], phone="+12025550123"),
    Row("e-2", "delete", "ccpa", user_id="refused-6", email="d@example.com"),
    Row("e-3", "deletion", user_id="jobfails-7", accounts=["besitos", "batch"]),
    Row("e-4", "erasure", user_id="busy-8", accounts=["batch"]),
    Row("e-5", "erasure", email="refused@example.com", id5_id="ID5*abc", advertising_id=OTHER_DEVICE),
    Row("e-6", "erasure", user_id=["u9", "unknown-10"], email="unknown@example.com"),
    Row("e-7", "erasure", user_id="u5", email="b@example.com"),  # the same data subject as in e-1
    Row("x-1", "nonsense", user_id="u11"),
)

# Small batches and a few calls at a time, so that a kill interrupts several calls.
PACE: Mapping[str, Any] = {
    "requests_per_second": 1000,
    "max_concurrency": 3,
    "poll_min_seconds": 1,
    "poll_max_seconds": 5,
}


def account_settings(account: Account, sandbox_url: str) -> AccountSettings:
    own = {"users_per_call": 4} if account.vendor == "besitos" else {}
    return settings(
        account, base_url=sandbox_url, secret="sandbox-secret", extra={**EXTRA[account.vendor], **PACE, **own}
    )


def sent() -> dict[tuple[str, str, str], frozenset[str]]:
    """Returns the values that each submission sends, by request, account and identity hash."""
    found = {}
    for row in ROWS:
        if row.request_id == "x-1":
            continue
        for submission in RULES.read(vars(row), datetime.now(UTC)).submissions:
            values = (
                _as_sent(submission.vendor, kind, value)
                for kind, value in (submission.identifiers or {}).items()
            )
            found[row.request_id, submission.account, submission.identity_hash] = frozenset(values)
    return found


def _as_sent(vendor: str, kind: IdentityKind, value: str) -> str:
    hashed = vendor == "id5" and kind is IdentityKind.EMAIL
    return sha256(value.encode()).hexdigest() if hashed else value
