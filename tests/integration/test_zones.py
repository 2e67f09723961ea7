"""The dates of a request are shown in its zone, everywhere."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from include.dsar.board import words
from include.dsar.delivery.page import page
from include.dsar.delivery.receipt import receipt
from include.dsar.delivery.storage import Storage
from include.dsar.ledger import closing, planning
from include.dsar.ledger.board import request_list
from include.dsar.ledger.database import Database
from include.dsar.stages.report import Report
from include.regulations import GDPR
from tests.integration.requests_given import plan, request

NEW_YORK = ZoneInfo("America/New_York")
RECEIVED = datetime(2026, 2, 28, 21, 30, tzinfo=NEW_YORK)  # 1 March in UTC


@pytest.mark.parametrize(("zone", "offset"), [("America/New_York", "-04:00"), ("-05:00", "-05:00")])
def test_the_data_subject_asked_on_the_day_of_the_request(
    db: Database, storage: Storage, zone: str, offset: str
) -> None:
    """A request of 28 February in New York is due on 28 March, although both days are later in UTC."""
    due = GDPR.due_at("access", RECEIVED)  # type: ignore[arg-type]
    plan(db, replace(request("r-1", received_at=RECEIVED, due_at=due), zone=zone))
    pks = planning.request_pks_of(db, ["r-1"])
    ((record,),) = list(closing.records(db, pks))
    closed_at = datetime(2026, 3, 2, 3, tzinfo=UTC)  # 1 March in New York
    text = page(record, closed_at, []).decode()
    assert "28 February 2026" in text
    assert "1 March 2026" in text
    document = json.loads(receipt(record, closed_at))
    assert document["received_at"] == "2026-02-28T21:30:00-05:00"
    assert document["due_at"][:10] == "2026-03-28"
    assert document["closed_at"] == "2026-03-01T22:00:00-05:00"
    (listed,) = request_list.listed(db, pks)
    assert words.local_moment(listed.received_at) == "2026-02-28 21:30:00 -05:00"
    assert words.day(listed.due_at) == "2026-03-28"
    Report(db, storage, run_after=RECEIVED + timedelta(days=1), accounts=["besitos"]).run()
    with storage.open("register/2026-03-02.csv") as file:
        (line,) = csv.DictReader(file.read().decode("utf-8-sig").splitlines())
    assert line["received_at"] == "2026-02-28T21:30:00-05:00"
    assert line["due_at"].endswith(offset)
