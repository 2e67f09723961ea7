"""The long form of `test_crash.py`: every step, and as many pairs as one likes. Run it with

    make crash SEED=1 COUNT=500

It is not collected by itself.
"""

from __future__ import annotations

import os
from collections import Counter

from tests.crash.laboratory import Place
from tests.crash.search import Findings, Search, pairs_of_kills, single_kills

WRITES_FILES = ("collect", "package", "report")
SEED, COUNT = int(os.environ.get("SEED", "1")), int(os.environ.get("COUNT", "500"))


def test_a_kill_beside_any_step_costs_nothing(search: Search) -> None:
    """Before and after each step of a run, and in an object store each of those that write files."""
    for place in Place:
        steps = search.undisturbed(place).steps
        if place is Place.BUCKET:
            steps = Counter({name: n for name, n in steps.items() if _stage(name) in WRITES_FILES})
        print(f"\n{steps.total()} steps of {len(steps)} kinds; {place}", flush=True)
        _tell(search.try_all(single_kills(steps, max(steps.values()), place)))


def test_two_kills_cost_nothing(search: Search) -> None:
    """COUNT pairs, chosen by SEED."""
    print(f"\n{COUNT} pairs, seed {SEED}", flush=True)
    _tell(search.try_all(pairs_of_kills(search.undisturbed().steps, SEED, COUNT)))


def _stage(step: str) -> str:
    return step.partition(":")[0].rpartition(" ")[2]


def _tell(findings: Findings) -> None:
    print(findings, flush=True)
    assert not findings.broken
