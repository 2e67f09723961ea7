"""The sandbox decides the outcome and the duration of a job."""

from __future__ import annotations

import pytest

from include.dsar import vendors
from include.sandbox import VENDORS, Decision, SandboxSettings, decide


def test_a_decision_depends_only_on_the_identifiers() -> None:
    """A keyword in an identifier decides how a job ends. The whole identifier decides how long it takes."""
    settings = SandboxSettings()
    assert decide("batch", "access", ["ada"]) == decide("batch", "access", ["ada"])
    assert settings.min_seconds <= (decide("batch", "access", ["ada"]).seconds or 0) <= settings.max_seconds
    assert decide("batch", "access", ["ada"]).seconds != decide("batch", "access", ["bob"]).seconds
    assert decide("id5", "erasure", ["UNKNOWN@example.com"]).outcome == "no_data"
    assert decide("attentive", "erasure", ["unknown@example.com"]).outcome == "completed"
    assert decide("attentive", "erasure", ["jobfails@example.com"]) == Decision("never", None)
    assert decide("besitos", "erasure", ["ada", "unknown"]).outcome == "completed"
    assert decide("besitos", "erasure", ["ada", "jobfails-2"]).outcome == "failed"
    assert decide("besitos", "access", ["ada", "refused"]) == Decision("refused", None)
    assert decide("batch", "access", ["slow-ada"]).seconds == settings.slow_seconds
    with pytest.raises(ValueError, match="id5 has no access"):
        decide("id5", "access", ["ada"])


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [("dead", "no_data"), ("fa11", "failed"), ("BAD0", "refused"), ("0000", "completed")],
)
def test_the_last_digits_mark_uuids_and_hashes(ending: str, outcome: str) -> None:
    """An identifier that has only hex digits contains no words, so its last four digits decide."""
    for value in (f"580d2b4c-29a5-7a7b-85dc-44132c02{ending}", "a" * 60 + ending):
        assert decide("id5", "erasure", [value]).outcome == outcome
    assert decide("id5", "erasure", ["someone-dead"]).outcome == "completed"


def test_every_vendor_is_simulated() -> None:
    """Each simulated vendor has the name and the actions of the real vendor's module."""
    simulated = {name: vendor.actions for name, vendor in VENDORS.items()}
    assert simulated == {name: vendor.actions for name, vendor in vendors.VENDORS.items()}
