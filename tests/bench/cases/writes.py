"""Counts the rows and commits that the ledger writes per submission. PostgreSQL provides the counts."""

from __future__ import annotations

from typing import Any

from include.dsar.ledger import database
from tests.bench import deployment
from tests.bench.case import Figure, Outcome, say
from tests.bench.cases.pipeline import EXTRA, JOB_SECONDS, LATENCY, plan
from tests.bench.deployment import STAGES, Deployment
from tests.bench.meter import measure
from tests.bench.stand import Stand

NAME = "writes"
SENTENCE = "ledger writes for 2,000 requests, half access and half erasure: 6,000 submissions"
COMPARED_WITH = (
    "three row writes per submission (intent, accepted, ended) and none per poll; a collected result needs "
    "one more for its location"
)

REQUESTS = 2_000


def run(stand: Stand) -> Outcome:
    count = stand.count(REQUESTS)
    submissions, results = 3 * count, 2 * (count - count // 2)
    written: dict[str, Any] = {}
    with (
        stand.template(lambda url: plan(url, count)) as planned,
        stand.ledger(planned) as ledger,
        stand.folder() as folder,
        stand.vendors(latency=LATENCY, job_seconds=JOB_SECONDS) as vendors,
    ):
        settings = Deployment(ledger, vendors.url, folder, EXTRA)
        for stage in STAGES:
            before = _counters(ledger)
            measure(deployment.pass_on, settings, (stage,))
            after = _counters(ledger)
            written[stage] = {name: after[name] - before[name] for name in before}
            say(f"{stage}: {written[stage]['rows']:,} rows, {written[stage]['commits']:,} commits")
    until_ended = written["submit"]["rows"] + written["poll"]["rows"]
    commits = sum(stage["commits"] for stage in written.values())
    return Outcome(
        [
            Figure(
                "rows written per submission, until the vendor has ended", until_ended / submissions, "", 3.1
            ),
            Figure("rows written per result collected", written["collect"]["rows"] / results, ""),
            Figure("commits per submission, reading ones included", commits / submissions, "", 0.05),
        ],
        {"submissions": submissions, "results": results, "written": written},
    )


def _counters(url: str) -> dict[str, int]:
    """Returns how many rows were written to the ledger's tables, and how many transactions ran in this
    database.

    PostgreSQL gets the counts of a session when the session ends. The sessions of the stages have ended
    before this call.
    """
    with database.connect(url) as db:
        rows = db.execute(
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint AS n FROM pg_stat_user_tables"
            " WHERE schemaname = 'dsar'"
        ).fetchone()
        commits = db.execute(
            "SELECT xact_commit AS n FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert rows is not None and commits is not None
    return {"rows": rows["n"], "commits": commits["n"]}
