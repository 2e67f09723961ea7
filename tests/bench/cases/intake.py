"""Compares intake with a COPY of the resulting rows."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

from include.dsar.ledger import database
from tests.bench import deployment, source_rows
from tests.bench.case import Figure, Outcome, say
from tests.bench.meter import measure
from tests.bench.stand import Stand

NAME = "intake"
SENTENCE = "intake of 100,000 rows with validation, which plans 600,000 submissions"
COMPARED_WITH = "PostgreSQL's COPY of the resulting rows of the ledger"

ROWS = 100_000
TABLES = ("dsar.request", "dsar.submission")
CHUNK = 1024 * 1024


def run(stand: Stand) -> Outcome:
    count = stand.count(ROWS)
    runs: list[dict[str, Any]] = []
    with stand.template(lambda url: source_rows.insert(url, source_rows.all_kinds(count))) as filled:
        for _ in range(stand.repeats):
            with stand.ledger(filled) as ledger, stand.folder() as folder:
                ours = measure(deployment.take_in, ledger)
                copied = _copied_out(ledger, folder)
            with stand.folder() as _, stand.ledger() as empty:
                seconds = measure(copy_in, empty, copied).result
            say(f"ours: {ours.wall:.1f} s, processor {ours.processor:.1f} s; COPY: {seconds:.1f} s")
            runs.append({"wall": ours.wall, "processor": ours.processor, "copy": seconds})
    return Outcome(
        [
            Figure("wall time", median(run["wall"] / run["copy"] for run in runs), target=5),
            Figure("wall time of ours", median(run["wall"] for run in runs), "s"),
            Figure("processor time of ours", median(run["processor"] for run in runs), "s"),
            Figure("wall time of COPY", median(run["copy"] for run in runs), "s"),
        ],
        {"rows": count, "runs": runs},
    )


def _copied_out(url: str, folder: Path) -> dict[str, bytes]:
    """Returns both tables in the format of COPY."""
    found = {}
    with database.connect(url) as db, db.cursor() as cursor:
        for table in TABLES:
            with cursor.copy(f"COPY {table} TO STDOUT") as copy:  # type: ignore[arg-type]
                found[table] = b"".join(copy)
    return found


def copy_in(url: str, tables: dict[str, bytes]) -> float:
    """Returns the seconds that COPY takes for the tables, with the ledger's indexes and constraints."""
    began = time.perf_counter()
    with database.connect(url) as db, db.cursor() as cursor:
        for table, content in tables.items():
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:  # type: ignore[arg-type]
                for at in range(0, len(content), CHUNK):
                    copy.write(content[at : at + CHUNK])
    return time.perf_counter() - began
