"""A process is killed with SIGKILL right before or right after its durable and external steps.

`steps.py` defines a step. These tests kill at the first and last step of each *kind* (stage, account and
operation), and at some pairs of steps. After each kill, the stages run again until everything is done:
as a retry of the task, as another run, or as the run of the next day. Then `consistency.py` compares the
ledger, the source and the storage with the sandbox's records. `make crash` kills at every step, and at COUNT
pairs.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.crash.laboratory import Case, Place, Restart
from tests.crash.search import Search, kills_in_turn, pairs_of_kills, single_kills
from tests.crash.steps import Kill

# Important kinds of steps. If one were no longer counted, no test would kill there.
COUNTED = {
    "intake: plan commit",
    "intake: add COPY staged_submission",
    "intake: source commit",
    "intake: mark_written_back UPDATE dsar.request",
    "besitos submit: register pg_advisory_lock",
    "besitos submit: claim UPDATE dsar.submission",
    "besitos submit: POST create",
    "besitos submit: move out of submitting",
    "besitos poll: GET status",
    "besitos poll: move out of submitted",
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
    """Every stage has steps, and no important kind of step is missing."""
    assert search.undisturbed().steps.keys() >= COUNTED
    assert "package: upload package.zip.age" in search.undisturbed(Place.BUCKET).steps


def test_a_kill_at_any_kind_of_step_does_no_harm(search: Search) -> None:
    """No request is lost, sent twice without a reason, closed without an outcome, or left incomplete."""
    steps = search.undisturbed().steps
    print(f"\n{steps.total()} steps of {len(steps)} kinds")
    findings = search.try_all(kills_in_turn(steps))
    print(findings)
    assert not findings.broken, str(findings)
    assert findings.reached > findings.cases * 0.9


def test_a_kill_at_an_upload_does_no_harm(search: Search) -> None:
    """A kill at an upload does no harm if storage accepts only whole files and packages are sealed."""
    steps = search.undisturbed(Place.BUCKET).steps
    uploads = Counter({name: n for name, n in steps.items() if ": upload " in name or ": remove " in name})
    findings = search.try_all(single_kills(uploads, 2, Place.BUCKET))
    print(findings)
    assert not findings.broken, str(findings)


def test_a_kill_between_sealing_and_closing_does_no_harm(search: Search) -> None:
    """After a kill between sealing and closing, the next start of the stages repairs everything. The next
    start is a retry, another run, the run of the next day or a run with retry_failed.
    """
    name = "package: close UPDATE dsar.request"
    findings = search.try_all(
        [Case((Kill(name, 1, after=False),), restart, Place.BUCKET) for restart in Restart]
    )
    assert not findings.broken, str(findings)
    assert findings.reached == findings.cases


@pytest.mark.parametrize("seed", [SEED])
def test_a_second_kill_does_no_harm(search: Search, seed: int) -> None:
    """The process that starts after a kill is killed too. This does no harm either."""
    findings = search.try_all(pairs_of_kills(search.undisturbed().steps, seed, PAIRS))
    print(findings)
    assert not findings.broken, str(findings)
    assert findings.reached > findings.cases * 0.6
