"""All accounts tell the same lie at the same time. No submission ends because of the lie."""

from __future__ import annotations

import pytest

from include.dsar.accounts import OutcomeBreaker
from tests.model.data_subjects import SUBJECTS
from tests.model.deployment import NAMES
from tests.model.lies import LIES
from tests.model.test_lives import life
from tests.model.test_state_machine import Ask, DeploymentMachine

__all__ = ["life"]

HOLD_EVERYTHING = OutcomeBreaker(1, 0.01)
ASKS = [
    Ask(action, [subject], {"user_id", "email"})
    for action in ("access", "erasure")
    for subject in ("ok-0", "unknown-1", "fails_once-3", "ok-5")
]


def lie(life: DeploymentMachine, kind: str, *, hours: float) -> None:
    for account in NAMES:
        life.a_vendor_lies(account, kind, after=0, hours=hours)


@pytest.mark.parametrize(
    ("kind", "breaker"),
    [
        *((kind, HOLD_EVERYTHING) for kind in LIES),
        *((kind, OutcomeBreaker(2, 0.6)) for kind in ("other_account", "nobody", "refuses")),
    ],
)
def test_a_lie_about_all_jobs_ends_nothing(
    life: DeploymentMachine, kind: str, breaker: OutcomeBreaker
) -> None:
    """All accounts lie for five days, from the first poll on. Then the vendors tell the truth again."""
    life.there_are_requests(asked=ASKS, breaker=breaker)
    life.intake_runs()
    life.deployment.submit(*NAMES)
    life.the_rules_hold()
    lie(life, kind, hours=5 * 24)
    for _ in range(5):
        life.time_passes(23 * 60)
        life.a_whole_run()
        life.the_rules_hold()


@pytest.mark.parametrize("kind", LIES)
def test_a_lie_in_the_middle_of_a_run_ends_nothing(life: DeploymentMachine, kind: str) -> None:
    """All accounts lie from their third call on."""
    life.there_are_requests(asked=ASKS, breaker=HOLD_EVERYTHING)
    for account in NAMES:
        life.a_vendor_lies(account, kind, after=2, hours=30)
    for _ in range(2):
        life.a_whole_run()
        life.the_rules_hold()
        life.time_passes(25 * 60)


def test_a_wave_of_refusals_rejects_nobody(life: DeploymentMachine) -> None:
    """All accounts refuse every call, from the first one on."""
    asked = [Ask("erasure", [subject], {"user_id", "email"}) for subject in SUBJECTS]
    life.there_are_requests(asked=asked, breaker=HOLD_EVERYTHING)
    lie(life, "refuses", hours=30)
    life.a_whole_run()
    life.the_rules_hold()
    life.time_passes(25 * 60)
