"""The timeline of a request and the page of a run show the events in the order of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import unescape

from fastapi.testclient import TestClient

from tests.integration.board.given import GivenTry, Rows, a_run

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


def test_the_timeline_links_each_event_to_its_task(viewer: TestClient, rows: Rows) -> None:
    """Earlier tries of a task are linked too. If several mapped instances ran at the same time, the link
    leads to the list of these instances.
    """
    request = rows.request(
        "r-1",
        {"state": "failed", "attempts": 2, "attempted_at": NOW + 3 * HOUR, "submitted_at": NOW + 3 * HOUR,
         "job_id": "job-7", "finished_at": NOW + 4 * HOUR, "reason": "the vendor's own reason"},
        planned_at=NOW, received=NOW - 5 * HOUR, closed=NOW + 5 * HOUR, status="failed",
        export_uri="s3://bucket/requests/r-1/package.zip",
    )  # fmt: skip
    rows.event(request, NOW + HOUR, leaves="submitting", enters="uncertain", reason="reply lost", attempt=1)
    rows.event(request, NOW + 4 * HOUR, leaves="submitted", enters="failed", reason="the vendor's own reason")

    def a_try(task: str, index: int, hours: int) -> GivenTry:
        at = NOW + hours * HOUR
        return task, index, at - timedelta(minutes=1), at + timedelta(minutes=1)

    with (
        a_run("day+zero", a_try("package", -1, -5)),  # no task of this run received the request
        a_run(
            "day+one",
            a_try("intake", -1, 0),
            a_try("besitos.submit", -1, 1),
            a_try("besitos.submit", -1, 2),
            a_try("batch.submit", -1, 1),
        ),
        a_run(
            "day+two",
            a_try("besitos.submit", 0, 3),
            a_try("besitos.submit", 1, 3),
            a_try("besitos.await_completion", 2, 4),
            ("package", -1, NOW + 5 * HOUR, None),  # still running
        ),
    ):
        text = unescape(viewer.get("/dsar/request?id=r-1").text)
    events = [row.split("</tr>")[0] for row in text.split('id="timeline"')[1].split("<tr>")[2:]]
    links = [row.split('href="')[1].split('"')[0] if 'href="' in row else None for row in events]
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
    for expected in ("reply lost", "job-7", "s3://bucket/requests/r-1/receipt.json"):
        assert expected in text
    assert text.count("the vendor's own reason") == 2  # once at the submission, once in the timeline


def test_a_run_shows_what_happened_while_its_tasks_ran(viewer: TestClient, rows: Rows) -> None:
    """Requests that were read, sent, ended, closed or became uncertain are counted. An attempt without a
    call is not counted.
    """
    inside, outside = NOW - 1.5 * HOUR, NOW - 8 * HOUR
    rows.request("new", {"attempted_at": inside, "attempts": 1}, planned_at=inside)
    rows.request("sent", {"attempted_at": inside, "attempts": 1}, planned_at=outside)
    rows.request("done", {"state": "completed", "finished_at": inside}, planned_at=outside)
    rows.request("closed", {"state": "failed", "finished_at": outside}, planned_at=outside, closed=inside)
    uncertain = rows.request("uncertain", planned_at=outside)
    rows.event(uncertain, inside, leaves="submitting", enters="uncertain")
    rows.request(
        "untouched", {"attempted_at": NOW, "attempts": 1}, {"attempted_at": inside}, planned_at=outside
    )
    tries = ("intake", -1, NOW - 2 * HOUR, inside), ("besitos.submit", 3, inside, NOW - HOUR)
    with a_run("one", *tries):
        text = viewer.get("/dsar/run?run_id=one&dag_id=dsar_daily").text
    for name in ("new", "sent", "done", "closed", "uncertain"):
        assert f"id={name}" in text
    assert "untouched" not in text
    facts = [fact.split("</dd>")[0] for fact in text.split('<dl class="facts">')[1].split("<dd>")[1:4]]
    assert facts == ["1", "1", "5"]  # requests taken in, closed, changed
    figures = text.split('id="accounts"')[1].split("<tbody>")[1].split("</tbody>")[0]
    cells = [cell.split("</td>")[0] for cell in figures.split('<td class="n">')[1:]]
    assert cells == ["2", "1", "0", "0", "1", "0"]  # sent, completed, no data, failed, uncertain, sent again


def test_a_dry_run_shows_what_a_run_would_send(viewer: TestClient) -> None:
    """The counts come from the result of the dry run's intake in Airflow's database."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    conf = {"dry_run": True, "request_ids": ["a-1", "a-2"], "accounts": ["besitos"]}
    with a_run("dry", ("intake", -1, NOW - HOUR, NOW), conf=conf):
        with create_session() as session:
            XComModel.set(
                key="return_value",
                value={
                    "would_send": {"besitos": {"erasure": 4321}, "id5": {}},
                    "would_wait": {"besitos": {}, "id5": {"erasure": 8765}},
                },
                dag_id="dsar_daily",
                task_id="intake",
                run_id="dry",
                session=session,
            )
        text = viewer.get("/dsar/run?run_id=dry").text
    held = "id5: 8,765 erasure would be on hold"
    for expected in ("nothing was sent", "4,321", held, "a-2", "Limited to these accounts: besitos"):
        assert expected in text
