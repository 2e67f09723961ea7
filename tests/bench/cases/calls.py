"""Compares the number of HTTP calls with the least possible number."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from include.dsar.execution.poll_schedule import FIRST_POLL_SPREAD, PollSchedule
from include.dsar.ledger import database
from tests.bench import deployment
from tests.bench.case import Figure, Outcome, say
from tests.bench.cases.pipeline import LATENCY, plan
from tests.bench.deployment import NO_LIMIT, Deployment
from tests.bench.meter import measure
from tests.bench.stand import Stand

NAME = "calls"
SENTENCE = "HTTP calls for 2,000 requests, half access and half erasure, with jobs of 6 seconds"
COMPARED_WITH = (
    "the least possible: one POST per job or full batch, the polling rule's count, one GET per result "
    "(at Batch two: the fresh address, and the download)"
)

REQUESTS = 2_000
JOB_SECONDS = 6.0
USERS_PER_CALL = 100
POLL_MIN, POLL_MAX = 1.0, 5.0


def run(stand: Stand) -> Outcome:
    count = stand.count(REQUESTS)
    extra = {
        "requests_per_second": NO_LIMIT,
        "max_concurrency": 64,
        "users_per_call": 1,
        "poll_min_seconds": POLL_MIN,
        "poll_max_seconds": POLL_MAX,
    }
    of_besitos = {"besitos": {"users_per_call": USERS_PER_CALL}}
    with (
        stand.template(lambda url: plan(url, count)) as planned,
        stand.ledger(planned) as ledger,
        stand.folder() as folder,
        stand.vendors(latency=LATENCY, job_seconds=JOB_SECONDS) as vendors,
    ):
        since = measure(deployment.pass_on, Deployment(ledger, vendors.url, folder, extra, of_besitos)).result
        calls, jobs = vendors.counted()["calls"], vendors.jobs()
        polls_since = {name: one["polls_since"] for name, one in since.items()}
        least, late = _least(ledger, count, jobs, polls_since)
    made = {
        "POSTs": sum(n for kind, n in calls.items() if kind.endswith("create")),
        "polls and results": sum(n for kind, n in calls.items() if not kind.endswith("create")),
    }
    say(f"made: {made}, least: {least}")
    made_in_all, least_in_all = sum(made.values()), sum(least.values())
    with_addresses_kept = least_in_all - calls["batch download"]
    return Outcome(
        [
            Figure("calls", made_in_all / least_in_all, target=1.02),
            Figure("calls, were Batch's addresses kept in the ledger", made_in_all / with_addresses_kept),
            Figure("polls later than the rule says by, median", late, "s"),
        ],
        {"calls": calls, "made": made, "least": least},
    )


def _least(
    ledger: str, count: int, jobs: dict[str, Any], since: dict[str, float]
) -> tuple[dict[str, int], float]:
    """Returns the least possible number of calls for the ledger's jobs, and the median delay of polls in
    seconds.

    The least number is computed from the actual polls. If a poll is late, the next poll is later too, so
    fewer polls are needed. A poll is unnecessary if it came too early, or after an earlier poll had seen
    the end of the job.
    """
    access, erasure = count - count // 2, count // 2
    with database.connect(ledger) as db:
        rows = db.execute(
            "SELECT account, job_id, min(extract(epoch FROM submitted_at))::float AS submitted_at"
            "  FROM dsar.submission WHERE job_id IS NOT NULL GROUP BY account, job_id"
        ).fetchall()
    full_batches = math.ceil(access / USERS_PER_CALL) + math.ceil(erasure / USERS_PER_CALL)
    results = math.ceil(access / USERS_PER_CALL) + 2 * access
    polls = [_necessary_polls(row, jobs[row["job_id"]], since[row["account"]]) for row in rows]
    late = median(lateness for one in polls for lateness in one)
    return {
        "POSTs": full_batches + count + 2 * erasure,
        "polls and results": sum(map(len, polls)) + results,
    }, late


def _necessary_polls(row: dict[str, Any], job: dict[str, Any], since: float) -> list[float]:
    """Returns the delay in seconds of each necessary poll. The last necessary poll is the poll that saw the
    end of the job.
    """
    schedule = PollSchedule(POLL_MIN, POLL_MAX, since)
    due = schedule.first(row["job_id"], row["submitted_at"], since - FIRST_POLL_SPREAD)
    late = []
    for asked in job["asked"]:
        if asked < due:
            continue
        late.append(asked - due)
        if asked >= job["ends"]:
            break
        due = schedule.next(row["job_id"], row["submitted_at"], asked + LATENCY)
    return late
