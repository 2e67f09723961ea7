"""The long form of `test_crash.py`, with a kill at every step and COUNT pairs of kills. Run it with

    make crash SEED=1 COUNT=500

A plain pytest run does not collect it.
"""

from __future__ import annotations

import os
from collections import Counter

from tests.crash.laboratory import Place
from tests.crash.search import Findings, Search, pairs_of_kills, single_kills

WRITES_FILES = ("collect", "package", "report")
SEED, COUNT = int(os.environ.get("SEED", "1")), int(os.environ.get("COUNT", "500"))


def test_a_kill_at_any_step_does_no_harm(search: Search) -> None:
    """A kill before or after each step does no harm. With an object store, only writes are tested."""
    for place in Place:
        steps = search.undisturbed(place).steps
        if place is Place.BUCKET:
            steps = Counter({name: n for name, n in steps.items() if _stage(name) in WRITES_FILES})
        print(f"\n{steps.total()} steps of {len(steps)} kinds; {place}", flush=True)
        _tell(search.try_all(single_kills(steps, max(steps.values()), place)))


def test_two_kills_do_no_harm(search: Search) -> None:
    """Two kills do no harm. SEED selects COUNT pairs of kills."""
    print(f"\n{COUNT} pairs, seed {SEED}", flush=True)
    _tell(search.try_all(pairs_of_kills(search.undisturbed().steps, SEED, COUNT)))


def _stage(step: str) -> str:
    return step.partition(":")[0].rpartition(" ")[2]


def _tell(findings: Findings) -> None:
    print(findings, flush=True)
    assert not findings.broken
