"""Intake reads valid rows, refuses invalid rows with a reason, and sets due dates."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import sql

from include.dsar.intake.rows import Rules
from include.dsar.ledger.staging import PlannedRequest
from include.dsar.regulations import Regulations
from include.regulations import CCPA
from tests.integration.conftest import Row
from tests.integration.intake.conftest import MARKER, IntakeCase
from tests.integration.requests_given import RULES

PAST = "2026-11-01T10:00:00+00:00"

BAD_CELLS: dict[str, tuple[dict[str, Any], str]] = {
    "sql": ({"email": f"{MARKER}'; DROP TABLE dsar.request; --"}, "malformed email"),
    "large": ({"user_id": MARKER + "x" * 1_000_000}, "user_id is longer than 512 characters"),
    "nobody": ({"user_id": "  "}, "no usable identifier: all columns from email to id5_id are empty"),
    "not-taken": (
        {"phone": "+12025550147", "accounts": ["id5"]},
        "no usable identifier: no account accepts phone for erasure",
    ),
    "type": ({"user_id": "u", "request_type": MARKER}, "unknown request_type"),
    "law": ({"user_id": "u", "regulation": MARKER}, "unknown regulation"),
    "account": ({"user_id": "u", "accounts": MARKER}, "unknown account: this deployment has"),
    "future": ({"user_id": "u", "received_at": "2099-01-01T00:00:00+00:00"}, "received_at is in the future"),
    "ancient": ({"user_id": "u", "received_at": "1900-01-01T00:00:00+00:00"}, "received_at is out of range"),
    "no-time": ({"user_id": "u", "received_at": None}, "received_at is empty"),
    "far-due": ({"user_id": "u", "due_at": "9000-01-01T00:00:00+00:00"}, "due_at is out of range"),
}


def test_each_invalid_row_gets_its_reason_and_stops_no_other_row(
    case: IntakeCase, caplog: pytest.LogCaptureFixture
) -> None:
    """Each invalid row gets a reason. Neither the reason nor the log contains the invalid value."""
    caplog.set_level(logging.DEBUG)
    case.put(Row("a-good", user_id="u1"), *(Row(name, **cells) for name, (cells, _) in BAD_CELLS.items()))
    case.put(Row("z-good", user_id="u2", email="a@example.com"))
    taken = case.run()
    assert (taken.rows, taken.new, taken.invalid) == (len(BAD_CELLS) + 2, 2, len(BAD_CELLS))
    assert set(case.requests) == {"a-good", "z-good"}
    reasons = case.reasons
    assert [name for name, (_, reason) in BAD_CELLS.items() if not reasons[name].startswith(reason)] == []
    assert MARKER not in repr(reasons) + caplog.text


def test_an_infinite_time_makes_only_its_row_invalid(case: IntakeCase) -> None:
    """PostgreSQL has infinite times, which Python cannot hold."""
    case.put(Row("r-1", user_id="u", received_at="infinity"), Row("r-2", user_id="u", due_at="-infinity"))
    case.put(Row("good", user_id="u"))
    taken = case.run()
    assert (taken.new, taken.invalid) == (1, 2)


@pytest.mark.parametrize(
    "request_id",
    ["../x", "a/b", "a\\b", ".x", "-rf", "a b", " a", "a\n", "x" * 129, "ä", "a;b", "=1+1", "%2e%2e"],
)
def test_an_unsafe_request_id_is_invalid_and_not_logged(
    case: IntakeCase, caplog: pytest.LogCaptureFixture, request_id: str
) -> None:
    """An unsafe id would become part of paths. Its row is still marked invalid in the source."""
    case.put(Row(request_id, user_id="u1"), Row("good", user_id="u2"))
    assert case.run().invalid == 1
    assert "unsafe request_id" in case.reasons[request_id]
    assert "row 1 (its request_id is not shown) is invalid" in caplog.text
    assert set(case.requests) == {"good"}


def test_an_error_of_ours_in_one_row_stops_no_other_row(
    case: IntakeCase, caplog: pytest.LogCaptureFixture
) -> None:
    """The row is marked invalid with the type of our error. The other rows are planned."""

    class Broken(Rules):
        def read(self, row: Any, now: datetime) -> PlannedRequest:
            if row["request_id"] == "r-2":
                raise KeyError(MARKER)
            return super().read(row, now)

    case.put(*(Row(f"r-{n}", user_id=f"u{n}") for n in range(1, 4)))
    taken = case.run(Broken(RULES.accounts, None, RULES.hash_key, RULES.regulations))
    assert (taken.new, taken.invalid) == (2, 1)
    assert case.reasons == {"r-2": "could not be read (KeyError)"}
    assert MARKER not in caplog.text


def test_an_advertising_id_in_upper_and_lower_case_is_sent_twice(case: IntakeCase) -> None:
    """Batch keeps an advertising id as the device wrote it, so both spellings are sent."""
    both = ["abcdef00-0000-4000-8000-000000000001", "ABCDEF00-0000-4000-8000-000000000001"]
    case.put(Row("r-1", advertising_id=both, accounts=["batch"]))
    assert case.run().new == 1
    assert [s["identifiers"]["advertising_id"] for s in case.submissions] == both


def test_an_account_that_does_not_apply_has_a_reason(case: IntakeCase) -> None:
    """The receipt names each account of the deployment, so an account that does not apply needs a reason."""
    case.put(Row("r-1", "access", user_id="u1", email="a@example.com"))
    case.run()
    found = {s["account"]: (s["state"], s["reason"]) for s in case.submissions}
    assert found["besitos"] == ("planned", None)
    assert found["id5"] == ("not_applicable", "accepts no access requests")


def test_an_access_request_that_no_account_can_serve_needs_an_answer(case: IntakeCase) -> None:
    """ID5 and Attentive hold e-mail addresses, but have no API for access. An operator must answer."""
    case.put(Row("r-1", "access", email="a@example.com"))
    assert case.run().new == 1
    request = case.requests["r-1"]
    assert (request["status"], request["needs_answer"]) == ("in_progress", True)
    assert request["not_asked"] == ["id5", "attentive"]
    assert case.in_source["r-1"]["status"] == "in_progress"


def test_a_request_names_the_accounts_that_are_not_asked(case: IntakeCase) -> None:
    """An account is left out if it accepts the identifiers and has no API for the action. An account that
    does not accept the identifiers holds no data under them.
    """
    case.put(
        Row("r-1", "access", user_id="u1", phone="+12025550147"),
        Row("r-2", "access", user_id="u1"),
        Row("r-3", "erasure", user_id="u1", email="a@example.com"),
        Row("r-4", "access", user_id="u1", email="a@example.com", accounts=["besitos"]),
    )
    case.run()
    assert {name: request["not_asked"] for name, request in case.requests.items()} == {
        "r-1": ["attentive"],
        "r-2": [],
        "r-3": [],
        "r-4": [],
    }
    assert not any(request["needs_answer"] for request in case.requests.values())


@pytest.mark.parametrize(
    ("law", "received", "due"),
    [
        ("GDPR", "2026-10-15T10:00:00+00:00", "2026-11-15T10:00:00+00:00"),
        ("CCPA", "2026-01-15T10:00:00+00:00", "2026-03-01T10:00:00+00:00"),
        ("lgpd", "2026-01-15T10:00:00+00:00", "2026-01-30T10:00:00+00:00"),
    ],
)
def test_the_due_date_follows_from_the_regulation(
    case: IntakeCase, law: str, received: str, due: str
) -> None:
    """GDPR allows one calendar month, CCPA 45 days, LGPD 15 days. A due date in the source has priority."""
    own, legal = datetime(2027, 1, 1, tzinfo=UTC), datetime.fromisoformat(due)
    case.put(Row("r-1", "delete", law, received, user_id="u1"))
    case.put(Row("r-2", "delete", law, received, user_id="u2", due_at=own))
    case.run()
    assert {name: row["due_at"] for name, row in case.requests.items()} == {"r-1": legal, "r-2": own}
    assert {s["due_at"] for s in case.submissions if s["request_id"] == "r-1"} == {legal}
    assert {name: (row["status"], row["due_at"]) for name, row in case.in_source.items()} == {
        "r-1": ("in_progress", legal),
        "r-2": ("in_progress", own),
    }


def test_days_are_counted_and_stored_in_the_zone_of_the_request() -> None:
    """A time without a zone is in the zone of the deployment. The receipt of a CCPA request must be
    confirmed.
    """
    row = {"request_id": "r-1", "request_type": "erasure", "regulation": "CCPA", "user_id": "u1"}
    rules = replace(RULES, regulations=Regulations((CCPA,), zone="America/New_York"))
    local, offset = (
        rules.read({**row, "received_at": f"2026-02-27T21:30:00{given}"}, datetime.now(UTC))
        for given in ("", "-05:00")
    )
    assert (local.zone, offset.zone) == ("America/New_York", "-05:00")
    for request in (local, offset):
        assert (request.due_at.month, request.due_at.day, request.due_at.hour) == (4, 13, 21)
        assert request.ack_due_at is not None and request.ack_due_at.day == 13


def test_id5_gets_no_request_under_a_law_without_a_jurisdiction() -> None:
    """ID5 accepts only GDPR and CCPA. The reason names the law."""
    row = {"request_id": "r-1", "request_type": "erasure", "user_id": "u1", "email": "a@example.com"}
    for law, jurisdiction in (("UK GDPR", "GDPR"), ("LGPD", None)):
        request = RULES.read({**row, "regulation": law, "received_at": PAST}, datetime.now(UTC))
        assert request.jurisdiction == jurisdiction
        reasons = {s.reason for s in request.submissions if s.account == "id5"}
        assert reasons == ({None} if jurisdiction else {"accepts no requests under LGPD"})


@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY"])
def test_times_do_not_depend_on_the_date_style_of_the_server(case: IntakeCase, style: str) -> None:
    """A server, a database or a role can have its own DateStyle."""
    name = sql.Identifier(case.db.info.dbname)
    case.db.execute(sql.SQL("ALTER DATABASE {} SET DateStyle = {}").format(name, sql.Literal(style)))
    case.put(Row("r-1", user_id="u1", received_at="2026-11-02T10:00:00+00:00"))
    assert case.run().new == 1
    assert case.requests["r-1"]["received_at"] == datetime(2026, 11, 2, 10, tzinfo=UTC)
