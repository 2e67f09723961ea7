"""Compares a trigger that has 100,000 open jobs with a trigger that has 100 open jobs."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import time
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from include.dsar.ledger import database
from tests.bench.case import Figure, Outcome, Plot, say
from tests.bench.meter import measure
from tests.bench.stand import Stand, VendorServer

NAME = "trigger"
SENTENCE = "one trigger polls 100,000 open jobs of an account for 40 seconds, at 500 polls a second"
COMPARED_WITH = "the same trigger with 100 open jobs"

JOBS, FEW = 100_000, 100
MORE_SIZES = (1_000, 10_000)  # measured once, for the plot
SECONDS = 40.0
RATE = 500
PROBE_SECONDS = 0.005  # between two checks of the event loop

FILL = """
WITH r AS (
    INSERT INTO dsar.request (request_id, action, regulation, received_at, due_at, fingerprint, planned_at)
    SELECT 'r-' || n, 'erasure', 'GDPR', now(), now() + interval '30 days', '', now()
      FROM generate_series(1, %(jobs)s) AS n
    RETURNING id
)
INSERT INTO dsar.submission (request, account, vendor, identity, identity_hash, identifiers, state, due_at,
                             attempts, job_id, submitted_at, changed_at)
SELECT id, 'attentive', 'attentive', 'email', md5(id::text),
       jsonb_build_object('email', id || '@example.com'),
       'submitted', now() + interval '30 days', 1, gen_random_uuid()::text,
       now() - (id %% 30) * interval '1 day', now()
  FROM r
"""


def run(stand: Stand) -> Outcome:
    many, few = stand.count(JOBS), stand.count(FEW)
    runs: list[dict[str, dict[str, Any]]] = []
    for _ in range(stand.repeats):
        with stand.vendors(latency=0.05) as vendors:
            runs.append({"many": _polled(stand, vendors, many), "few": _polled(stand, vendors, few)})
    with stand.vendors(latency=0.05) as vendors:
        between = {n: _polled(stand, vendors, n) for n in map(stand.count, MORE_SIZES)}
    memory = {
        few: median(r["few"]["memory"] for r in runs),
        **{n: one["memory"] for n, one in between.items()},
        many: median(r["many"]["memory"] for r in runs),
    }
    held = max(run["many"]["held"] for run in runs)
    return Outcome(
        [
            Figure(
                "more memory",
                median(r["many"]["memory"] - r["few"]["memory"] for r in runs),
                "MB",
                target=150,
            ),
            Figure("event loop held at most", 1000 * held, "ms", target=100),
            Figure(
                "busiest second of polls ÷ the account's rate",
                median(r["many"]["busiest"] / RATE for r in runs),
                target=1.1,
            ),
            Figure("first poll after", median(r["many"]["first_poll"] for r in runs), "s"),
            Figure("processor time", median(r["many"]["processor"] for r in runs), "s"),
        ],
        {"jobs": many, "runs": runs, "between": between},
        [
            Plot(
                "memory-by-jobs",
                "Memory of a process with one trigger, by the jobs that it polls",
                "open jobs",
                "MB",
                {"most memory": list(memory.items())},
            )
        ],
    )


def _polled(stand: Stand, vendors: VendorServer, jobs: int) -> dict[str, Any]:
    with stand.ledger() as ledger:
        with database.connect(ledger) as db:
            db.execute(FILL, {"jobs": jobs})
            db.execute("ANALYZE dsar.submission")
        vendors.reset()
        done = measure(poll, ledger, vendors.url, SECONDS)
    polls = vendors.counted()["calls"].get("attentive status", 0)
    result = {**done.result, "processor": done.processor, "polls": polls}
    say(
        f"{jobs:,} jobs: {result['memory']:.0f} MB, loop held {1000 * result['held']:.0f} ms at most, "
        f"{polls:,} polls, busiest second {result['busiest']}, first after {result['first_poll']:.1f} s"
    )
    return result


def poll(ledger: str, vendors: str, seconds: float) -> dict[str, Any]:
    """Run the trigger as a triggerer does. Returns memory, polls and the longest block of the event loop."""
    os.environ["AIRFLOW_CONN_DSAR_DB"] = ledger
    os.environ["AIRFLOW_CONN_ATTENTIVE_DEFAULT"] = json.dumps(
        {
            "conn_type": "http",
            "host": vendors,
            "password": "secret",
            "extra": {
                "requests_per_second": RATE,
                "max_concurrency": 64,
                "poll_min_seconds": 3600,
                "poll_max_seconds": 86_400,
            },
        }
    )
    return asyncio.run(_poll(seconds))


async def _poll(seconds: float) -> dict[str, Any]:
    import dsar_airflow.connections.account_work  # noqa: F401 - imported before the measurement
    from dsar_airflow.triggers import PollTrigger
    from include.dsar.http.client import Client

    polled: list[float] = []
    send = Client.send

    async def recorded(self: Client, request: Any) -> Any:
        reply = await send(self, request)
        polled.append(time.monotonic())
        return reply

    Client.send = recorded  # type: ignore[method-assign]
    now = datetime.now(UTC)
    trigger = PollTrigger(
        account="attentive",
        since=now.isoformat(),
        until=(now + timedelta(seconds=seconds)).isoformat(),
        request_pks=None,
    )
    gc.collect()
    began = time.monotonic()
    probing = asyncio.create_task(_longest_pause())
    running = asyncio.create_task(anext(aiter(trigger.run())))  # type: ignore[arg-type]
    await asyncio.sleep(seconds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    running.cancel()
    probing.cancel()
    held = (await asyncio.gather(running, probing, return_exceptions=True))[1]
    seconds_of = [int(at - began) for at in polled]
    return {
        "memory": memory,
        "held": held,
        "busiest": max(map(seconds_of.count, set(seconds_of)), default=0),
        "first_poll": min(polled, default=began) - began,
    }


async def _longest_pause() -> float:
    """Returns the longest block of the event loop in seconds, without time that other processes used."""
    longest = 0.0
    try:
        while True:
            began, used = time.monotonic(), time.process_time()
            await asyncio.sleep(PROBE_SECONDS)
            pause = min(time.monotonic() - began - PROBE_SECONDS, time.process_time() - used)
            longest = max(longest, pause)
    except asyncio.CancelledError:
        return longest
