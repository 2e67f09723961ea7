"""An unusual number of new submissions waits for an operator. Ordinary days are not affected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.dsar.accounts import VolumeLimit
from include.dsar.errors import ConfigurationError
from include.dsar.intake.decisions import Decision, decide
from include.dsar.ledger import approvals, attention, claiming, planning, staging, volume
from include.dsar.ledger.database import Database
from include.dsar.ledger.staging import SourceRow
from include.dsar.model import Action, State
from include.dsar.stages.approve_volume import MAX_DAYS, question, undecided
from include.dsar.stages.to_do import todo
from tests.integration.requests_given import events, plan, put_into, request, rows, submission

LIMIT = VolumeLimit(times=2, at_least=4, without_history=6)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def arrive(
    db: Database,
    count: int,
    prefix: str = "r",
    *,
    accounts: tuple[str, ...] = ("batch",),
    at: datetime = NOW,
    **fields: Any,
) -> list[str]:
    """Takes in requests with one submission per account. Returns their ids."""
    names = [f"{prefix}-{n}" for n in range(count)]
    asked = [request(name, *(submission(name, one) for one in accounts), **fields) for name in names]
    plan(db, *asked, now=at, limit=LIMIT)
    return names


def history(db: Database, *counts: int, account: str = "batch", action: str = "erasure") -> None:
    """Gives the account these numbers of submissions on the days before today. The first number is for
    yesterday.
    """
    for days, count in enumerate(counts, 1):
        db.execute(
            "INSERT INTO dsar.volume (account, action, day, free) VALUES (%s, %s, %s, %s)",
            [account, action, (NOW - days * DAY).date(), count],
        )


def held(db: Database, account: str = "batch") -> list[str]:
    return [row["request_id"] for row in rows(db) if row["is_held"] and row["account"] == account]


def can_be_sent(db: Database, account: str = "batch", at: datetime = NOW) -> int:
    worker = claiming.register(db)
    given: dict[str, Any] = {"now": at, "request_pks": None, "one_job_per_subject": True}
    with db.transaction(force_rollback=True):
        return len(claiming.claim(db, account, worker=worker, limit=1000, **given))


def free(db: Database, account: str = "batch") -> int:
    found = db.execute(
        "SELECT free FROM dsar.volume WHERE account = %s AND day = %s", [account, NOW.date()]
    ).fetchone()
    return 0 if found is None else int(found["free"])


def ask(db: Database, at: datetime = NOW) -> str:
    asked = question(db, now=at)
    assert asked is not None
    return asked.body


def test_as_many_as_the_limit_are_sent(db: Database) -> None:
    arrive(db, 6)
    assert (can_be_sent(db), held(db), undecided(db)) == (6, [], [])
    assert question(db, now=NOW) is None
    assert events(db) == []


def test_one_more_than_the_limit_holds_all(db: Database) -> None:
    """Submissions on hold cannot be sent, and do not count as planned to be sent. No stage waits for them."""
    names = arrive(db, 7)
    assert held(db) == names
    assert (can_be_sent(db), free(db)) == (0, 0)
    assert claiming.planned_counts(db, "batch", request_pks=None) == {}
    assert planning.planned(db) == {}
    assert planning.planned(db, on_hold=True) == {"batch": {"erasure": 7}}
    given: dict[str, Any] = {"now": NOW, "request_pks": None}
    assert claiming.next_planned_at(db, "batch", one_job_per_subject=False, **given) is None
    assert [(event["reason"], event["enters"]) for event in events(db)] == [(volume.HELD, "planned")] * 7


def test_an_account_and_an_action_with_a_usual_volume_are_sent(db: Database) -> None:
    """Only the erasures of one account are too many. The same requests are sent to another account."""
    history(db, 10, 10, 10, account="besitos")
    arrive(db, 5, "a", action=Action.ACCESS)
    arrive(db, 7, accounts=("batch", "besitos"))
    assert (can_be_sent(db), can_be_sent(db, "besitos")) == (5, 7)
    assert len(held(db)) == 7
    assert held(db, "besitos") == []


def test_the_limit_follows_the_last_30_days(db: Database) -> None:
    history(db, *[1] * 27, 5, 5, 5)
    arrive(db, 10)
    assert held(db) == []
    arrive(db, 1, "more")
    assert len(held(db)) == 11
    (one,) = undecided(db)
    assert (one.count, one.usual, one.max_count) == (11, 5, 10)


def test_days_before_the_last_30_do_not_count(db: Database) -> None:
    """Earlier days only show that the account has a history, so the limit of a new account does not apply."""
    history(db, 50, 50, *[0] * 28, 50, 50)
    arrive(db, 5)
    assert len(held(db)) == 5
    assert undecided(db)[0].max_count == LIMIT.at_least


def test_a_day_is_counted_in_utc(db: Database) -> None:
    """Two runs of one day are compared together. The next day begins at zero."""
    midnight = NOW.replace(hour=0)
    arrive(db, 4, "late", at=midnight - timedelta(minutes=1))
    arrive(db, 4, "early", at=midnight)
    assert held(db) == []
    arrive(db, 4, "again", at=midnight + timedelta(hours=23))
    assert len(held(db)) == 8
    assert can_be_sent(db) == 4


def test_what_was_sent_stays_sent(db: Database) -> None:
    """All submissions of the day that were not sent are on hold. Submissions that were sent today count
    too, and stay unchanged.
    """
    first = arrive(db, 5, "first")
    ids = {row["request_id"]: row["id"] for row in rows(db)}
    put_into(db, [ids[name] for name in first[:3]], {"state": "submitted", "attempts": 1, "job_id": "j"})
    second = arrive(db, 2, "second")
    assert set(held(db)) == {*first[3:], *second}
    assert undecided(db)[0].count == 7
    assert free(db) == 3


def test_what_waited_before_today_is_not_held(db: Database) -> None:
    """Earlier submissions passed the check of their day. Submissions may wait for the end of an outage or
    for a new daily quota. They are not counted again on the day on which they are sent.
    """
    arrive(db, 6, "before", at=NOW - DAY)
    today = arrive(db, 6, "today")
    assert held(db) == []
    arrive(db, 6, "more")
    assert set(held(db)) > set(today)
    assert can_be_sent(db) == 6


def test_each_transaction_of_intake_holds_what_is_too_much(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If intake dies between two transactions, no more than the limit can be sent. Later submissions of the
    same intake are put on hold too.
    """
    monkeypatch.setattr(staging, "ROWS_PER_TRANSACTION", 4)
    staging.create(db)
    asked = [request(f"r-{n}", submission(f"r-{n}", "batch")) for n in range(14)]
    staging.add(db, [SourceRow(n, None, one.request_id, one) for n, one in enumerate(asked, 1)])
    can_go = []
    for numbers in staging.compare(db):
        planning.plan(db, numbers, now=NOW, retry_failed=False, limit=LIMIT)
        can_go.append(can_be_sent(db))
    assert can_go == [4, 0, 0, 0]
    assert (len(held(db)), undecided(db)[0].count) == (14, 14)


def test_an_intake_that_runs_again_counts_nothing_twice(db: Database) -> None:
    for _ in range(3):
        arrive(db, 6)
    assert (free(db), held(db)) == (6, [])


def test_no_limit_holds_nothing_and_counts(db: Database) -> None:
    names = [request(f"r-{n}", submission(f"r-{n}", "batch")) for n in range(50)]
    plan(db, *names, now=NOW, limit=None)
    assert (held(db), free(db)) == ([], 50)
    assert volume.send_urgent(db, limit=None, now=NOW) == 0


def test_submissions_due_within_three_days_are_sent_oldest_first_up_to_the_limit(db: Database) -> None:
    """Urgent submissions need no answer. Other submissions stay on hold. On the next day, the same number
    can be sent again.
    """
    soon = {"due_at": NOW + timedelta(days=3)}
    arrive(db, 2, "new", received_at=NOW - 2 * DAY, **soon)
    arrive(db, 5, "old", received_at=NOW - 9 * DAY, **soon)
    arrive(db, 7, "later", due_at=NOW + timedelta(days=3, seconds=1))
    assert can_be_sent(db) == 0
    assert volume.send_urgent(db, limit=LIMIT, now=NOW) == 6
    sent = {row["request_id"] for row in rows(db) if not row["is_held"]}
    assert len(sent) == 6
    assert sent > {f"old-{n}" for n in range(5)}
    assert (can_be_sent(db), free(db)) == (6, 6)
    assert volume.send_urgent(db, limit=LIMIT, now=NOW) == 0
    assert volume.send_urgent(db, limit=LIMIT, now=NOW + DAY) == 6
    assert [event["reason"] for event in events(db)].count(volume.URGENT_SENT) == 12


def test_only_what_is_due_within_three_days_is_urgent(db: Database) -> None:
    arrive(db, 7, due_at=NOW + timedelta(days=3, seconds=1))
    assert volume.send_urgent(db, limit=LIMIT, now=NOW) == 0
    assert volume.send_urgent(db, limit=LIMIT, now=NOW + timedelta(seconds=1)) == 6


def test_what_was_sent_today_counts_against_urgent_submissions(db: Database) -> None:
    """The limit of a day covers ordinary and urgent submissions together."""
    arrive(db, 9, due_at=NOW + timedelta(days=4))
    arrive(db, 5, "next", at=NOW + DAY)
    assert volume.send_urgent(db, limit=LIMIT, now=NOW + DAY) == 1


def test_ordinary_requests_are_sent_while_others_wait(db: Database) -> None:
    arrive(db, 7)
    arrive(db, 3, "next", at=NOW + DAY)
    assert can_be_sent(db, at=NOW + DAY) == 3
    assert len(held(db)) == 7


def answer(db: Database, *, approve: bool, at: datetime = NOW) -> int:
    return approvals.decide(db, approve=approve, by="alice in run-7", reason="a backlog", now=at)


def test_an_approval_releases_what_was_asked_about(db: Database) -> None:
    """The ledger records who approved the volume, when and why. Each submission has an event with the same
    information. Submissions that arrive after the question need another approval.
    """
    arrive(db, 7, accounts=("batch", "besitos"))
    ask(db)
    late = arrive(db, 7, "late")
    assert answer(db, approve=True) == 14
    assert held(db) == late
    assert (can_be_sent(db), can_be_sent(db, "besitos")) == (7, 7)
    found = db.execute("SELECT * FROM dsar.approval ORDER BY id").fetchall()
    said = [(row["account"], row["decision"], row["decided_by"], row["reason"]) for row in found]
    assert said == [
        ("batch", "approved", "alice in run-7", "a backlog"),
        ("besitos", "approved", "alice in run-7", "a backlog"),
        ("batch", None, None, None),
    ]
    assert found[0]["decided_at"] == NOW
    reason = "decided by alice in run-7: the unusual volume is approved (a backlog)"
    assert [event["reason"] for event in events(db)].count(reason) == 14
    assert question(db, now=NOW) is not None


def test_an_approved_volume_is_not_held_again(db: Database) -> None:
    """An approved volume does not count against the limit of the day. On the third such day, the volume is
    usual.
    """
    for days in range(3):
        at = NOW + days * DAY
        arrive(db, 20, f"day-{days}", at=at)
        assert len(held(db)) == 20
        ask(db, at)
        assert answer(db, approve=True, at=at) == 20
        arrive(db, 4, f"evening-{days}", at=at)
        assert held(db) == []
    arrive(db, 40, "usual", at=NOW + 3 * DAY)
    assert held(db) == []


def test_a_later_volume_does_not_hold_what_was_approved(db: Database) -> None:
    """Approved submissions that are not sent yet can still be sent."""
    arrive(db, 7)
    ask(db)
    answer(db, approve=True)
    assert arrive(db, 7, "late") == held(db)
    assert can_be_sent(db) == 7


def test_a_denied_volume_stays_on_hold_and_nobody_is_asked_again(db: Database) -> None:
    """Submissions of a denied volume are not sent, even if they are due within three days."""
    arrive(db, 7, due_at=NOW + DAY)
    ask(db)
    assert answer(db, approve=False) == 7
    assert question(db, now=NOW) is None
    assert volume.send_urgent(db, limit=LIMIT, now=NOW + DAY) == 0
    assert len(held(db)) == 7
    (one,) = approvals.on_hold(db)
    assert (one.decision, one.decided_by, one.reason) == ("denied", "alice in run-7", "a backlog")
    assert "denied, on hold (a backlog)" in events(db)[-1]["reason"]


def test_a_denial_holds_although_a_later_volume_is_urgent_and_approved(db: Database) -> None:
    denied = arrive(db, 7, due_at=NOW + DAY)
    ask(db)
    answer(db, approve=False)
    arrive(db, 7, "late", due_at=NOW + DAY)
    assert volume.send_urgent(db, limit=LIMIT, now=NOW) == 6
    assert set(held(db)) > set(denied)
    ask(db)
    assert answer(db, approve=True) == 1
    assert held(db) == denied


def test_nobody_can_answer_a_question_that_was_not_asked(db: Database) -> None:
    arrive(db, 7)
    assert answer(db, approve=True) == 0
    assert len(held(db)) == 7


def decided(db: Database, line: str, made_at: datetime = NOW) -> int:
    return decide(db, [Decision.parse(line)], by="bob in run-8", now=NOW, made_at=made_at)


@pytest.mark.parametrize("was_denied", [True, False])
def test_a_decision_releases_the_volume_of_an_account(db: Database, was_denied: bool) -> None:
    """Denied submissions can be sent after all. The volumes of other accounts stay on hold."""
    arrive(db, 7, accounts=("batch", "besitos"))
    if was_denied:
        ask(db)
        answer(db, approve=False)
    assert decided(db, "batch release_volume it was right") == 7
    assert (can_be_sent(db), len(held(db, "besitos"))) == (7, 7)
    found = db.execute("SELECT decision, decided_by, reason FROM dsar.approval WHERE account = 'batch'")
    assert [tuple(row.values()) for row in found] == [("approved", "bob in run-8", "it was right")]


def test_a_decision_does_not_release_what_was_held_later(db: Database) -> None:
    """A decision does not apply to later volumes, for example if the run with the decision is cleared
    later.
    """
    arrive(db, 7)
    with pytest.raises(ConfigurationError, match=r"batch \(no volume has been on hold since before the run"):
        decided(db, "batch release_volume it was right", made_at=NOW - DAY)
    assert len(held(db)) == 7


def test_a_decision_does_not_release_what_its_own_run_takes_in(db: Database) -> None:
    """The intake of the run with the decision may add submissions to a volume that nobody was asked about.
    The operator did not know about these submissions, so the whole volume stays on hold, and an operator
    is asked.
    """
    arrive(db, 7)
    arrive(db, 1, "later", at=NOW + timedelta(hours=1))
    with pytest.raises(ConfigurationError, match=r"batch \(no volume .* the run added submissions to it\)"):
        decided(db, "batch release_volume it was right", made_at=NOW + timedelta(minutes=30))
    assert len(held(db)) == 8
    assert question(db, now=NOW + timedelta(hours=1)) is not None


def test_the_question_shows_counts_and_the_comparison_and_no_request(db: Database) -> None:
    """The question has counts per account, regulation and day of receipt. It names no request and no data
    subject.
    """
    arrive(db, 8, "secret", accounts=("batch", "besitos"), received_at=NOW - 5 * DAY)
    arrive(db, 7, "access", accounts=("batch",), action=Action.ACCESS)
    text = ask(db)
    assert "| batch | erasure | 8 | 8 | 0 | 6 | 2026-12-19 |" in text
    assert "| erasure: regulation | received | batch | besitos |" in text
    assert "| GDPR | 2026-11-15 | 8 | 8 |" in text
    assert "| GDPR | 2026-11-19 | 7 |" in text
    assert "secret" not in text
    assert "access-" not in text


def test_the_question_counts_early_days_together(db: Database) -> None:
    for days in range(MAX_DAYS + 3):
        arrive(db, 1, f"d{days}", received_at=NOW - days * DAY)
    text = ask(db)
    assert text.count("| GDPR | 20") == MAX_DAYS
    assert f"| GDPR | earlier | {MAX_DAYS + 3 - MAX_DAYS} |" in text


def test_a_held_submission_shares_no_job(db: Database) -> None:
    """If a submission on hold shared a job, it would end without an approval. No other submission waits for
    a submission on hold.
    """
    same = submission("u1", "batch")
    plan(db, request("before", same), now=NOW, limit=LIMIT)
    put_into(db, [1], {"state": "submitted", "job_id": "j", "submitted_at": NOW, "attempted_at": NOW})
    asked = [request(f"r-{n}", submission(f"u{n}", "batch")) for n in range(7)]
    plan(db, *asked, now=NOW, limit=LIMIT)
    assert len(held(db)) == 7
    assert claiming.share_jobs(db, "batch", now=NOW, request_pks=None) == 0
    ask(db)
    answer(db, approve=True)
    assert claiming.share_jobs(db, "batch", now=NOW, request_pks=None) == 1


def test_a_submission_that_is_planned_again_is_not_new(db: Database) -> None:
    """retry_failed plans failed submissions again. They passed the check before, so they are not put on
    hold, even if too many new submissions arrive on the same day.
    """
    arrive(db, 6)
    put_into(db, [row["id"] for row in rows(db)], {"state": "failed", "attempts": 1, "finished_at": NOW})
    assert planning.retry_open(db, now=NOW, request_ids=None) == 6
    assert (held(db), can_be_sent(db)) == ([], 6)
    assert {row["state"] for row in rows(db)} == {State.PLANNED}
    assert arrive(db, 1, "more") == held(db)


def test_the_report_says_what_is_on_hold_and_what_to_do(db: Database) -> None:
    """The report repeats the sentence until the submissions are released. For a denied volume, the report
    names another decision.
    """

    def sentences() -> list[str]:
        return todo(attention.attention(db, now=NOW, since=None, held=[]), {})

    assert sentences() == []
    arrive(db, 7)
    (waits,) = sentences()
    assert waits.startswith("batch: 7 erasure submissions are on hold, because 7 in a day are unusual")
    assert "The first is due on 2026-12-19" in waits
    assert "approve or deny them under Required Actions" in waits
    ask(db)
    answer(db, approve=False)
    (denied,) = sentences()
    assert "because alice in run-7 denied them (a backlog)" in denied
    assert "`batch release_volume <reason>`" in denied
    decided(db, "batch release_volume it was right")
    assert sentences() == []
