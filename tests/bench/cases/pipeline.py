"""Compares the stages submit, poll and collect with a minimal script that makes the same calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import bare_script, deployment, source_rows
from tests.bench.bare_script import Script
from tests.bench.case import Figure, Outcome, say
from tests.bench.deployment import Deployment
from tests.bench.meter import Measured, measure
from tests.bench.stand import Stand, VendorServer

NAME = "pipeline"
SENTENCE = (
    "submit, poll and collect 10,000 requests, half access and half erasure, at four accounts; "
    "vendor latency 50 ms, no rate limit"
)
COMPARED_WITH = "a minimal asyncio script with the same calls and concurrency, but no ledger and no checks"

REQUESTS = 10_000
LATENCY = 0.05
JOB_SECONDS = 0.5
CONCURRENCY = 32
EXTRA = {
    "requests_per_second": deployment.NO_LIMIT,
    "max_concurrency": CONCURRENCY,
    "poll_min_seconds": 0.5,
    "poll_max_seconds": 5,
}


def run(stand: Stand) -> Outcome:
    count = stand.count(REQUESTS)
    runs: list[dict[str, Any]] = []
    with (
        stand.template(lambda url: plan(url, count)) as planned,
        stand.vendors(latency=LATENCY, job_seconds=JOB_SECONDS) as vendors,
        ExitStack() as until_the_end,
    ):
        # No files are deleted between runs, because ext4 then creates new files slowly.
        for _ in range(stand.repeats):
            ours, script = (until_the_end.enter_context(stand.folder()) for _ in range(2))
            ledger = until_the_end.enter_context(stand.ledger(planned))
            runs.append({"ours": _ours(ledger, ours, vendors), "script": _script(script, count, vendors)})
    return Outcome(
        [
            Figure("wall time", _ratio(runs, "wall"), target=1.25),
            Figure("processor time", _ratio(runs, "processor"), target=2),
            Figure("wall time of ours", median(r["ours"]["wall"] for r in runs), "s"),
            Figure("processor time of ours", median(r["ours"]["processor"] for r in runs), "s"),
            Figure("processor time of the script", median(r["script"]["processor"] for r in runs), "s"),
            Figure("vendor server busy", 100 * max(r["ours"]["counted"]["busy"] for r in runs), "%"),
        ],
        {"requests": count, "runs": runs},
    )


def plan(url: str, count: int) -> None:
    source_rows.insert(url, source_rows.half_access(count))
    deployment.take_in(url)


def _ours(ledger: str, folder: Path, vendors: VendorServer) -> dict[str, Any]:
    vendors.reset()
    done = measure(deployment.pass_on, Deployment(ledger, vendors.url, folder, EXTRA))
    return _result("ours", done, vendors.counted())


def _script(folder: Path, count: int, vendors: VendorServer) -> dict[str, Any]:
    vendors.reset()
    listed = _listed(folder / "subjects.json", count)
    done = measure(bare_script.pass_on, Script(vendors.url, listed, folder, CONCURRENCY))
    return _result("script", done, vendors.counted())


def _listed(path: Path, count: int) -> Path:
    """Write the same data subjects to a file for the script."""
    listed = [
        {"access": kind == "access", "id": ids[0], "email": email and email[0], "phone": phone and phone[0]}
        for _, kind, _, _, email, phone, ids, *_ in source_rows.half_access(count)
    ]
    path.write_text(json.dumps(listed))
    return path


def _result(who: str, done: Measured, counted: Mapping[str, Any]) -> dict[str, Any]:
    say(
        f"{who}: {done.wall:.1f} s, processor {done.processor:.1f} s; vendor server busy "
        f"{counted['busy']:.0%}, its replies {counted['late_ms']:.1f} ms late on average"
    )
    say(f"    calls: {counted['calls']}")
    return {"wall": done.wall, "processor": done.processor, "stages": done.result, "counted": counted}


def _ratio(runs: list[dict[str, Any]], what: str) -> float:
    return median(pair["ours"][what] / pair["script"][what] for pair in runs)
