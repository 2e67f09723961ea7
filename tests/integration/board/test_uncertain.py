"""Pages about uncertain submissions say who must act, and how."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape

import pytest
from fastapi.testclient import TestClient

from include.dsar.intake.decisions import Decision, decide
from include.dsar.ledger.database import Database
from include.dsar.ledger.uncertain import MAX_UNCERTAIN_ATTEMPTS
from tests.conftest import SetConnection
from tests.integration.board.given import Rows

NOW = datetime.now(UTC)
HOLD = {"on_uncertain": "hold"}
UNCERTAIN = {"state": "uncertain"}
AT_BATCH = UNCERTAIN | {"account": "batch", "vendor": "batch"}
NEXT_RUN = "The next run tries to reconcile it"


def request_text(viewer: TestClient) -> str:
    return unescape(viewer.get("/dsar/request?id=r-1").text)


def for_an_operator(viewer: TestClient) -> list[str]:
    """Returns the list of required decisions on the overview."""
    text = viewer.get("/dsar/").text
    return text.split('id="decide"')[1].split("</ul>")[0].split("<li>")[1:] if 'id="decide"' in text else []


def test_an_operator_decides_if_the_connection_says_hold(
    viewer: TestClient, rows: Rows, set_connection: SetConnection
) -> None:
    """If the connection says hold, the request's page has the lines that an operator enters. Without hold,
    the page says that the next run reconciles the submission.
    """
    set_connection("besitos", extra=HOLD)
    rows.request("r-1", UNCERTAIN, AT_BATCH)
    text = request_text(viewer)
    assert "r-1 besitos send_again" in text
    assert "r-1 besitos taken <job id>" in text
    assert "Decisions on what waits for an operator" in text
    assert "r-1 batch send_again" not in text
    assert text.count(NEXT_RUN) == 1
    assert "The next run tries to reconcile them" in viewer.get("/dsar/account?name=batch").text
    assert "an operator decides" in viewer.get("/dsar/account?name=besitos").text
    (line,) = for_an_operator(viewer)
    assert "r-1" in line
    assert "at besitos" in line


def test_an_operator_decides_after_too_many_uncertain_attempts(
    viewer: TestClient, rows: Rows, db: Database
) -> None:
    """An account with too many uncertain attempts needs an operator's decision, even if its connection does
    not say hold.
    """
    rows.request("r-1", AT_BATCH)
    for attempt in range(MAX_UNCERTAIN_ATTEMPTS):
        assert for_an_operator(viewer) == []
        assert "r-1 batch send_again" not in request_text(viewer), attempt
        db.execute("UPDATE dsar.submission SET uncertain_count = uncertain_count + 1")
    (line,) = for_an_operator(viewer)
    assert "at batch" in line
    assert "so an operator decides" in line
    assert "r-1 batch send_again" in request_text(viewer)
    assert NEXT_RUN not in request_text(viewer)


def test_pages_say_what_to_repair_before_a_run_can_reconcile(
    viewer: TestClient, rows: Rows, set_connection: SetConnection
) -> None:
    """The page says what to repair if the connection is broken, or if the account is no longer configured."""
    set_connection("besitos", password=None, extra=HOLD)
    rows.request("r-1", UNCERTAIN, AT_BATCH | {"account": "batch_old"})
    text = request_text(viewer)
    for account, what in (("besitos", "besitos_default"), ("batch_old", "include/accounts.py")):
        page = viewer.get(f"/dsar/account?name={account}").text
        assert "tries to reconcile" not in page
        assert f"<code>{what}</code>" in page
        assert f"<code>{what}</code>" in text.split(f"Uncertain: {account}</h2>")[1].split("</section>")[0]
    assert NEXT_RUN not in text
    assert "send_again" not in text
    assert len(for_an_operator(viewer)) == 2


def test_a_shortened_list_of_uncertain_requests_says_so(
    viewer: TestClient, rows: Rows, monkeypatch: pytest.MonkeyPatch, set_connection: SetConnection
) -> None:
    """The list says that it is shortened. Then an operator knows that there are more uncertain requests."""
    monkeypatch.setattr("include.dsar.ledger.board.accounts.MAX_UNCERTAIN", 2)
    set_connection("besitos", extra=HOLD)
    for n, shortened in enumerate((False, True, True)):
        rows.request(f"r-{n}", UNCERTAIN)
        for page in ("/dsar/", "/dsar/account?name=besitos"):
            assert ("the first 2" in viewer.get(page).text) == shortened, (n, page)


@pytest.mark.parametrize(
    ("account", "kinds", "lines"),
    [
        ("id5", ["email"], ["send_again", "taken <job id>"]),
        ("id5", ["email", "id5_id"],
         ["send_again email", "taken <job id> email", "send_again id5_id", "taken <job id> id5_id"]),
        ("id5", ["email", "email"],
         ["send_again email#1", "taken <job id> email#1", "send_again email#2", "taken <job id> email#2"]),
        ("id5", ["email", "email", "id5_id"],
         ["send_again email#1", "taken <job id> email#1", "send_again email#2", "taken <job id> email#2",
          "send_again id5_id", "taken <job id> id5_id"]),
        ("besitos", ["user_id", "user_id"], ["send_again", "taken <job id>"]),
        ("attentive", ["email+phone", "email+phone", "email"],
         ["send_again email", "taken <job id> email",
          "send_again email+phone#1", "taken <job id> email+phone#1",
          "send_again email+phone#2", "taken <job id> email+phone#2"]),
    ],
)  # fmt: skip
def test_the_page_offers_exactly_the_decisions_that_are_possible(
    viewer: TestClient,
    rows: Rows,
    db: Database,
    set_connection: SetConnection,
    account: str,
    kinds: list[str],
    lines: list[str],
) -> None:
    """If a request has several kinds of identities, each line names its kind. If a request has several
    identifiers of one kind, each line has the number of an identifier. The table of submissions has the
    same numbers.
    """
    set_connection(account, extra=HOLD)
    one = UNCERTAIN | {"account": account, "vendor": account}
    rows.request("r-1", *[one | {"identity": kind} for kind in kinds])
    text = request_text(viewer)
    offered = re.findall(r"<code>(r-1 .*?)</code>", text)
    assert sorted(offered) == sorted(f"r-1 {account} {line}" for line in lines)
    numbered = {line.split()[-1] for line in lines if "#" in line}
    assert ("The number is the place of the identifier in the source" in text) == bool(numbered)
    assert all(f"<td>{label}</td>" in text for label in numbered)
    for line in offered:
        decision = Decision.parse(line.replace("<job id>", "job-7"))
        with db.transaction(force_rollback=True):
            assert decide(db, [decision], by="an operator", now=NOW) >= 1
