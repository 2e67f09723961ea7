"""What the sandbox does with a subject: a function of the identifiers alone, so it can be predicted.

A marker anywhere inside a value (in any case) decides. Values made of hex digits only (a UUID, a SHA-256)
cannot hold words; there the last four digits decide.

========== ========= =============================================================================
marker     ends with what happens
========== ========= =============================================================================
refused    bad0      the call is refused with the vendor's 4xx; at Besitos the whole call, for one bad id
jobfails   fa11      the job fails, at Besitos the whole job; Attentive, which knows no failure, never ends
unknown    dead      the vendor knows nobody of that name (Attentive cannot say so, and completes)
slow       510e      takes ``slow_seconds``
busy       b054      Batch only: somebody asked in the dashboard just before, so the first POST meets 409
========== ========= =============================================================================

The rows are in order of precedence. Everything else completes, after a time that follows from the value.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from include.sandbox.settings import SandboxSettings

Outcome = Literal["completed", "no_data", "failed", "refused", "never"]

MARKERS = {"refused": "bad0", "jobfails": "fa11", "unknown": "dead", "slow": "510e", "busy": "b054"}
ACTIONS = {
    "besitos": {"access", "erasure"},
    "batch": {"access", "erasure"},
    "id5": {"erasure"},
    "attentive": {"erasure"},
}
_HEX_ONLY = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Decision:
    """How a job ends, and how many seconds after its creation: None where it never starts or never ends."""

    outcome: Outcome
    seconds: float | None


def decide(
    vendor: str, action: str, values: Sequence[str], settings: SandboxSettings | None = None
) -> Decision:
    """What becomes of one job for the identifiers ``values``, exactly as the vendor receives them.

    Pure: the same arguments always give the same decision. Several values are one job (Besitos' batch,
    Attentive's e-mail and phone): it is refused or fails for one of them, is ``no_data`` only if all are
    unknown, and takes as long as the slowest. Raises ``ValueError`` for an action the vendor does not have.
    """
    if action not in ACTIONS.get(vendor, ()):
        raise ValueError(f"{vendor} has no {action}")
    settings = settings or SandboxSettings()
    if any(is_marked(value, "refused") for value in values):
        return Decision("refused", None)
    seconds = max(_seconds(vendor, action, value, settings) for value in values)
    if any(is_marked(value, "jobfails") for value in values):
        return Decision("never", None) if vendor == "attentive" else Decision("failed", seconds)
    if vendor != "attentive" and all(is_marked(value, "unknown") for value in values):
        return Decision("no_data", seconds)
    return Decision("completed", seconds)


def is_marked(value: str, marker: str) -> bool:
    """Whether ``value`` carries ``marker``, by its word or by its last hex digits."""
    folded = value.casefold()
    if _HEX_ONLY.fullmatch(folded):
        return folded.endswith(MARKERS[marker])
    return marker in folded


def _seconds(vendor: str, action: str, value: str, settings: SandboxSettings) -> float:
    if is_marked(value, "slow"):
        return settings.slow_seconds
    digest = hashlib.sha256(f"{settings.seed}|{vendor}|{action}|{value}".encode()).digest()
    if int.from_bytes(digest[:4], "big") / 2**32 < settings.slow_share:
        return settings.slow_seconds
    share = int.from_bytes(digest[4:8], "big") / 2**32
    return settings.min_seconds + share * (settings.max_seconds - settings.min_seconds)
