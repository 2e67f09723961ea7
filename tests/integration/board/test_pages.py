"""The pages as a browser gets them: what they show, what they never show, and what they say in trouble."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from include.dsar.intake.decisions import Decision, decide
from include.dsar.ledger import database
from include.dsar.ledger.uncertain import MAX_UNCERTAIN_ATTEMPTS
from include.stack.home import free_port
from tests.integration.board.conftest import LogIn, every_page
from tests.integration.board.rows_given import MARKERS, event, given
from tests.integration.board.runs_given import a_run

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
HOSTILE = "<script>alert(1)</script>\"'&?#%2F../\u202e{{ 7*7 }}"


def test_no_page_shows_an_identifier_a_hash_or_a_secret(
    log_in: LogIn, deployment: Path, dsn: str, dag_run: str
) -> None:
    """The ledger holds them while a request is open, and the connections the secrets; no page asks."""
    states = ["planned", "submitting", "uncertain", "submitted", "ready", "completed", "failed", "rejected"]
    given(
        dsn, "r-1",
        *[{"state": state, "job_id": f"job-{n}", "submitted_at": NOW, "finished_at": NOW, "attempts": 1,
           "attempted_at": NOW} for n, state in enumerate(states)],
        planned_at=NOW,
    )  # fmt: skip
    for path, text in every_page(log_in).items():
        assert "r-1" in text or path == "/dsar/"
        for marker in (*MARKERS.values(), "zq7x", "sandbox-secret", "demo-app", "fingerprint"):
            assert marker not in text, path


@pytest.fixture
def without_identifiers(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connection dsar_db as a role to which PostgreSQL gives every column but those that name a person."""
    role = sql.Identifier("board_reader")
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(role))
        db.execute(sql.SQL("GRANT USAGE ON SCHEMA dsar TO {}").format(role))
        for table in ("request", "submission", "event"):
            columns = db.execute(COLUMNS, [table]).fetchall()
            names = sql.SQL(", ").join(sql.Identifier(name) for (name,) in columns)
            table_name = sql.Identifier("dsar", table)
            db.execute(sql.SQL("GRANT SELECT ({}) ON {} TO {}").format(names, table_name, role))
        url = make_conninfo(dsn, user="board_reader", password="secret")
        parts = conninfo_to_dict(url)
        monkeypatch.setenv(
            "AIRFLOW_CONN_DSAR_DB",
            json.dumps({
                "conn_type": "postgres", "host": parts["host"], "port": int(str(parts["port"])),
                "login": parts["user"], "password": parts["password"], "schema": parts["dbname"],
            }),
        )  # fmt: skip
        yield
        db.execute(sql.SQL("DROP OWNED BY {}").format(role))
        db.execute(sql.SQL("DROP ROLE {}").format(role))


COLUMNS = """
SELECT column_name FROM information_schema.columns
 WHERE table_schema = 'dsar' AND table_name = %s
   AND column_name NOT IN ('identifiers', 'identity_hash', 'fingerprint')
"""


def test_no_statement_of_the_board_reads_an_identifier(
    log_in: LogIn, deployment: Path, dsn: str, dag_run: str, without_identifiers: None
) -> None:
    """All pages are made by a role that may not: so no slip in a template can ever show one."""
    given(dsn, "r-1", {"state": "uncertain"}, {"state": "submitted", "submitted_at": NOW, "job_id": "j"})
    assert "r-1" in every_page(log_in)["/dsar/requests?status=any"]
    assert log_in("viewer").get("/dsar/requests?account=besitos&state=uncertain").status_code == 200


def test_hostile_text_is_text(log_in: LogIn, deployment: Path, dsn: str) -> None:
    """In request ids, job ids, reasons, account and run names: shown as it is, and nothing more."""
    request = given(
        dsn, HOSTILE,
        {"account": "besitos", "state": "failed", "reason": HOSTILE, "job_id": HOSTILE, "finished_at": NOW},
        {"account": HOSTILE, "vendor": HOSTILE, "state": "uncertain"},
        {"account": "besitos", "state": "submitted", "job_id": HOSTILE, "submitted_at": NOW,
         "identity": HOSTILE},
        planned_at=NOW, status_reason=HOSTILE, export_uri=f"s3://bucket/{HOSTILE}/receipt.json",
    )  # fmt: skip
    event(dsn, request, NOW, leaves="submitted", enters="failed", reason=HOSTILE, job_id=HOSTILE)
    conf = {"request_ids": [HOSTILE], "accounts": [HOSTILE], "dry_run": True}
    with a_run("a~run", ("intake", -1, NOW - HOUR, None), conf=conf):
        for path, text in every_page(log_in, HOSTILE, "a~run").items():
            assert "<script>alert" not in text, path
            assert HOSTILE in unescape(text) or path == "/dsar/"
            for link in (part.split('"', 1)[0] for part in text.split('href="')[1:]):
                assert link.startswith(("/dsar/", "/plugin/", "/dags/", "#")), (path, link)
    answer = log_in("viewer").get("/dsar/requests", params={"id": HOSTILE})
    assert answer.status_code == 400
    assert HOSTILE not in unescape(answer.text)


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/dsar/requests?left=soon", 400, "left"),
        ("/dsar/requests?after=x", 400, "after"),
        ("/dsar/?days=8", 400, "days"),
        ("/dsar/request", 400, "id"),
        ("/dsar/request?id=nobody", 404, "no request of this id"),
        ("/dsar/account?name=nobody", 404, "no account of this name"),
        ("/dsar/account?name=Besitos", 400, "name"),
        ("/dsar/account", 404, "Which account"),
        ("/dsar/run?run_id=nothing", 404, "no such run"),
        ("/dsar/run?run_id=x&dag_id=another", 404, "Only runs of dsar_daily"),
        ("/dsar/nothing", 404, "nothing here"),
        ("/dsar/request?id=%00", 400, "id"),
        ("/dsar/run?run_id=%00", 400, "run_id"),
    ],
)
def test_a_wrong_address_is_answered_with_a_sentence(
    log_in: LogIn, deployment: Path, path: str, status: int, told: str
) -> None:
    """Never with a stack trace, nor with 500."""
    answer = log_in("viewer").get(path)
    assert answer.status_code == status
    assert told in answer.text


def test_a_ledger_that_does_not_answer_is_said_to_be_so(
    log_in: LogIn, deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page names the connection to look at, and no address or password."""
    monkeypatch.setenv("AIRFLOW_CONN_DSAR_DB", f"postgresql://u:zq7x-pw@127.0.0.1:{free_port()}/dsar")
    answer = log_in("viewer").get("/dsar/")
    assert answer.status_code == 503
    assert "dsar_db" in answer.text
    assert "zq7x" not in answer.text


def test_a_connection_that_is_not_set_is_named(
    log_in: LogIn, deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is the first thing that a new deployment lacks."""
    monkeypatch.delenv("AIRFLOW_CONN_DSAR_DB")
    answer = log_in("viewer").get("/dsar/requests")
    assert answer.status_code == 503
    assert "AIRFLOW_CONN_DSAR_DB" in answer.text


def test_before_the_first_run_there_is_no_ledger_and_the_page_says_how_to_make_one(
    log_in: LogIn, deployment: Path, dsn: str
) -> None:
    """An empty database is no error."""
    with psycopg.connect(dsn) as db:
        db.execute("DROP SCHEMA dsar CASCADE")
    answer = log_in("viewer").get("/dsar/")
    assert answer.status_code == 200
    assert "The first run of dsar_daily makes it" in answer.text


def test_an_empty_ledger_has_pages_without_figures(log_in: LogIn, deployment: Path, dag_run: str) -> None:
    """Nothing to show is no error either."""
    client = log_in("viewer")
    assert "0 open requests" in client.get("/dsar/").text
    assert "No request meets these filters" in client.get("/dsar/requests").text
    assert "has touched no request" in client.get(f"/dsar/run?run_id={dag_run}").text


def test_a_page_that_would_take_too_long_is_given_up(
    log_in: LogIn, deployment: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person is told what to do, and the database is free again."""
    monkeypatch.setattr("include.dsar.board.reading.STATEMENT_SECONDS", 0.2)
    with psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE dsar.submission")
        answer = log_in("viewer").get("/dsar/")
    assert answer.status_code == 503
    assert "Choose narrower filters" in answer.text


def test_a_mistake_of_the_board_is_a_page_too_and_its_text_goes_nowhere(
    log_in: LogIn, deployment: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What an exception says may hold anything: the log has its kind and place, the page neither."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("zq7x said something")

    monkeypatch.setattr("include.dsar.board.pages.overview_page", fail)
    answer = log_in("viewer").get("/dsar/")
    assert answer.status_code == 500
    assert "mistake of the board" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "zq7x" not in answer.text + caplog.text
    assert "RuntimeError in " in caplog.text
    assert "test_pages.py" in caplog.text


def test_the_board_can_change_nothing(dsn: str) -> None:
    """Its transactions are read-only, whatever a statement in them says."""
    from include.dsar.board.reading import reading

    with database.connect(dsn) as db, pytest.raises(psycopg.errors.ReadOnlySqlTransaction), reading(db):
        db.execute("UPDATE dsar.request SET status = status")


def test_a_request_shows_its_events_and_the_tasks_in_which_they_happened(
    log_in: LogIn, deployment: Path, dsn: str
) -> None:
    """By time and account: an earlier try too, and a mapped task as exactly as times tell."""
    request = given(
        dsn, "r-1",
        {"state": "failed", "attempts": 2, "attempted_at": NOW + 3 * HOUR, "submitted_at": NOW + 3 * HOUR,
         "job_id": "job-7", "finished_at": NOW + 4 * HOUR, "reason": "the vendor's own reason"},
        planned_at=NOW, received=NOW - 5 * HOUR, closed=NOW + 5 * HOUR, status="failed",
        export_uri="s3://bucket/requests/r-1/package.zip",
    )  # fmt: skip
    event(dsn, request, NOW + HOUR, leaves="submitting", enters="uncertain", reason="reply lost", attempt=1)
    event(dsn, request, NOW + 4 * HOUR, leaves="submitted", enters="failed", reason="the vendor's own reason")
    minute = timedelta(minutes=1)

    def around(at: datetime) -> tuple[datetime, datetime]:
        return at - minute, at + minute

    with (
        a_run(
            "day+zero", ("package", -1, *around(NOW - 5 * HOUR))
        ),  # while the request was received elsewhere
        a_run(
            "day+one",
            ("intake", -1, *around(NOW)),
            ("besitos.submit", -1, *around(NOW + HOUR)),
            ("besitos.submit", -1, *around(NOW + 2 * HOUR)),
            ("batch.submit", -1, *around(NOW + HOUR)),
        ),
        a_run(
            "day+two",
            ("besitos.submit", 0, *around(NOW + 3 * HOUR)),
            ("besitos.submit", 1, *around(NOW + 3 * HOUR)),
            ("besitos.await_completion", 2, *around(NOW + 4 * HOUR)),
            ("package", -1, *around(NOW + 5 * HOUR)),
        ),
    ):
        text = log_in("viewer").get("/dsar/request?id=r-1").text
    rows = [row.split("</tr>")[0] for row in text.split('id="timeline"')[1].split("<tr>")[2:]]
    links = [row.split('href="')[1].split('"')[0] if 'href="' in row else None for row in rows]
    one, two = "/dags/dsar_daily/runs/day%2Bone/tasks", "/dags/dsar_daily/runs/day%2Btwo/tasks"
    assert links == [
        None,
        f"{one}/intake",
        f"{one}/besitos.submit",
        f"{two}/besitos.submit/mapped",
        f"{two}/besitos.submit/mapped",
        f"{two}/besitos.await_completion/mapped/2",
        f"{two}/package",
    ]
    told = unescape(text)
    for expected in (
        "reply lost",
        "the vendor's own reason",
        "job-7",
        "s3://bucket/requests/r-1/receipt.json",
    ):
        assert expected in told
    assert told.count("the vendor's own reason") == 2  # its row, and its event: not twice in the timeline


def test_what_a_person_has_to_decide_is_shown_with_the_lines_to_enter(
    log_in: LogIn, deployment: Path, dsn: str, set_connection: Callable[..., None]
) -> None:
    """Where the account leaves doubts to a person; elsewhere the next run settles them."""
    set_connection("besitos", extra={"on_uncertain": "hold"})
    given(dsn, "r-1", {"state": "uncertain"}, {"account": "batch", "vendor": "batch", "state": "uncertain"})
    client = log_in("viewer")
    told = unescape(client.get("/dsar/request?id=r-1").text)
    assert "r-1 besitos send_again" in told
    assert "r-1 besitos taken <job id>" in told
    assert "Decisions on uncertain submissions" in told
    assert "r-1 batch send_again" not in told
    assert told.count("The next run settles it by itself") == 1
    assert "The next runs settle them by themselves" in client.get("/dsar/account?name=batch").text
    assert "a person decides" in client.get("/dsar/account?name=besitos").text
    (line,) = waiting_for_a_person(client)
    assert "r-1" in line
    assert "at besitos" in line


def test_what_no_run_settles_any_more_is_for_a_person_at_any_account(
    log_in: LogIn, deployment: Path, dsn: str
) -> None:
    """After so many doubts about one submission, though its account leaves none to a person."""
    given(dsn, "r-1", {"account": "batch", "vendor": "batch", "state": "uncertain"})
    client = log_in("viewer")
    for doubt in range(MAX_UNCERTAIN_ATTEMPTS):
        assert waiting_for_a_person(client) == []
        assert "r-1 batch send_again" not in unescape(client.get("/dsar/request?id=r-1").text), doubt
        with psycopg.connect(dsn) as db:
            db.execute(
                "INSERT INTO dsar.event (at, request, submission, leaves, enters)"
                " SELECT now(), request, id, 'submitting', 'uncertain' FROM dsar.submission"
            )
    (line,) = waiting_for_a_person(client)
    assert "at batch" in line
    assert "so a person decides" in line
    told = unescape(client.get("/dsar/request?id=r-1").text)
    assert "r-1 batch send_again" in told
    assert "The next run settles it by itself" not in told


def waiting_for_a_person(client: TestClient) -> list[str]:
    """What the overview lists as in doubt."""
    text = client.get("/dsar/").text
    return text.split('id="decide"')[1].split("</ul>")[0].split("<li>")[1:] if 'id="decide"' in text else []


def test_a_doubt_that_no_run_settles_is_never_said_to_settle_itself(
    log_in: LogIn, deployment: Path, dsn: str, set_connection: Callable[..., None]
) -> None:
    """Where the connection is broken, or the account is gone: the pages say what to mend first."""
    set_connection("besitos", password=None, extra={"on_uncertain": "hold"})
    gone = {"account": "batch_old", "vendor": "batch", "state": "uncertain"}
    given(dsn, "r-1", {"state": "uncertain"}, gone)
    client = log_in("viewer")
    request = client.get("/dsar/request?id=r-1").text
    for account, what in (("besitos", "besitos_default"), ("batch_old", "include/accounts.py")):
        one = client.get(f"/dsar/account?name={account}").text
        assert "settles them by itself" not in one
        assert f"<code>{what}</code>" in one
        assert f"<code>{what}</code>" in request.split(f"In doubt: {account}</h2>")[1].split("</section>")[0]
    assert "settles it by itself" not in request
    assert "send_again" not in request
    assert len(waiting_for_a_person(client)) == 2


def test_a_list_of_doubts_that_is_cut_says_so(
    log_in: LogIn,
    deployment: Path,
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    set_connection: Callable[..., None],
) -> None:
    """Whoever has decided those that are listed knows that there are more."""
    monkeypatch.setattr("include.dsar.board.one_account.MOST_UNDECIDED", 2)
    set_connection("besitos", extra={"on_uncertain": "hold"})
    client = log_in("viewer")
    for n, told in enumerate((False, True, True)):
        given(dsn, f"r-{n}", {"state": "uncertain"})
        for page in ("/dsar/", "/dsar/account?name=besitos"):
            assert ("the first 2" in client.get(page).text.lower()) == told, (n, page)


def test_decisions_on_several_identifiers_name_the_kind(
    log_in: LogIn, deployment: Path, dsn: str, set_connection: Callable[..., None]
) -> None:
    """The job of one identifier must not end the other's submission."""
    set_connection("id5", extra={"on_uncertain": "hold"})
    one = {"account": "id5", "vendor": "id5", "state": "uncertain"}
    given(dsn, "r-1", one | {"identity": "email"}, one | {"identity": "id5_id"})
    told = unescape(log_in("viewer").get("/dsar/request?id=r-1").text)
    for line in ("r-1 id5 taken <job id> email", "r-1 id5 taken <job id> id5_id", "r-1 id5 send_again email"):
        assert f"<code>{line}</code>" in told


@pytest.mark.parametrize(
    ("account", "kinds", "lines"),
    [
        ("id5", ["email"], ["send_again", "taken <job id>"]),
        ("id5", ["email", "email"], ["send_again"]),
        ("id5", ["email", "email", "id5_id"],
         ["send_again email", "send_again id5_id", "taken <job id> id5_id"]),
        ("besitos", ["user_id", "user_id"], ["send_again", "taken <job id>"]),
        ("attentive", ["email+phone", "email+phone", "email"],
         ["send_again email", "taken <job id> email", "send_again email+phone"]),
    ],
)  # fmt: skip
def test_every_decision_on_offer_can_be_carried_out_and_no_other_is(
    log_in: LogIn,
    deployment: Path,
    dsn: str,
    set_connection: Callable[..., None],
    account: str,
    kinds: list[str],
    lines: list[str],
) -> None:
    """Where a vendor takes one in a call, a job can be that of one submission only: `decide` refuses more."""
    set_connection(account, extra={"on_uncertain": "hold"})
    one = {"account": account, "vendor": account, "state": "uncertain"}
    given(dsn, "r-1", *[one | {"identity": kind} for kind in kinds])
    told = unescape(log_in("viewer").get("/dsar/request?id=r-1").text)
    offered = re.findall(r"<code>(r-1 .*?)</code>", told)
    assert sorted(offered) == sorted(f"r-1 {account} {line}" for line in lines)
    assert ("all that can be entered is" in told) == (len(set(kinds)) * 2 > len(lines))
    for line in offered:
        decision = Decision.parse(line.replace("<job id>", "job-7"))
        with database.connect(dsn) as db, db.transaction(force_rollback=True):
            assert decide(db, [decision], by="a person", now=NOW) >= 1


def test_the_quota_of_the_day_is_the_accounts_own(
    log_in: LogIn, deployment: Path, dsn: str, set_connection: Callable[..., None]
) -> None:
    """As its connection says; an account whose connection is broken has none, and spoils no page."""
    set_connection("id5", extra={"daily_quota": 1234})
    set_connection("besitos", password=None)
    given(dsn, "r-1", {"account": "id5", "vendor": "id5", "attempts": 1, "attempted_at": NOW})
    text = log_in("viewer").get("/dsar/").text
    assert "of 1,234" in text


def test_a_run_shows_what_happened_while_its_tasks_were_at_work(
    log_in: LogIn, deployment: Path, dsn: str
) -> None:
    """Taken in, sent, ended, in doubt, closed: all of it, and nothing of another run."""
    begin, end = NOW - 2 * HOUR, NOW - HOUR
    inside, outside = NOW - 1.5 * HOUR, NOW - 8 * HOUR
    given(dsn, "new", planned_at=inside)
    given(dsn, "sent", {"attempted_at": inside, "attempts": 1}, planned_at=outside)
    given(dsn, "done", {"state": "completed", "finished_at": inside}, planned_at=outside)
    given(dsn, "closed", {"state": "failed", "finished_at": outside}, planned_at=outside, closed=inside)
    doubt = given(dsn, "doubt", {"state": "planned"}, planned_at=outside)
    event(dsn, doubt, inside, leaves="submitting", enters="uncertain")
    given(dsn, "untouched", {"attempted_at": NOW, "attempts": 1}, planned_at=outside)
    with a_run("one", ("intake", -1, begin, inside), ("besitos.submit", 3, inside, end)):
        text = log_in("viewer").get("/dsar/run?run_id=one&dag_id=dsar_daily").text
    for name in ("new", "sent", "done", "closed", "doubt"):
        assert f"id={name}" in text
    assert "untouched" not in text
    figures = text.split('id="accounts"')[1].split("<tbody>")[1].split("</tbody>")[0]
    cells = [cell.split("</td>")[0] for cell in figures.split('<td class="n">')[1:]]
    assert cells == ["1", "1", "0", "0", "1", "0"]  # sent, completed, no data, failed, in doubt, put back


def test_a_dry_run_shows_what_it_would_send(log_in: LogIn, deployment: Path, dsn: str) -> None:
    """The result of its intake, from Airflow's own database; the ledger has none of it."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    conf = {"dry_run": True, "request_ids": ["a-1", "a-2"], "accounts": ["besitos"]}
    with a_run("dry", ("intake", -1, NOW - HOUR, NOW), conf=conf):
        with create_session() as session:
            XComModel.set(
                key="return_value",
                value={"new": 0, "would_send": {"besitos": {"erasure": 4321}}},
                dag_id="dsar_daily",
                task_id="intake",
                run_id="dry",
                session=session,
            )
        text = log_in("viewer").get("/dsar/run?run_id=dry").text
    assert "nothing was sent" in text
    assert "4,321" in text
    assert "a-2" in text
    assert "Limited to these accounts: besitos" in text
