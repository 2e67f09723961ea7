"""The report stage writes the register, the summary, and a sentence for each required action."""

from __future__ import annotations

import csv
import io
import logging
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from include.dsar.delivery.storage import Storage
from include.dsar.ledger import closing, planning, reporting
from include.dsar.ledger.closing import Closed
from include.dsar.ledger.database import Database
from include.dsar.model import Status
from include.dsar.stages.report import Report
from tests.integration.requests_given import plan, put_into, request, rows, submission

RUN = datetime(2026, 11, 20, 3, tzinfo=UTC)
MARKER = "jane-marker"
ACCOUNTS = ("besitos", "batch", "id5", "attentive")


def report(db: Database, storage: Storage, run_after: datetime = RUN, **options: object) -> list[str]:
    """Returns the sentences of a report that runs one hour after the run was due."""
    return a_report(db, storage, run_after, **options).run()


def a_report(db: Database, storage: Storage, run_after: datetime = RUN, **options: object) -> Report:
    return Report(
        db,
        storage,
        run_after,
        ACCOUNTS,
        clock=lambda: run_after + timedelta(hours=1),
        **options,  # type: ignore[arg-type]
    )


def reported(db: Database, storage: Storage, run_after: datetime) -> list[str]:
    """Returns the sentences of a report after its task has logged them."""
    one = a_report(db, storage, run_after)
    sentences = one.run()
    one.mark_reported()
    return sentences


def register(storage: Storage) -> list[dict[str, str]]:
    with storage.open("register/2026-11-20.csv") as stream:
        return list(csv.DictReader(io.StringIO(stream.read().decode())))


def ended(
    db: Database, request_id: str, state: str, *, finished_at: datetime = RUN, **columns: object
) -> None:
    ids = [row["id"] for row in rows(db) if row["request_id"] == request_id]
    put_into(db, ids, {"state": state, "finished_at": finished_at, "attempts": 1, **columns})


def close(db: Database, request_id: str, status: Status, at: datetime) -> None:
    closing.close(
        db, [Closed(n, status, None, "file:///x") for n in planning.request_pks_of(db, [request_id])], now=at
    )


def test_the_register_has_a_line_for_each_request_and_account(db: Database, storage: Storage) -> None:
    """The register lists open requests and requests that were closed on this UTC day. It contains no
    identifiers.
    """
    plan(
        db,
        request("open", submission(MARKER), submission(MARKER, "batch")),
        request("today"),
        request("yesterday", submission("u9")),
    )
    for name, at in (("today", RUN.replace(hour=0)), ("yesterday", RUN - timedelta(hours=4))):
        ended(db, name, "completed", submitted_at=RUN)
        close(db, name, Status.COMPLETED, at)
    report(db, storage)
    lines = register(storage)
    assert [(line["request_id"], line["account"], line["outcome"], line["status"]) for line in lines] == [
        ("open", "batch", "planned", "in_progress"),
        ("open", "besitos", "planned", "in_progress"),
        ("today", "besitos", "completed", "completed"),
    ]
    assert lines[2]["closed_at"] == "2026-11-20T00:00:00+00:00"
    assert MARKER not in repr(lines)


def test_a_later_run_of_the_day_replaces_the_register(db: Database, storage: Storage) -> None:
    report(db, storage)
    assert register(storage) == []
    plan(db, request("r-1"))
    report(db, storage)
    assert len(register(storage)) == 1


@pytest.mark.parametrize("later", ["the same run, cleared", "a run that never reported"])
def test_an_old_report_that_is_cleared_leaves_the_register_of_its_day(
    db: Database, storage: Storage, later: str
) -> None:
    """If an old report is cleared, it does not write the register of its day again, because the ledger has
    only the states of today.
    """
    plan(db, request("r-1"))
    reported(db, storage, RUN)
    before = register(storage)
    if later == "the same run, cleared":
        cleared = replace(a_report(db, storage), clock=lambda: RUN + timedelta(days=1))
    else:
        reported(db, storage, RUN + timedelta(days=1))
        cleared = a_report(db, storage, RUN + timedelta(hours=2))
    plan(db, request("r-2"))
    cleared.run()
    assert register(storage) == before
    assert len(before) == 1


def test_the_first_report_of_a_run_writes_the_register_after_midnight(db: Database, storage: Storage) -> None:
    plan(db, request("r-1"))
    replace(a_report(db, storage), clock=lambda: RUN + timedelta(days=1)).run()
    assert len(register(storage)) == 1


def test_there_is_no_sentence_if_there_is_nothing_to_do(
    db: Database, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has only the summary. It has no identifiers."""
    caplog.set_level(logging.INFO)
    plan(db, request("r-1", submission(MARKER)), request("r-2"))
    ended(db, "r-2", "completed")
    assert report(db, storage) == []
    assert re.search(r"\n +planned +completed +due soonest\nbesitos +1 +1 +2026-", caplog.text)
    assert MARKER not in caplog.text


def test_there_is_one_sentence_for_each_thing_to_do(db: Database, storage: Storage) -> None:
    """The sentences name overdue, failed, refused and held requests, by account and request id."""
    reporting.reported(db, RUN - timedelta(days=1), at=RUN - timedelta(hours=12))
    late = RUN + timedelta(minutes=30)
    plan(
        db,
        request("late", submission("a"), due_at=late),
        request("failed", submission("b", "batch")),
        request("refused", submission("d", "attentive")),
        request("held", submission("e", "id5")),
        request("asked", submission("f", "batch")),
    )
    ended(db, "failed", "failed")
    ended(db, "refused", "rejected")
    for name in ("held", "asked"):
        ended(db, name, "uncertain", finished_at=None)  # type: ignore[arg-type]
    overdue, failed, refused, held = report(db, storage, held=["id5"])
    assert overdue.startswith("Past the legal due date: 1 request (late)")
    assert failed.startswith("batch failed for 1 request (failed)")
    assert "retry_failed" in failed
    assert refused.startswith("attentive refused the identifiers of 1 request (refused)")
    assert held.startswith("It is not known whether id5 accepted 1 request (held)")


def test_a_sentence_names_at_most_ten_requests(db: Database, storage: Storage) -> None:
    """A sentence names at most ten requests. The register has all of them."""
    plan(db, *(request(f"r-{n:02}", due_at=RUN - timedelta(days=1)) for n in range(14)))
    (sentence,) = report(db, storage)
    assert "14 requests (r-00, " in sentence
    assert "r-09 and 4 more)" in sentence
    assert len(register(storage)) == 14


DAY = timedelta(days=1)


def test_a_failure_is_in_each_report(db: Database, storage: Storage) -> None:
    """A failure is reported until an operator retries or acknowledges it."""
    plan(db, *(request(name, submission(name, "batch")) for name in ("failed", "refused")))
    ended(db, "failed", "failed")
    ended(db, "refused", "rejected", finished_at=RUN + timedelta(hours=3))
    close(db, "failed", Status.FAILED, RUN)
    for days in range(3):
        failed, refused = reported(db, storage, RUN + days * DAY)
        assert failed.startswith("batch failed for 1 request (failed)")
        assert refused.startswith("batch refused the identifiers of 1 request (refused)")


def test_open_submissions_at_an_account_that_is_not_listed_are_reported(
    db: Database, storage: Storage
) -> None:
    """The report names the open submissions of an unlisted account before they are overdue. Ended
    submissions need no action.
    """
    plan(
        db,
        request("r-1", submission("a", "batch_ios"), submission("a")),
        request("r-2", submission("b", "batch_ios")),
        request("r-3", submission("c", "batch_old")),
    )
    ended(db, "r-2", "uncertain", finished_at=None)  # type: ignore[arg-type]
    ended(db, "r-3", "completed")
    (sentence,) = report(db, storage)
    assert sentence.startswith("batch_ios has open submissions (planned 1, uncertain 1)")
    assert "Add the account again" in sentence
