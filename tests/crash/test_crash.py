"""A process is killed with SIGKILL right before and right after its durable and external steps.

`steps.py` says what a step is; here each *kind* of step (a stage, an account and what is done) is hit
at its first and last occurrence, alone, and some tens of pairs of steps are hit one after
the other. After each kill the stages are started again (the same task, another run at once, or the next
day's) until all is done; `outcome.py` then compares the ledger, the source and the storage with the
sandbox's own jobs. `make crash` hits every step, and as many pairs as one likes.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.crash.laboratory import Case, Place, Restart
from tests.crash.search import Search, kills_in_turn, pairs_of_kills, single_kills
from tests.crash.steps import Kill

# One of each kind that matters: were a step not counted any more, no kill would try it.
COUNTED = {
    "intake: plan commit",
    "intake: add COPY staged_submission",
    "intake: source commit",
    "intake: mark_written_back UPDATE dsar.request",
    "besitos submit: register pg_advisory_lock",
    "besitos submit: claim UPDATE dsar.submission",
    "besitos submit: POST create",
    "besitos submit: move out of submitting",
    "besitos await: GET status",
    "besitos await: move out of submitted",
    "besitos collect: write a piece of a file",
    "besitos collect: rename to *.json",
    "besitos collect: move out of ready",
    "batch submit: GET list",
    "batch submit: move out of uncertain",
    "batch submit: move out of planned",
    "batch collect: download",
    "id5 submit: POST create",
    "attentive submit: POST create",
    "package: rename to package.zip",
    "package: rename to receipt.json",
    "package: remove *.zip",
    "package: remove a folder",
    "package: close UPDATE dsar.request",
    "package: close commit",
    "package: source update",
    "package: mark_written_back UPDATE dsar.request",
    "report: rename to *.csv",
}

PAIRS, SEED = 30, 1


def test_each_kind_of_step_is_counted(search: Search) -> None:
    """What is durable or external is a step, in every stage."""
    assert search.undisturbed().steps.keys() >= COUNTED
    assert "package: upload package.zip.age" in search.undisturbed(Place.BUCKET).steps


def test_a_kill_beside_any_kind_of_step_costs_nothing(search: Search) -> None:
    """Nothing is lost, doubled without a reason, claimed without the vendor, half-written or left over."""
    steps = search.undisturbed().steps
    print(f"\n{steps.total()} steps of {len(steps)} kinds")
    findings = search.try_all(kills_in_turn(steps))
    print(findings)
    assert not findings.broken, str(findings)
    assert findings.reached > findings.cases * 0.9


def test_a_kill_beside_an_upload_costs_nothing(search: Search) -> None:
    """The same where storage takes whole files, and packages are sealed."""
    steps = search.undisturbed(Place.BUCKET).steps
    uploads = Counter({name: n for name, n in steps.items() if ": upload " in name or ": remove " in name})
    findings = search.try_all(single_kills(uploads, 2, Place.BUCKET))
    print(findings)
    assert not findings.broken, str(findings)


def test_a_kill_between_sealing_and_closing_costs_nothing(search: Search) -> None:
    """Whatever comes after it: the same task, another run, the next day's, or a person's other try."""
    name = "package: close UPDATE dsar.request"
    findings = search.try_all(
        [Case((Kill(name, 1, after=False),), restart, Place.BUCKET) for restart in Restart]
    )
    assert not findings.broken, str(findings)
    assert findings.reached == findings.cases


@pytest.mark.parametrize("seed", [SEED])
def test_a_second_kill_costs_nothing(search: Search, seed: int) -> None:
    """The process that comes after a kill may be killed as well."""
    findings = search.try_all(pairs_of_kills(search.undisturbed().steps, seed, PAIRS))
    print(findings)
    assert not findings.broken, str(findings)
    assert findings.reached > findings.cases * 0.6
