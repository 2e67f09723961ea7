from __future__ import annotations

import json

from include.dsar.delivery.receipt import receipt
from include.dsar.model import Action, State
from tests.unit.delivery.delivery_samples import BESITOS, CLOSED, Delivery, as_json


def test_a_receipt_has_the_fields_of_the_public_interface() -> None:
    """Times are in UTC. A receipt names the kinds of identities, never their values."""
    delivery = Delivery().account("besitos", ("export.json", as_json(BESITOS)))
    delivery.account("id5", outcome=State.NOT_APPLICABLE, reason="accepts no access requests")
    document = json.loads(receipt(delivery.request, CLOSED))
    besitos, id5 = document.pop("accounts")
    assert document == {
        "request_id": "DSAR-42", "request_type": "access", "regulation": "GDPR", "status": "completed",
        "received_at": "2026-02-25T15:22:42Z", "due_at": "2026-03-04T09:05:07Z",
        "closed_at": "2026-03-04T09:05:07Z",
    }  # fmt: skip
    assert besitos["submissions"] == [
        {"identity": "user_id", "outcome": "completed", "reason": None, "job_id": "job-1",
         "submitted_at": "2026-02-25T15:22:42Z", "finished_at": "2026-03-04T09:05:07Z", "attempts": 1}
    ]  # fmt: skip
    assert id5["outcome"] == "not_applicable"
    assert id5["submissions"][0]["submitted_at"] is None
    assert id5["files"] == []


def test_the_files_of_a_receipt_are_in_the_package() -> None:
    """The files in a receipt have the same names and hashes as in the package, even if file names repeat."""
    delivery = Delivery().account(
        "besitos", ("export.json", b"{}"), ("Export.json", b"[]"), ("../../CON", b"x"), ("a b?.json", b"1")
    )
    files = json.loads(receipt(delivery.request, CLOSED))["accounts"][0]["files"]
    packaged = json.loads(delivery.unpacked()["manifest.json"])["files"]
    assert [file["path"] for file in files] == [
        "data/besitos/export.json", "data/besitos/Export_2.json", "data/besitos/_CON",
        "data/besitos/a_b_.json",
    ]  # fmt: skip
    assert all(file in packaged for file in files)


def test_the_receipt_of_an_erasure_has_no_files() -> None:
    delivery = Delivery(Action.ERASURE).account("besitos", ("export.json", b"{}"))
    assert json.loads(receipt(delivery.request, CLOSED))["accounts"][0]["files"] == []


def test_a_lone_surrogate_in_a_reason_gives_valid_json() -> None:
    delivery = Delivery().account("id5", outcome=State.FAILED, reason="\ud800")
    assert json.loads(receipt(delivery.request, CLOSED))["accounts"][0]["reason"] == "\ud800"
