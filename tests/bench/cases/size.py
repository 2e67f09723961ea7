"""Measures the time per request for a growing number of requests."""

from __future__ import annotations

from statistics import median
from typing import Any

from tests.bench import deployment, source_rows
from tests.bench.case import Figure, Outcome, Plot, say
from tests.bench.deployment import NO_LIMIT, Deployment
from tests.bench.meter import measure
from tests.bench.stand import Stand

NAME = "size"
SENTENCE = (
    "1,000, 10,000 and 100,000 requests from the source table to closed, each at one account; "
    "vendors without latency"
)
COMPARED_WITH = "linear: the time per request at 1,000"

SIZES = {1_000: 5, 10_000: 3, 100_000: 1}  # requests: runs (the figure is their median)
EXTRA = {
    "requests_per_second": NO_LIMIT,
    "max_concurrency": 32,
    "poll_min_seconds": 0.01,
    "poll_max_seconds": 1,
}


def run(stand: Stand) -> Outcome:
    sizes = []
    with stand.vendors() as vendors:
        for full, repeats in SIZES.items():
            count = stand.count(full)
            runs = []
            for _ in range(min(repeats, stand.repeats)):
                with stand.ledger() as ledger, stand.folder() as folder:
                    source_rows.insert(ledger, source_rows.one_account_each(count))
                    vendors.reset()
                    done = measure(deployment.whole_run, Deployment(ledger, vendors.url, folder, EXTRA))
                    busy = vendors.counted()["busy"]
                runs.append(
                    {
                        "wall": done.wall,
                        "processor": done.processor,
                        "memory": done.memory,
                        "parts": done.result,
                    }
                )
                parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in done.result.items())
                say(
                    f"{count:,}: {done.wall:.1f} s ({parts}), processor {done.processor:.1f} s, "
                    f"{done.memory:.0f} MB; vendor server busy {busy:.0%}"
                )
            sizes.append({"requests": count, "runs": runs, **_per_request(runs, count)})
    first, last = sizes[0], sizes[-1]
    return Outcome(
        [
            Figure("time per request, 100,000 beside 1,000", last["wall_ms"] / first["wall_ms"], target=1.1),
            Figure(
                "processor time per request, 100,000 beside 1,000",
                last["processor_ms"] / first["processor_ms"],
            ),
            *(Figure(f"time per request at {size['requests']:,}", size["wall_ms"], "ms") for size in sizes),
            Figure("memory at 100,000", last["memory_mb"], "MB"),
        ],
        {"sizes": sizes},
        [
            Plot(
                "cost-by-size",
                "Cost of a request, from the source table to closed",
                "requests in the run",
                "ms a request",
                {
                    name: [(size["requests"], size[key]) for size in sizes]
                    for name, key in (("wall time", "wall_ms"), ("processor time", "processor_ms"))
                },
            )
        ],
    )


def _per_request(runs: list[dict[str, Any]], count: int) -> dict[str, float]:
    return {
        "wall_ms": 1000 * median(run["wall"] for run in runs) / count,
        "processor_ms": 1000 * median(run["processor"] for run in runs) / count,
        "memory_mb": median(run["memory"] for run in runs),
    }
