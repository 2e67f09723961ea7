"""A StatsD server receives the metrics of a run."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils

from dsar_airflow.metrics import gauge_run
from include.dsar.accounts import VolumeLimit
from include.dsar.ledger.database import Database
from include.sandbox import Sandbox
from tests.conftest import PROJECT, RunDaily, SetConnection
from tests.integration.conftest import Row, put
from tests.integration.requests_given import plan, put_into, request, rows, submission

# Airflow does not close the socket of its client.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def alerts() -> dict[str, str]:
    """Returns the expressions of the alerts in docs/metrics.md."""
    block = (PROJECT / "docs" / "metrics.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    return {rule["alert"]: rule["expr"] for rule in yaml.safe_load(block)["groups"][0]["rules"]}


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], dict[str, float]]]:
    """Returns the last value of each gauge and the sum of each counter that a StatsD socket received."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(server.getsockname()[1]))
        # A task's process does this when it starts, but `dag.test()` does not.
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
        yield lambda: _received(server)
    stats.initialize(factory=stats_utils.NoStatsLogger, export_legacy_names=False)


def _received(server: socket.socket) -> dict[str, float]:
    found: dict[str, float] = {}
    with suppress(BlockingIOError):
        while packet := server.recv(65_536).decode():
            for line in packet.splitlines():
                name, _, value = line.rpartition(":")
                number, kind = value.split("|")[:2]
                name = name.removeprefix("airflow.")
                if name.startswith("dsar."):
                    found[name] = float(number) + (found.get(name, 0) if kind == "c" else 0)
    return found


def test_a_run_sends_what_it_did_and_what_is_open(
    statsd: Callable[[], dict[str, float]],
    deployment: Path,
    run_daily: RunDaily,
    sandbox: Sandbox,
    dsn: str,
    set_connection: SetConnection,
) -> None:
    """A run sends the numbers of outcomes (also zeros), open jobs and their age, days left, calls and
    refused calls.
    """
    put(
        dsn,
        Row("e-1", user_id="u1", accounts=["besitos", "batch"]),
        Row("e-2", user_id="unknown-2", accounts=["besitos"]),
        Row("e-3", email="a@example.com", accounts=["attentive"], due_at="2020-01-01T00:00:00+00:00"),
    )
    set_connection("attentive", extra={"poll_min_seconds": 3600, "poll_max_seconds": 3600})
    set_connection("id5", password="wrong")  # this account has no submission, so it is never called
    sandbox.inject("status", vendor="batch", status=429)
    run_daily()
    received = statsd()
    outcomes = {
        name.removeprefix("dsar.submissions."): value
        for name, value in received.items()
        if name.startswith("dsar.submissions.") and value
    }
    assert outcomes == {"besitos.completed": 1, "besitos.no_data": 1, "batch.completed": 1}
    assert received["dsar.submissions.besitos.failed"] == 0
    assert (received["dsar.open_jobs.attentive"], received["dsar.open_jobs.besitos"]) == (1, 0)
    assert 0 < received["dsar.oldest_job_days.attentive"] < 0.1
    assert (received["dsar.open_requests"], received["dsar.overdue_requests"], received["dsar.reports"]) == (
        1,
        1,
        1,
    )
    assert received["dsar.days_left"] < -2000
    made = {name: sum(calls.values()) for name, calls in sandbox.calls().items() if calls}
    assert {name: received[f"dsar.calls.{name}"] for name in made} == made
    assert received["dsar.refused_calls.batch"] == 1
    assert received.get("dsar.refused_calls.id5", 0) == 0


def test_what_is_uncertain_or_waits_for_an_operator_has_a_gauge(
    statsd: Callable[[], dict[str, float]], db: Database
) -> None:
    """The gauges are the age of the oldest uncertain submission in days, the number of held outcomes, and the
    number of submissions on hold.
    """
    plan(db, *(request(f"r-{n}", submission(f"u{n}", "batch")) for n in range(3)))
    old, new, waits = (row["id"] for row in rows(db))
    held = [request(f"h-{n}", submission(f"h{n}", "batch")) for n in range(4)]
    plan(db, *held, now=datetime.now(UTC), limit=VolumeLimit(at_least=2, without_history=2))
    for one, days in ((old, 9), (new, 2)):
        put_into(db, [one], {"state": "uncertain", "changed_at": datetime.now(UTC) - timedelta(days=days)})
    put_into(db, [waits], {"state": "no_data", "finished_at": datetime.now(UTC), "is_unconfirmed": True})
    gauge_run(db, ["batch", "id5"], since=datetime.now(UTC))
    received = statsd()
    assert received["dsar.oldest_uncertain_days.batch"] == pytest.approx(9, abs=0.1)
    assert received["dsar.unconfirmed_outcomes.batch"] == 1
    assert (received["dsar.held_submissions.batch"], received["dsar.held_submissions.id5"]) == (4, 0)
    assert received["dsar.oldest_uncertain_days.id5"] == received["dsar.unconfirmed_outcomes.id5"] == 0


def test_refused_credentials_are_counted(
    statsd: Callable[[], dict[str, float]],
    deployment: Path,
    run_daily: RunDaily,
    sandbox: Sandbox,
    dsn: str,
    set_connection: SetConnection,
) -> None:
    """Refused credentials are counted on the worker and on the triggerer, even if the task fails."""
    put(dsn, Row("e-1", user_id="u1", accounts=["besitos"]))
    put(dsn, Row("e-2", user_id="u2", accounts=["batch"]))
    set_connection("batch", password="wrong")
    sandbox.inject("status", vendor="besitos", route="status", status=401, times=None)
    assert run_daily().states["batch.submit"] == "failed"
    received = statsd()
    assert received["dsar.refused_calls.batch"] >= 1
    assert received["dsar.refused_calls.besitos"] >= 1
    # The stage stops after a few refusals, so the alert must fire after a few refusals.
    assert received["dsar.refused_calls.besitos"] > float(alerts()["VendorRefusesUs"].rpartition(">")[2])


def test_the_alert_for_failed_submissions_has_a_label_for_the_account() -> None:
    """Prometheus removes the metric name from an alert, so only a label can distinguish two accounts."""
    rule = re.fullmatch(
        r'label_replace\(\{__name__=~"(.+?)"\}, "account", "\$1", "__name__", "(.+)"\) > 0',
        alerts()["SubmissionFailed"],
    )
    assert rule
    names = [
        f"airflow_dsar_submissions_{account}_{outcome}"
        for account in ("besitos", "batch_ios")
        for outcome in ("completed", "no_data", "rejected", "failed")
    ]
    chosen = [re.fullmatch(rule[2], name) for name in names if re.fullmatch(rule[1], name)]
    assert [match and match[1] for match in chosen] == ["besitos", "batch_ios"]
