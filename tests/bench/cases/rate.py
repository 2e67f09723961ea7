"""Measures the time of a run that has a rate limit. The baseline is the number of calls divided by the
rate.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from tests.bench import deployment
from tests.bench.case import Figure, Outcome, say
from tests.bench.cases.pipeline import JOB_SECONDS, LATENCY, plan
from tests.bench.deployment import Deployment
from tests.bench.meter import measure
from tests.bench.stand import Stand

NAME = "rate"
SENTENCE = (
    "submit, poll and collect 2,000 requests, half access and half erasure, with a rate limit per account"
)
COMPARED_WITH = (
    "the least possible time of each account: its calls ÷ its rate; the figure is the slowest account"
)

REQUESTS = 2_000
LEAST_SECONDS = 30.0  # for each account; its rate follows from this
# Calls per request. A Besitos call has 100 users. Collecting a result takes one call, at Batch two calls.
CALLS = {"besitos": 2.5 / 100, "batch": 3.0, "id5": 1.0, "attentive": 1.0}


def run(stand: Stand) -> Outcome:
    count = stand.count(REQUESTS)
    seconds = LEAST_SECONDS * max(stand.scale, 0.2)
    rates = {account: calls * count / seconds for account, calls in CALLS.items()}
    extra = {"max_concurrency": 32, "poll_min_seconds": 0.5, "poll_max_seconds": 5}
    extra_of = {account: {"requests_per_second": rate} for account, rate in rates.items()}
    runs: list[dict[str, Any]] = []
    with (
        stand.template(lambda url: plan(url, count)) as planned,
        stand.vendors(latency=LATENCY, job_seconds=JOB_SECONDS) as vendors,
    ):
        for _ in range(stand.repeats):
            with stand.ledger(planned) as ledger, stand.folder() as folder:
                vendors.reset()
                done = measure(deployment.pass_on, Deployment(ledger, vendors.url, folder, extra, extra_of))
                counted = vendors.counted()
            runs.append(
                {name: _account(name, done.result[name], counted["calls"], rates[name]) for name in CALLS}
            )
            say(
                ", ".join(
                    f"{name} {one['seconds']:.1f} s for {one['least']:.1f} s"
                    for name, one in runs[-1].items()
                )
            )
    return Outcome(
        [Figure("wall time", median(max(one["ratio"] for one in run.values()) for run in runs), target=1.03)],
        {"rates": rates, "runs": runs},
    )


def _account(name: str, stages: dict[str, float], calls: dict[str, int], rate: float) -> dict[str, Any]:
    made = sum(n for kind, n in calls.items() if kind.startswith(f"{name} "))
    seconds = sum(stages.get(stage, 0.0) for stage in deployment.STAGES)
    by_stage = {stage: stages[stage] for stage in deployment.STAGES if stage in stages}
    return {
        "stages": by_stage,
        "calls": made,
        "seconds": seconds,
        "least": made / rate,
        "ratio": seconds * rate / made,
    }
