"""Intake: what rows of the source become, and what bad ones cannot do."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy import create_engine, event

from include.dsar.errors import ConfigurationError, SettingDiffers, SourceUnavailable
from include.dsar.intake import source as source_module
from include.dsar.intake.rows import Rules
from include.dsar.intake.source import Source
from include.dsar.intake.write_back import write_back
from include.dsar.ledger import closing, planning, staging
from include.dsar.ledger.closing import Closed
from include.dsar.ledger.database import Database
from include.dsar.ledger.staging import PlannedRequest
from include.dsar.model import Status
from include.dsar.stages.intake import Intake, TakenIn
from tests.integration.conftest import Row, put, source_rows
from tests.integration.requests_given import NOW, RULES, events, put_into, rows

MARKER = "jane-marker"
PAST = "2026-11-01T10:00:00+00:00"


def take_in(db: Database, source: Source, **options: Any) -> TakenIn:
    return Intake(db, source, RULES, **options).run()


def reasons(dsn: str) -> dict[str, str]:
    return {
        name: row["status_reason"] for name, row in source_rows(dsn).items() if row["status"] == "invalid"
    }


def requests(db: Database) -> dict[str, dict[str, Any]]:
    return {row["request_id"]: row for row in db.execute("SELECT * FROM dsar.request").fetchall()}


BAD_CELLS: dict[str, tuple[dict[str, Any], str]] = {
    "sql": ({"email": f"{MARKER}'; DROP TABLE dsar.request; --"}, "malformed email"),
    "html": ({"email": f"<script>{MARKER}</script>"}, "malformed email"),
    "formula": ({"phone": f'=HYPERLINK("{MARKER}")'}, "malformed phone"),
    "control": ({"user_id": f"{MARKER}\x07"}, "user_id holds control characters"),
    "newline": ({"user_id": f"{MARKER}\nX-Header: 1"}, "user_id holds control characters"),
    "large": ({"user_id": MARKER + "x" * 1_000_000}, "user_id is longer than 512 characters"),
    "many": ({"user_id": [f"{MARKER}{n}" for n in range(51)]}, "user_id: more than 50 values"),
    "no-country": ({"phone": "0170 1234567"}, "phone has no country code, and no PHONE_REGION is set"),
    "no-uuid": ({"advertising_id": MARKER}, "advertising_id is not a UUID"),
    "zeros": (
        {"advertising_id": "00000000-0000-0000-0000-000000000000"},
        "advertising_id is all zeros: the device withholds it",
    ),
    "no-id5": ({"id5_id": MARKER}, "id5_id begins with neither ID5* nor ID5-"),
    "nobody": ({"user_id": "  "}, "no usable identifier: email to id5_id are all empty"),
    "not-taken": (
        {"email": f"{MARKER}@example.com", "request_type": "access"},
        "no usable identifier: no account takes an access request by email",
    ),
    "type": ({"user_id": "u", "request_type": MARKER}, "unknown request_type"),
    "no-type": ({"user_id": "u", "request_type": None}, "unknown request_type"),
    "law": ({"user_id": "u", "regulation": MARKER}, "unknown regulation: expected GDPR or CCPA"),
    "account": ({"user_id": "u", "accounts": MARKER}, "unknown account: this deployment has"),
    "future": ({"user_id": "u", "received_at": "2099-01-01T00:00:00+00:00"}, "received_at is in the future"),
    "ancient": ({"user_id": "u", "received_at": "1900-01-01T00:00:00+00:00"}, "received_at is out of range"),
    "no-time": ({"user_id": "u", "received_at": None}, "received_at is empty"),
    "far-due": ({"user_id": "u", "due_at": "9000-01-01T00:00:00+00:00"}, "due_at is out of range"),
}


def test_each_bad_row_gets_its_reason_and_stops_nobody_else(
    dsn: str, db: Database, source_table: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the reason nor the log holds the value; good rows before and after are taken in."""
    caplog.set_level(logging.DEBUG)
    put(dsn, Row("a-good", user_id="u1"))
    put(dsn, *(Row(name, **cells) for name, (cells, _) in BAD_CELLS.items()))
    put(dsn, Row("z-good", user_id="u2", email="a@example.com"))
    taken = take_in(db, source_table)
    assert (taken.rows, taken.new, taken.invalid) == (len(BAD_CELLS) + 2, 2, len(BAD_CELLS))
    assert set(requests(db)) == {"a-good", "z-good"}
    told = reasons(dsn)
    assert {name: told[name].startswith(reason) for name, (_, reason) in BAD_CELLS.items()} == dict.fromkeys(
        BAD_CELLS, True
    )
    assert MARKER not in repr(told) + caplog.text


@pytest.mark.parametrize(
    "request_id",
    ["../x", "a/b", "a\\b", ".x", "-rf", "a b", " a", "a\n", "x" * 129, "ä", "a;b", "=1+1", "%2e%2e"],
)
def test_an_unsafe_request_id_is_refused_and_not_logged(
    dsn: str, db: Database, source_table: Source, caplog: pytest.LogCaptureFixture, request_id: str
) -> None:
    """It becomes part of paths; its row is found and told all the same."""
    put(dsn, Row(request_id, user_id="u1"), Row("good", user_id="u2"))
    assert take_in(db, source_table).invalid == 1
    assert "unsafe request_id" in source_rows(dsn)[request_id]["status_reason"]
    assert "row 1 (its request_id is not shown) is invalid" in caplog.text
    assert set(requests(db)) == {"good"}


def test_normal_forms_of_what_people_write_are_taken(dsn: str, db: Database, source_table: Source) -> None:
    """Words in any case, repeats, blanks, and the zone of a time."""
    put(
        dsn,
        Row(
            "r-1",
            " Portability ",
            "gdpr",
            "2026-11-01T10:00:00+05:00",
            user_id=["7", " 7 ", "", "8"],
            advertising_id=["ABCDEF00-0000-4000-8000-000000000001", None],
            accounts=["besitos", "batch"],
        ),
    )
    assert take_in(db, source_table).new == 1
    planned = [(row["account"], row["identifiers"]) for row in rows(db)]
    assert sorted(planned, key=repr) == [
        ("batch", {"advertising_id": "ABCDEF00-0000-4000-8000-000000000001"}),
        ("batch", {"user_id": "7"}),
        ("batch", {"user_id": "8"}),
        ("besitos", {"user_id": "7"}),
        ("besitos", {"user_id": "8"}),
    ]
    assert requests(db)["r-1"]["received_at"] == datetime(2026, 11, 1, 5, tzinfo=UTC)


def test_an_advertising_id_in_two_cases_stops_nobody(dsn: str, db: Database, source_table: Source) -> None:
    """Both are sent, since Batch keeps an id as the device wrote it."""
    both = ["abcdef00-0000-4000-8000-000000000001", "ABCDEF00-0000-4000-8000-000000000001"]
    put(dsn, Row("r-1", advertising_id=both, accounts=["batch"]), Row("r-2", user_id="u"))
    assert take_in(db, source_table).new == 2
    assert [row["identifiers"]["advertising_id"] for row in rows(db) if row["request_id"] == "r-1"] == both


def test_what_does_not_apply_says_why(dsn: str, db: Database, source_table: Source) -> None:
    """Each account of the deployment appears in the receipt, with its reason."""
    put(dsn, Row("r-1", "access", user_id="u1", email="a@example.com"))
    take_in(db, source_table)
    found = {row["account"]: (row["state"], row["reason"]) for row in rows(db)}
    assert found["besitos"] == ("planned", None)
    assert found["id5"] == ("not_applicable", "takes no access requests")


@pytest.mark.parametrize(
    ("law", "received", "due"),
    [
        ("GDPR", "2026-01-31T10:00:00+00:00", "2026-02-28T10:00:00+00:00"),
        ("GDPR", "2024-01-31T10:00:00+00:00", "2024-02-29T10:00:00+00:00"),
        ("GDPR", "2026-10-15T10:00:00+00:00", "2026-11-15T10:00:00+00:00"),
        ("CCPA", "2026-01-15T10:00:00+00:00", "2026-03-01T10:00:00+00:00"),
    ],
)
def test_the_due_date_follows_from_the_law(
    dsn: str, db: Database, source_table: Source, law: str, received: str, due: str
) -> None:
    """GDPR: a calendar month; CCPA: 45 days; one that the source brings wins. The source learns it."""
    own = datetime(2027, 1, 1, tzinfo=UTC)
    put(dsn, Row("r-1", "delete", law, received, user_id="u1"))
    put(dsn, Row("r-2", "delete", law, received, user_id="u2", due_at=own))
    take_in(db, source_table)
    assert requests(db)["r-1"]["due_at"] == datetime.fromisoformat(due)
    assert requests(db)["r-2"]["due_at"] == own
    assert {row["due_at"] for row in rows(db) if row["request_id"] == "r-1"} == {datetime.fromisoformat(due)}
    told = source_rows(dsn)
    assert (told["r-1"]["status"], told["r-1"]["due_at"]) == ("in_progress", datetime.fromisoformat(due))
    assert told["r-2"]["due_at"] == own


@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY"])
def test_times_are_read_however_the_server_writes_them(
    dsn: str, db: Database, source_table: Source, style: str
) -> None:
    """A server, a database or a role may have a DateStyle of its own."""
    name = sql.Identifier(db.info.dbname)
    db.execute(sql.SQL("ALTER DATABASE {} SET DateStyle = {}").format(name, sql.Literal(style)))
    put(dsn, Row("r-1", user_id="u1", received_at="2026-11-02T10:00:00+00:00"))
    assert take_in(db, source_table).new == 1
    assert requests(db)["r-1"]["received_at"] == datetime(2026, 11, 2, 10, tzinfo=UTC)


def test_running_it_twice_plans_nothing_twice(dsn: str, db: Database, source_table: Source) -> None:
    """A row that still says pending is known, and the source is told again."""
    put(dsn, Row("r-1", user_id="u1"), Row("r-2", user_id="u2"))
    take_in(db, source_table)
    before = rows(db)
    with psycopg.connect(dsn) as other:
        other.execute("UPDATE public.dsar_requests SET status = 'pending' WHERE request_id = 'r-2'")
    again = take_in(db, source_table)
    assert (again.rows, again.new, again.known) == (1, 0, 1)
    assert rows(db) == before
    assert source_rows(dsn)["r-2"]["status"] == "in_progress"


def test_a_row_that_was_changed_after_it_was_accepted_is_named(
    dsn: str, db: Database, source_table: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """The order of a list, or accounts added to the deployment, are no change."""
    put(dsn, Row("r-1", user_id=["a", "b"]), Row("r-2", user_id=[MARKER]))
    take_in(db, source_table)
    with psycopg.connect(dsn) as other:
        other.execute("UPDATE public.dsar_requests SET status = 'pending'")
        other.execute("UPDATE public.dsar_requests SET user_id = ARRAY['b', 'a'] WHERE request_id = 'r-1'")
        other.execute("UPDATE public.dsar_requests SET user_id = ARRAY['c'] WHERE request_id = 'r-2'")
    fewer = type(RULES)(RULES.accounts[:3], None, RULES.hash_key)
    again = Intake(db, source_table, fewer).run()
    assert (again.known, again.changed) == (1, 1)
    assert "request r-2 is in the ledger, but row 2 asks something else" in caplog.text
    assert MARKER not in caplog.text


def test_only_the_requests_asked_for_are_taken_in(dsn: str, db: Database, source_table: Source) -> None:
    """Others stay as they are, bad ones too; a dry run counts only these as well."""
    put(
        dsn, *(Row(f"r-{n}", user_id=f"u{n}", accounts=["batch"]) for n in range(3)), Row("../x", user_id="u")
    )
    take_in(db, source_table, request_ids=["r-0"])
    assert set(requests(db)) == {"r-0"}
    assert [row["status"] for row in source_rows(dsn).values()].count("pending") == 3
    dry = take_in(db, source_table, request_ids=["r-1"], dry_run=True)
    assert (dry.rows, dry.would_send) == (1, {"batch": {"erasure": 1}})


LEDGER = ("dsar.request", "dsar.submission", "dsar.event", "dsar.deployment", "dsar.report")


def dump(dsn: str) -> list[Any]:
    with psycopg.connect(dsn) as db:
        return [
            db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            for table in (*LEDGER, "public.dsar_requests")
        ]


def finished(db: Database, request_id: str, *, closed: bool, **state: Any) -> None:
    """All submissions of a request in that state."""
    ids = [row["id"] for row in rows(db) if row["request_id"] == request_id and row["state"] == "planned"]
    put_into(db, ids, {"attempts": 1, "finished_at": NOW, **state})
    if closed:
        (ref,) = planning.request_pks_of(db, [request_id])
        closing.close(db, [Closed(ref, Status.FAILED, "batch: failed", "file:///x")], now=NOW)


def test_a_dry_run_counts_exactly_and_leaves_everything_as_it_was(
    dsn: str, db: Database, source_table: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New rows, rows planned before, and failures to be tried again are what a real run then plans."""
    monkeypatch.setattr(source_module, "CHUNK_ROWS", 2)
    put(dsn, *(Row(n, user_id=n, accounts=["batch"]) for n in ("planned", "open-failed", "closed-failed")))
    take_in(db, source_table)
    finished(db, "open-failed", closed=False, state="failed")
    finished(db, "closed-failed", closed=True, state="failed")
    with psycopg.connect(dsn) as other:
        other.execute("UPDATE public.dsar_requests SET status = 'failed' WHERE request_id = 'closed-failed'")
    put(dsn, *(Row(f"n-{n}", "access", user_id=f"n{n}", accounts=["batch", "besitos"]) for n in range(3)))
    put(dsn, Row("bad", user_id="\x07"), Row("id5", email="a@example.com", accounts=["id5"]))
    before = dump(dsn)
    dry = take_in(db, source_table, dry_run=True, retry_failed=True)
    assert dump(dsn) == before
    assert dry.would_send == {
        "batch": {"access": 3, "erasure": 3},
        "besitos": {"access": 3},
        "id5": {"erasure": 1},
    }
    real = take_in(db, source_table, retry_failed=True)
    planned = planning.planned(db)
    assert planned == dry.would_send
    counts = ("rows", "new", "known", "reopened", "invalid", "retried")
    assert [getattr(real, name) for name in counts] == [getattr(dry, name) for name in counts]
    assert (real.new, real.reopened, real.invalid, real.retried) == (4, 1, 1, 1)


def test_retry_failed_plans_what_failed_once_more(dsn: str, db: Database, source_table: Source) -> None:
    """A closed request gets its identifiers back from the source, by their hash; the reason is on record."""
    put(dsn, Row("r-1", user_id=["a", "b"], email="x@example.com", accounts=["batch", "id5"]))
    take_in(db, source_table)
    one, two, mail = rows(db)
    put_into(db, [one["id"], mail["id"]], {"state": "completed", "attempts": 1, "finished_at": NOW})
    finished(db, "r-1", closed=True, state="failed", reason="the job failed")
    assert all(row["identifiers"] is None for row in rows(db))
    with psycopg.connect(dsn) as other:
        other.execute("UPDATE public.dsar_requests SET status = 'partial', user_id = ARRAY['b', 'a']")
    assert take_in(db, source_table).rows == 0
    again = take_in(db, source_table, retry_failed=True)
    assert (again.reopened, again.retried, again.known) == (1, 0, 0)
    after = rows(db)
    assert [row["state"] for row in after] == ["completed", "planned", "completed"]
    assert [row["identifiers"] for row in after] == [None, two["identifiers"], None]
    assert (requests(db)["r-1"]["status"], requests(db)["r-1"]["closed_at"]) == ("in_progress", None)
    assert source_rows(dsn)["r-1"]["status"] == "in_progress"
    (noted,) = events(db)
    assert (noted["leaves"], noted["enters"], noted["reason"]) == ("failed", "planned", planning.REASON_RETRY)


def test_an_account_added_since_does_not_keep_a_failed_request_from_being_tried_again(
    dsn: str, db: Database, source_table: Source
) -> None:
    """What the person asked for has not changed."""
    fewer = type(RULES)(RULES.accounts[:2], None, RULES.hash_key)
    put(dsn, Row("r-1", user_id="a"))
    Intake(db, source_table, fewer).run()
    finished(db, "r-1", closed=True, state="failed")
    with psycopg.connect(dsn) as other:
        other.execute("UPDATE public.dsar_requests SET status = 'failed'")
    again = take_in(db, source_table, retry_failed=True)
    assert (again.reopened, again.changed) == (1, 0)


@pytest.fixture
def keyless(dsn: str) -> None:
    """A source that lets a request_id stand there more than once."""
    with psycopg.connect(dsn) as other:
        other.execute("ALTER TABLE public.dsar_requests DROP CONSTRAINT dsar_requests_pkey")


def test_repeated_ids_are_taken_once_within_and_across_chunks(
    dsn: str,
    db: Database,
    source_table: Source,
    keyless: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same row many times over does no harm; the log names it, and is not flooded."""
    monkeypatch.setattr(source_module, "CHUNK_ROWS", 7)
    put(dsn, *(Row("same", user_id="u") for n in range(60)), Row("other", user_id="u"))
    taken = take_in(db, source_table)
    assert (taken.rows, taken.new, taken.repeated, taken.invalid) == (61, 2, 59, 0)
    assert 1 <= caplog.text.count("more than once") <= 20


ALICE, BOB = Row("r-1", "access", user_id="alice"), Row("r-1", "access", user_id="bob")
NONSENSE = Row("r-1", "nonsense", user_id=MARKER)
OTHERS = [Row("r-2", "access", user_id="u2"), Row("r-3", "access", user_id="u3")]


@pytest.mark.parametrize("chunk", [10_000, 2], ids=["one chunk", "several"])
@pytest.mark.parametrize(
    "of_one_id",
    [[ALICE, BOB], [ALICE, NONSENSE], [NONSENSE, ALICE], [ALICE, BOB, ALICE]],
    ids=["two persons", "then a bad one", "first a bad one", "three"],
)
def test_rows_that_contradict_each_other_are_all_refused(
    dsn: str,
    db: Database,
    source_table: Source,
    keyless: None,
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
    of_one_id: list[Row],
) -> None:
    """Else one person would be shown what is another's. A dry run says the same, and changes nothing."""
    monkeypatch.setattr(source_module, "CHUNK_ROWS", chunk)
    monkeypatch.setattr(staging, "ROWS_PER_TRANSACTION", chunk)
    put(dsn, of_one_id[0], *OTHERS, *of_one_id[1:])
    before = dump(dsn)
    dry = take_in(db, source_table, dry_run=True)
    assert dump(dsn) == before
    taken = take_in(db, source_table)
    assert (taken.rows, taken.new, taken.invalid) == (2 + len(of_one_id), 2, len(of_one_id))
    assert set(requests(db)) == {"r-2", "r-3"}
    assert dry.would_send == planning.planned(db) == {"besitos": {"access": 2}, "batch": {"access": 2}}
    assert (dry.rows, dry.new, dry.invalid, dry.changed) == (taken.rows, taken.new, taken.invalid, 0)
    with psycopg.connect(dsn) as other:
        told = other.execute(
            "SELECT status, status_reason FROM public.dsar_requests WHERE request_id = 'r-1'"
        ).fetchall()
    assert set(told) == {("invalid", "the source has this request_id more than once, with different content")}


@pytest.mark.parametrize("chunk", [10_000, 2], ids=["one chunk", "several"])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_request_that_is_under_way_stays_whatever_contradicts_it(
    dsn: str,
    db: Database,
    source_table: Source,
    keyless: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    chunk: int,
    dry_run: bool,
) -> None:
    """What was sent cannot be taken back: the other row is counted, named, and left as it is."""
    monkeypatch.setattr(source_module, "CHUNK_ROWS", chunk)
    monkeypatch.setattr(staging, "ROWS_PER_TRANSACTION", chunk)
    put(dsn, ALICE)
    take_in(db, source_table)
    first, *_ = rows(db)
    put_into(db, [first["id"]], {"state": "submitted", "attempts": 1, "attempted_at": NOW, "job_id": "j"})
    before = rows(db)
    with psycopg.connect(dsn) as other:
        other.execute("UPDATE public.dsar_requests SET status = 'pending'")
    put(dsn, *OTHERS, BOB)
    taken = take_in(db, source_table, dry_run=dry_run)
    assert (taken.known, taken.new, taken.changed, taken.invalid) == (1, 2, 1, 0)
    assert [row for row in rows(db) if row["request_id"] == "r-1"] == before
    assert (
        "request r-1 is in the ledger, but row 4 cannot be used (the source has this request_id more"
        in caplog.text
    )


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    "purged",
    ["UPDATE public.dsar_requests SET user_id = NULL", "UPDATE public.dsar_requests SET accounts = '{gone}'"],
    ids=["identifiers", "account"],
)
def test_a_row_that_has_become_bad_keeps_what_became_of_its_request(
    dsn: str,
    db: Database,
    source_table: Source,
    caplog: pytest.LogCaptureFixture,
    purged: str,
    dry_run: bool,
) -> None:
    """A company erases a person's identifiers once they are erased everywhere: the record of it stays."""
    put(dsn, Row("r-1", user_id="a", accounts=["batch"]))
    take_in(db, source_table)
    finished(db, "r-1", closed=True, state="failed")
    write_back(db, source_table)
    with psycopg.connect(dsn) as other:
        other.execute(purged)
    before = source_rows(dsn)
    assert (before["r-1"]["status"], before["r-1"]["export_uri"]) == ("failed", "file:///x")
    taken = take_in(db, source_table, retry_failed=True, dry_run=dry_run)
    assert (taken.changed, taken.invalid, taken.reopened) == (1, 0, 0)
    assert source_rows(dsn) == before
    assert "request r-1 is in the ledger, but row 1 cannot be used (" in caplog.text


@pytest.mark.parametrize("retry_failed", [True, False])
@pytest.mark.parametrize("dry_run", [True, False])
def test_another_hash_key_is_refused_before_anything_is_planned(
    dsn: str, db: Database, source_table: Source, retry_failed: bool, dry_run: bool
) -> None:
    """No request would be known again; the right key goes on where it was. The ledger has no key."""
    put(dsn, Row("r-1", user_id="a"))
    take_in(db, source_table)
    put(dsn, Row("r-2", user_id="b"))
    before = dump(dsn)
    other = type(RULES)(RULES.accounts, None, b"another")
    with pytest.raises(SettingDiffers, match="dsar_hash_key"):
        Intake(db, source_table, other, retry_failed=retry_failed, dry_run=dry_run).run()
    assert dump(dsn) == before
    assert take_in(db, source_table).new == 1
    (settled,) = db.execute("SELECT name, value FROM dsar.deployment").fetchall()
    assert settled["name"] == "hash_key"
    assert RULES.hash_key.decode() not in settled["value"]
    assert RULES.hash_key.hex() not in settled["value"]


def test_a_dry_run_settles_no_hash_key(dsn: str, db: Database, source_table: Source) -> None:
    """A key that was only tried is not the ledger's."""
    put(dsn, Row("r-1", user_id="a"))
    take_in(db, source_table, dry_run=True)
    other = type(RULES)(RULES.accounts, None, b"another")
    assert Intake(db, source_table, other).run().new == 1


def test_a_row_whose_status_the_source_refuses_stops_no_other(
    dsn: str, db: Database, source_table: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """All others are told; the task then says so, and the next run tries again."""
    with psycopg.connect(dsn) as other:
        other.execute(
            "ALTER TABLE public.dsar_requests ADD CHECK (request_id NOT LIKE '%narrow' OR length(status) < 8)"
        )
        other.execute("ALTER TABLE public.dsar_requests ADD CHECK (length(status_reason) < 60)")
    put(dsn, Row("a-1", user_id="u1"), Row("b-narrow", user_id="u2"), Row("c-1", user_id="u3"))
    put(dsn, Row("x-1", email="m"), Row("x-2", "unknown", user_id="u"), Row("x-3", user_id=""))
    with pytest.raises(ConfigurationError, match="refused the status of 1 requests"):
        take_in(db, source_table)
    told = {name: row["status"] for name, row in source_rows(dsn).items()}
    assert told == {
        "a-1": "in_progress", "b-narrow": "pending", "c-1": "in_progress",
        "x-1": "invalid", "x-2": "pending", "x-3": "invalid",
    }  # fmt: skip
    assert [n.request_id for n in closing.pending_write_backs(db, limit=9)] == ["b-narrow"]
    assert "23514" in caplog.text
    assert len(requests(db)) == 3


def test_a_broken_update_is_found_out_after_a_few_rows(
    dsn: str, db: Database, source_table: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Thousands of rows are not tried one by one; nothing is lost."""
    broken = tmp_path / "update_request.sql"
    broken.write_text("UPDATE public.nowhere SET status = :status WHERE id = :request_id")
    monkeypatch.setattr(source_module, "UPDATE", broken)
    put(dsn, *(Row(f"r-{n}", user_id=f"u{n}") for n in range(50)))
    tried = []
    monkeypatch.setattr(Source, "_update", counted(Source._update, tried))
    with pytest.raises(ConfigurationError, match="refused the status of 50 requests"):
        take_in(db, source_table)
    assert len(tried) <= 25
    assert len(requests(db)) == 50


def counted(function: Any, calls: list[Any]) -> Any:
    def call(*args: Any) -> Any:
        calls.append(args)
        return function(*args)

    return call


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "SELECT request_id, request_type FROM public.dsar_requests",
            "returns no column regulation, received_at",
        ),
        ("SELECT * FROM public.nowhere WHERE :retry_failed = 0", "42P01"),
        (f"SELECT *, ('{MARKER}' || request_id)::int FROM public.dsar_requests", "22P02"),
    ],
)
def test_a_query_that_fails_is_named_without_the_values_that_the_database_quotes(
    dsn: str, db: Database, source_table: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    statement: str, told: str,
) -> None:  # fmt: skip
    """The message has the file and the SQLSTATE."""
    put(dsn, Row("r-1", user_id="u1"))
    own = tmp_path / "pending_requests.sql"
    own.write_text(statement)
    monkeypatch.setattr(source_module, "PENDING", own)
    with pytest.raises(ConfigurationError, match=told) as raised:
        take_in(db, source_table)
    assert MARKER not in str(raised.value)
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_a_source_that_does_not_answer_is_worth_a_retry(db: Database) -> None:
    """No person has to mend anything where a database is only down."""
    nowhere = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nowhere")
    with pytest.raises(SourceUnavailable):
        take_in(db, Source(nowhere))


def test_columns_in_capitals_and_of_other_types_are_read(
    dsn: str, db: Database, source_table: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What other sources have: JSON, numbers with gaps, dates, uuids, and columns that are left out."""
    own = tmp_path / "pending_requests.sql"
    own.write_text(
        "SELECT id AS \"REQUEST_ID\", 'Delete' AS \"Request_Type\", 'ccpa' AS regulation,"
        " DATE '2026-11-01' AS received_at, number AS user_id, mails AS email FROM public.other"
        " WHERE :retry_failed = 0 ORDER BY number"
    )
    monkeypatch.setattr(source_module, "PENDING", own)
    with psycopg.connect(dsn) as other:
        other.execute("CREATE TABLE public.other (id uuid, number numeric, mails jsonb)")
        other.execute(
            "INSERT INTO public.other VALUES (%s, 7, NULL), (%s, 12345678901234567890, %s), (%s, 'NaN', %s)",
            [UUID(int=1), UUID(int=2), Jsonb(["A@Example.com", None]), UUID(int=3), Jsonb({"no": "list"})],
        )
    taken = Intake(db, source_table, RULES, dry_run=True).run()
    assert (taken.rows, taken.new, taken.invalid) == (3, 2, 1)
    assert taken.would_send["besitos"] == {"erasure": 2}
    assert taken.would_send["id5"] == {"erasure": 1}


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Source]:
    """A source in SQLite, its file attached as `public`, so that the same SQL files fit."""
    path = tmp_path / "source.sqlite"
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TABLE dsar_requests (request_id NUMERIC, request_type, regulation, received_at, due_at,"
            " email, phone, user_id, advertising_id, install_id, id5_id, accounts, status DEFAULT 'pending',"
            " status_reason, closed_at, export_uri)"
        )
        insert = "INSERT INTO dsar_requests (request_id, request_type, regulation, received_at, user_id) "
        for values in (
            ("r-1", "access", "GDPR", "2026-11-01 10:00:00", '["u1", "u2"]'),
            (7, "access", "GDPR", "2026-11-01T10:00:00Z", 42),
            ("naive", "access", "GDPR", "2026-11-01", "u3"),
            ("words", "access", "GDPR", "yesterday", "u4"),
            ("number", "access", "GDPR", 1762000000, "u5"),
            ("us-date", "access", "GDPR", "01/02/2026", "u6"),
            (None, "access", "GDPR", "2026-11-01", "u7"),
            (7.5, "access", "GDPR", "2026-11-01", "u8"),
            ("a\x00b", "access", "GDPR", "2026-11-01", "u9"),
            (b"bytes", "access", "GDPR", "2026-11-01", "u10"),
            ("list", "access", "GDPR", "2026-11-01", '["u11"'),
        ):
            db.execute(insert + "VALUES (?, ?, ?, ?, ?)", values)
    db.close()
    engine = create_engine(f"sqlite:///{tmp_path / 'main.sqlite'}", connect_args={"timeout": 0.2})
    event.listen(engine, "connect", lambda own, _: own.execute("ATTACH ? AS public", [str(path)]).close())
    yield Source(engine)
    engine.dispose()


def test_a_source_in_sqlite_works_as_well(
    db: Database, sqlite: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading in chunks does not keep the statuses from being written; times may be text."""
    monkeypatch.setattr(source_module, "CHUNK_ROWS", 2)
    taken = take_in(db, sqlite)
    assert (taken.rows, taken.new, taken.invalid) == (11, 3, 8)
    assert requests(db)["r-1"]["received_at"] == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert requests(db)["naive"]["received_at"] == datetime(2026, 11, 1, tzinfo=UTC)
    with sqlite3.connect(tmp_path / "source.sqlite") as source:
        told = {
            row[0]: row[1:]
            for row in source.execute("SELECT request_id, status, status_reason FROM dsar_requests")
        }
    source.close()
    assert told["r-1"] == ("in_progress", None)
    assert told[7] == ("in_progress", None)
    for name in ("words", "us-date", "number"):
        assert told[name] == ("invalid", "received_at is not a time in ISO 8601")
    assert told["list"] == ("invalid", "user_id: a list that is not JSON")
    assert told["a\x00b"][0] == "invalid"
    assert told[None] == told[7.5] == told[b"bytes"] == ("pending", None)


EMPTY = [None, float("nan"), pd.NaT, pd.NA, "", " ", [], "[]", "[null]", Decimal("NaN")]


@pytest.mark.parametrize("empty", EMPTY, ids=repr)
def test_every_way_of_writing_nothing_is_nothing(empty: Any) -> None:
    """An empty cell of an identifier, of accounts, and (but for lists) of a due date."""
    row = {"request_id": "r-1", "request_type": "access", "regulation": "GDPR", "received_at": PAST}
    request = RULES.read({**row, "user_id": "u1", "email": empty, "accounts": empty}, datetime.now(UTC))
    assert {s.account for s in request.submissions} == {account.name for account in RULES.accounts}
    if not isinstance(empty, list | Decimal) and "[" not in str(empty):
        due = RULES.read({**row, "user_id": "u1", "due_at": empty}, datetime.now(UTC)).due_at
        assert due == datetime.fromisoformat(PAST) + timedelta(days=30)


def test_an_intake_that_stops_in_the_middle_is_completed_by_the_next(
    dsn: str, db: Database, source_table: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is planned is complete, and stays. A retry on the same connection plans the rest."""
    monkeypatch.setattr(staging, "ROWS_PER_TRANSACTION", 2)
    put(dsn, *(Row(f"r-{n}", user_id=f"u{n}", accounts=["batch"]) for n in range(1, 6)))
    plan, ranges = planning.plan, []

    def stop(db: Database, numbers: range, **options: Any) -> Any:
        ranges.append(numbers)
        if len(ranges) == 2:
            raise psycopg.OperationalError("the server stopped")
        return plan(db, numbers, **options)

    monkeypatch.setattr(planning, "plan", stop)
    with pytest.raises(psycopg.OperationalError):
        take_in(db, source_table)
    assert [row["request_id"] for row in rows(db)] == ["r-1", "r-2"]
    taken = take_in(db, source_table)
    assert (taken.rows, taken.new, taken.known) == (5, 3, 2)
    assert [row["request_id"] for row in rows(db)] == [f"r-{n}" for n in range(1, 6)]


def test_thousands_of_rows_are_planned_in_bulk(dsn: str, db: Database, source_table: Source) -> None:
    """Nothing is done row by row: the statements of a chunk are as many as those of a row."""
    with psycopg.connect(dsn) as other:
        other.execute(
            "INSERT INTO public.dsar_requests (request_id, request_type, regulation, received_at, user_id)"
            " SELECT 'r-' || n, 'erasure', 'GDPR', now(), ARRAY['u' || n] FROM generate_series(1, 5000) n"
        )
    began = datetime.now(UTC)
    assert take_in(db, source_table).new == 5000
    assert datetime.now(UTC) - began < timedelta(seconds=20)
    assert len(rows(db)) == 4 * 5000


def test_requests_that_the_source_no_longer_has_are_said(
    dsn: str, db: Database, source_table: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """A status that finds no row is not told silently."""
    put(dsn, Row("r-1", user_id="u1"), Row("r-2", user_id="u2"))
    take_in(db, source_table)
    with psycopg.connect(dsn) as other:
        other.execute("DELETE FROM public.dsar_requests WHERE request_id = 'r-2'")
    db.execute("UPDATE dsar.request SET source_updated = false")
    assert write_back(db, source_table) == 2
    assert "update_request.sql found only 1 of 2 requests" in caplog.text


class Stumbling(Rules):
    """Rules with a mistake in them."""

    def read(self, row: Any, now: datetime) -> PlannedRequest:
        if row["request_id"] == "r-2":
            raise KeyError(MARKER)
        return super().read(row, now)


def test_a_row_that_we_stumble_over_in_an_unexpected_way_stops_no_other(
    dsn: str, db: Database, source_table: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """It is marked invalid with the kind of our own error; the others are taken in."""
    put(dsn, *(Row(f"r-{n}", user_id=f"u{n}") for n in range(1, 4)))
    taken = Intake(db, source_table, Stumbling(RULES.accounts, None, RULES.hash_key)).run()
    assert (taken.new, taken.invalid) == (2, 1)
    assert reasons(dsn) == {"r-2": "could not be read (KeyError)"}
    assert MARKER not in caplog.text
