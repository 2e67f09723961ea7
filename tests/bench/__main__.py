"""`make bench` runs all benchmark cases one after another and prints the figures as a table and as JSON.

    make bench                              all cases; takes 45 minutes on two idle cores
    make bench CASES="package intake"       some cases
    make bench SCALE=0.1                    a small run, to try a change; do not quote its figures
    make bench DOCS=1                       also writes tables and plots into docs/performance.md

The JSON keeps the latest figures of every case, including cases that this call does not run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shutil
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.stack.home import PROJECT, Home
from tests.bench import page
from tests.bench.case import Case, Outcome
from tests.bench.cases import ALL
from tests.bench.stand import Stand, bench_stand


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make bench", description="Compare the project with the best possible figures."
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of: {', '.join(ALL)}")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="size of the cases; only figures of scale 1 may be quoted"
    )
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs; the figure is their median")
    parser.add_argument("--json", type=Path, default=PROJECT / ".dsar/bench.json")
    parser.add_argument("--docs", action="store_true", help="write the figures into docs/performance.md")
    arguments = parser.parse_args()
    unknown = set(arguments.cases) - set(ALL)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    if arguments.docs and arguments.scale != 1:
        parser.error("--docs needs scale 1")
    results = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    scratch = Path(tempfile.mkdtemp(prefix="dsar-bench-"))
    try:
        with bench_stand(Home(scratch / "home"), arguments.scale, arguments.repeats) as stand:
            for name in arguments.cases or ALL:
                results[name] = run(importlib.import_module(f"tests.bench.cases.{name}"), stand)
                arguments.json.parent.mkdir(parents=True, exist_ok=True)
                arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    results = {name: results[name] for name in ALL if name in results}
    print("\n" + page.table(results))
    if arguments.docs:
        page.write(results)


def run(case: Case, stand: Stand) -> dict[str, Any]:
    print(f"\n{case.NAME}: {case.SENTENCE}\n    compared with {case.COMPARED_WITH}", flush=True)
    began = time.monotonic()
    outcome = case.run(stand)
    took = time.monotonic() - began
    for figure in outcome.figures:
        print(f"    {page.figure_line(asdict(figure) | {'met': figure.met})}")
    print(f"    took {took:.0f} s", flush=True)
    return _as_json(case, outcome, stand, took)


def _as_json(case: Case, outcome: Outcome, stand: Stand, took: float) -> dict[str, Any]:
    return {
        "sentence": case.SENTENCE,
        "compared_with": case.COMPARED_WITH,
        "figures": [asdict(figure) | {"met": figure.met} for figure in outcome.figures],
        "detail": outcome.detail,
        "plots": [asdict(plot) for plot in outcome.plots],
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(took),
        "scale": stand.scale,
        "repeats": stand.repeats,
        "machine": machine(),
    }


def machine() -> str:
    """Returns a line that describes the machine on which the figures were measured."""
    model = "unknown processor"
    if (info := Path("/proc/cpuinfo")).exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{cores} cores ({model}), {memory:.0f} GB, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
