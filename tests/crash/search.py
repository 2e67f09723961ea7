"""Chooses kills, runs their cases, and collects the problems that they cause."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle, product
from pathlib import Path
from queue import SimpleQueue

from include.stack.home import Home
from tests.crash.consistency import Ending, Outcomes
from tests.crash.laboratory import KILLED, Case, Laboratory, Place, Restart
from tests.crash.steps import Kill

AT_ONCE = 2
CASES_PER_LOG_LINE = 50
STEPS_OF_A_SECOND_RUN = 120  # a second run has about as many steps


@dataclass(frozen=True)
class Undisturbed:
    """A case without a kill: how often each step ran, and the final state that all other cases must reach."""

    steps: Counter[str]
    outcomes: Outcomes
    members: dict[str, list[str]]


@dataclass
class Findings:
    """The results of a search: the cases, the kills and the problems."""

    cases: int = 0
    kills: int = 0
    reached: int = 0  # cases in which each kill happened
    broken: list[tuple[Case, list[str]]] = field(default_factory=list)

    def __str__(self) -> str:
        told = f"{self.cases} cases, {self.kills} kills, {self.reached} as planned; {len(self.broken)} broken"
        return "\n".join([told, *(f"{case}:\n  " + "\n  ".join(what) for case, what in self.broken)])


class Search:
    """Runs a few cases at the same time."""

    def __init__(self, server: Home, root: Path) -> None:
        self._server, self._root = server, root
        self._free: SimpleQueue[Laboratory] = SimpleQueue()
        self._undisturbed: dict[Place, Undisturbed] = {}

    def __enter__(self) -> Search:
        self._ending = ExitStack()
        for _ in range(AT_ONCE):
            self._free.put(self._ending.enter_context(Laboratory(self._server, self._root)))
        for place in Place:
            self._undisturbed[place] = self._run_undisturbed(place)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def undisturbed(self, place: Place = Place.DISK) -> Undisturbed:
        return self._undisturbed[place]

    def try_all(self, cases: Iterable[Case]) -> Findings:
        findings = Findings()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for case, statuses, problems in pool.map(self._try, cases):
                kills = statuses.count(KILLED)
                findings.cases += 1
                findings.kills += kills
                findings.reached += kills == len(case.kills)
                if problems:
                    findings.broken.append((case, problems))
                    print(f"{case}: {problems[0]}", flush=True)
                if findings.cases % CASES_PER_LOG_LINE == 0:
                    print(f"{findings.cases} cases so far, {len(findings.broken)} broken", flush=True)
        return findings

    def _run_undisturbed(self, place: Place) -> Undisturbed:
        laboratory = self._free.get()
        with laboratory.run(Case(place=place)) as world:
            ending = Ending(world)
            problems = ending.problems()
            assert not problems, [*problems, world.log()]
            undisturbed = Undisturbed(Counter(world.runs[0]), ending.outcomes(), ending.members())
        self._free.put(laboratory)
        return undisturbed

    def _try(self, case: Case) -> tuple[Case, list[int], list[str]]:
        laboratory = self._free.get()
        try:
            with laboratory.run(case) as world:
                ending = Ending(world)
                problems = ending.problems() or self._differences(case, ending)
                return case, world.statuses, [*problems, world.log()] if problems else []
        finally:
            self._free.put(laboratory)

    def _differences(self, case: Case, ending: Ending) -> list[str]:
        wanted, outcomes = self._undisturbed[case.place], ending.outcomes()
        found = []
        if outcomes != wanted.outcomes:
            found.append(f"outcomes: {outcomes - wanted.outcomes} instead of {wanted.outcomes - outcomes}")
        if ending.members() != wanted.members:
            found.append("the packages hold something else than without a kill")
        return found


def single_kills(steps: Counter[str], picks: int, place: Place = Place.DISK) -> Iterator[Case]:
    """Yields kills before and after up to `picks` steps of each kind, including the first and the last."""
    restarts = cycle(Restart)
    for name, count in steps.items():
        for n in _spread(count, picks):
            for after in (False, True):
                yield Case((Kill(name, n, after),), next(restarts), place)


def kills_in_turn(steps: Counter[str]) -> Iterator[Case]:
    """Yields kills before and after the first and the last step of each kind.

    If several accounts have the same step, each account gets a part of the kills.
    """
    restarts, turns = cycle(Restart), Counter[str]()
    for name, count in steps.items():
        alike = name.partition(" ")[2]  # without the account or stage
        shared = sum(alike == other.partition(" ")[2] for other in steps) > 1
        turns[alike] += 1
        for n, after in product(sorted({1, count}), (False, True)):
            if not shared or after == ((n > 1) ^ (turns[alike] % 2 == 0)):
                yield Case((Kill(name, n, after),), next(restarts))


def pairs_of_kills(steps: Counter[str], seed: int, count: int) -> Iterator[Case]:
    """Yields pairs of kills. The first kill is at any step. The second kill is in the process that starts
    next.
    """
    chance = random.Random(seed)
    for _ in range(count):
        name = chance.choice(list(steps))
        first = Kill(name, chance.randint(1, steps[name]), chance.random() < 0.5)
        second = Kill(None, chance.randint(1, STEPS_OF_A_SECOND_RUN), chance.random() < 0.5)
        yield Case((first, second), chance.choice(list(Restart)), chance.choice(list(Place)))


def _spread(count: int, picks: int) -> Sequence[int]:
    """Returns up to `picks` numbers from 1 to `count`, including 1 and `count`."""
    if count <= picks:
        return range(1, count + 1)
    return sorted({1 + round(i * (count - 1) / (picks - 1)) for i in range(picks)})
