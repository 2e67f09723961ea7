"""Compares the package stage with `zipfile` writing the same bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import collected, deployment
from tests.bench.case import Figure, Outcome, say
from tests.bench.deployment import Deployment
from tests.bench.meter import measure
from tests.bench.stand import Stand

NAME = "package"
SENTENCE = "package and close 5,000 access requests, each with 20 kB of data from two vendors"
COMPARED_WITH = "Python's zipfile writing archives of the same bytes from memory"

REQUESTS = 5_000
PACKAGES_READ = 100  # the baseline writes their contents repeatedly


def run(stand: Stand) -> Outcome:
    count = stand.count(REQUESTS)
    runs: list[dict[str, Any]] = []
    for _ in range(stand.repeats):
        with stand.ledger() as ledger, stand.folder() as folder, stand.folder() as archives:
            collected.fill(ledger, folder, count)
            ours = measure(deployment.deliver, Deployment(ledger, "", folder))
            if ours.result.completed != count:
                raise RuntimeError(f"only {ours.result.completed} of {count} were packaged")
            packages = sorted((folder / "storage/requests").glob("*/package.zip"))
            members = [_members(package) for package in packages[:PACKAGES_READ]]
            size = sum(package.stat().st_size for package in packages) / count
            # No files are deleted in between, because that slows down new files on some file systems.
            theirs = measure(write_archives, archives, members, count)
        say(
            f"ours: {ours.wall:.1f} s, processor {ours.processor:.1f} s ({ours.system:.1f} s of it system); "
            f"zipfile: {theirs.wall:.1f} s, processor {theirs.processor:.1f} s ({theirs.system:.1f} s); "
            f"{size / 1000:.0f} kB a package"
        )
        runs.append(
            {
                "processor": ours.processor,
                "system": ours.system,
                "wall": ours.wall,
                "zipfile": theirs.processor,
                "zipfile_system": theirs.system,
                "zipfile_wall": theirs.wall,
            }
        )
    return Outcome(
        [
            Figure("processor time", median(run["processor"] / run["zipfile"] for run in runs), target=2.5),
            Figure("cores used", median(run["processor"] / run["wall"] for run in runs), ""),
            Figure("wall time", median(run["wall"] / run["zipfile_wall"] for run in runs)),
            Figure("processor time a package", _milliseconds(runs, "processor", count), "ms"),
            Figure("of which system time", _milliseconds(runs, "system", count), "ms"),
            Figure("of which zipfile would take", _milliseconds(runs, "zipfile", count), "ms"),
            Figure("system time of zipfile", _milliseconds(runs, "zipfile_system", count), "ms"),
        ],
        {"requests": count, "package_bytes": size, "runs": runs},
    )


def _milliseconds(runs: Sequence[dict[str, Any]], what: str, count: int) -> float:
    return 1000 * median(run[what] for run in runs) / count


def _members(package: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(package) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_archives(folder: Path, contents: Sequence[dict[str, bytes]], count: int) -> None:
    """Write `count` archives. The same contents are written repeatedly."""
    for number, members in enumerate(islice(cycle(contents), count)):
        with zipfile.ZipFile(folder / f"{number}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
