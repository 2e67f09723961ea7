"""Compares a run of the whole DAG with a run of an empty DAG, and with a run of standard operators."""

from __future__ import annotations

from statistics import median
from typing import Any

import psycopg

from tests.bench import source_rows
from tests.bench.airflow_stand import AirflowStand, airflow
from tests.bench.case import Figure, Outcome, say
from tests.bench.stand import Stand

NAME = "dag"
SENTENCE = (
    "the whole DAG under the scheduler, with 100 and with 10,000 requests, half access and half erasure"
)
COMPARED_WITH = (
    "a DAG of the same shape with empty tasks, including deferrals; and the usual way, a mapped "
    "HttpOperator and a deferrable HttpSensor for each submission, extrapolated from 40 of them"
)

FEW, MANY = 100, 10_000
PAIRS = 40  # measured pairs of HttpOperator and HttpSensor
LATENCY, JOB_SECONDS = 0.05, 0.5


def run(stand: Stand) -> Outcome:
    many = stand.count(MANY)
    with stand.vendors(latency=LATENCY, job_seconds=JOB_SECONDS) as vendors, airflow(vendors) as stack:
        stack.run("idle")  # a first run, to warm up every process of the stack
        runs = [{"idle": stack.run("idle"), "ours": _ours(stack, FEW)} for _ in range(stand.repeats)]
        for one in runs:
            say(f"{FEW} requests: {one['ours']:.1f} s; nothing: {one['idle']:.1f} s")
        ours = _ours(stack, many)
        submissions = _submissions(stack)
        usual = [stack.run("usual", submissions=PAIRS) for _ in range(stand.repeats)]
        pair = median(usual) / PAIRS
        usually = pair * submissions
        say(f"{many:,} requests, {submissions:,} submissions: {ours:.1f} s")
        say(f"the usual way: {PAIRS} submissions take {median(usual):.1f} s, so all of them {usually:,.0f} s")
    return Outcome(
        [
            Figure("100 requests beside a DAG that does nothing", _ratio(runs), target=1.3),
            Figure("100 requests", median(one["ours"] for one in runs), "s"),
            Figure("a DAG that does nothing", median(one["idle"] for one in runs), "s"),
            Figure(
                f"faster than the usual way, {many:,} requests",
                usually / ours,
                target=200,
                must_be="at least",
            ),
            Figure(f"{many:,} requests", ours, "s"),
            Figure("a submission in the usual way", pair, "s"),
            Figure("the usual way, extrapolated", usually / 3600, "h"),
        ],
        {"runs": runs, "usual": usual, "submissions": submissions, "ours": ours},
    )


def _ours(stack: AirflowStand, count: int) -> float:
    """Returns the seconds of a run of the project's DAG with `count` new requests and an empty ledger."""
    with psycopg.connect(stack.stack.dsn, autocommit=True) as db:
        db.execute("DROP SCHEMA IF EXISTS dsar CASCADE")
        db.execute("TRUNCATE public.dsar_requests")
    source_rows.insert(stack.stack.dsn, source_rows.half_access(count))
    seconds = stack.run("dsar_daily", await_minutes=10)
    with psycopg.connect(stack.stack.dsn) as db:
        row: Any = db.execute(
            "SELECT count(*) FROM public.dsar_requests WHERE status <> 'completed'"
        ).fetchone()
    if row[0]:
        raise RuntimeError(f"{row[0]} requests were not completed")
    return seconds


def _submissions(stack: AirflowStand) -> int:
    with psycopg.connect(stack.stack.dsn) as db:
        row: Any = db.execute(
            "SELECT count(*) FROM dsar.submission WHERE state <> 'not_applicable'"
        ).fetchone()
    return int(row[0])


def _ratio(runs: list[dict[str, float]]) -> float:
    return median(one["ours"] / one["idle"] for one in runs)
