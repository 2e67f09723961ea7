from __future__ import annotations

from datetime import UTC, datetime

import pytest

from include.dsar.accounts import Account
from include.dsar.delivery.outcome_texts import label, sentence
from include.dsar.intake.rows import Rules
from include.dsar.model import AccountRecord, State, Status
from include.regulations import REGULATIONS

TECHNICAL = "HTTP 422: invalid_identifier"


def account(outcome: State | Status, vendor: str = "attentive", reason: str | None = None) -> AccountRecord:
    return AccountRecord(vendor, vendor, outcome, reason, ())


@pytest.mark.parametrize(
    ("outcome", "short", "long"),
    [
        (State.COMPLETED, "Has data about you", "X has data about you. This is what X sent us."),
        (State.NO_DATA, "Has no data about you", "X told us that it has no data about you."),
        (State.REJECTED, "Refused our request", "X refused our request. We do not know whether it has data"),
        (State.FAILED, "No usable answer", "We got no usable answer from X. We do not know whether it has"),
        (Status.PARTIAL, "Answered in part", "X answered only a part of our request."),
    ],
)
def test_each_outcome_has_its_own_words(outcome: State | Status, short: str, long: str) -> None:
    """The text for the data subject does not contain the reason for operators."""
    assert label(account(outcome)) == short
    text = sentence(account(outcome, reason=TECHNICAL), "X")
    assert text.startswith(long)
    assert TECHNICAL not in text


def test_an_account_that_was_not_asked_says_why() -> None:
    """The text says that the vendor offers no access, that the request has no suitable identifier, or that
    there is another reason.
    """
    row = {
        "request_id": "r-1", "request_type": "access", "regulation": "GDPR",
        "received_at": "2026-11-01T10:00:00+00:00", "email": "a@example.com", "user_id": "u",
    }  # fmt: skip
    accounts = [
        Account("besitos", "besitos"),
        Account("batch", "batch", identities=("install_id",)),  # type: ignore[arg-type]
        Account("attentive", "attentive"),
        Account("retired", "batch", identities=()),
    ]
    planned = Rules(accounts, None, b"key", REGULATIONS).read(row, datetime.now(UTC)).submissions
    reasons = {one.account: one for one in planned if one.state is State.NOT_APPLICABLE}
    sentences = {
        name: sentence(account(State.NOT_APPLICABLE, one.vendor, one.reason), "X")
        for name, one in reasons.items()
    }
    assert sentences == {
        "batch": "We did not ask X, because X cannot find you with the details in your request.",
        "attentive": "We could not ask X for your data, because X does not offer this.",
        "retired": "We did not ask X for your data.",
    }
