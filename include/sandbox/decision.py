"""Decides how a simulated job ends. Only the identifiers count, so tests can predict the result.

A keyword anywhere in an identifier decides, in upper or lower case. An identifier of hex digits only (a UUID
or a SHA-256) cannot contain words, so its last four digits decide.

========== ========= ================================================================================
keyword    ends with effect
========== ========= ================================================================================
refused    bad0      the vendor rejects the call with its 4xx; Besitos rejects a whole batch for one id
jobfails   fa11      the job fails, for all its subjects; a vendor without a failed state never ends it
unknown    dead      the vendor has no data about the subject, if the vendor can say so
slow       510e      the job takes ``slow_seconds``
busy       b054      Batch only: a dashboard request is already running, so the first POST returns 409
========== ========= ================================================================================

The rows are in order of precedence. A job without a keyword completes. The identifier determines its
duration.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from include.sandbox.settings import SandboxSettings

Outcome = Literal["completed", "no_data", "failed", "refused", "never"]

KEYWORDS = {"refused": "bad0", "jobfails": "fa11", "unknown": "dead", "slow": "510e", "busy": "b054"}
_HEX_ONLY = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Decision:
    """How a job ends, and how many seconds it takes. None means that it never starts or never ends."""

    outcome: Outcome
    seconds: float | None


def decide(
    salt: str, outcomes: Mapping[str, Outcome], values: Sequence[str], settings: SandboxSettings
) -> Decision:
    """Decides one job for the identifiers ``values``. The same arguments always give the same decision.

    ``outcomes`` maps the keywords ``jobfails`` and ``unknown`` to the vendor's outcome; ``salt`` makes
    durations differ between vendors and actions. One value with the keyword ``refused`` or
    ``jobfails`` is enough to refuse or fail the job. The job has no data only if all values are unknown. The
    job takes as long as its slowest value.
    """
    if any(has_keyword(value, "refused") for value in values):
        return Decision("refused", None)
    outcome: Outcome = "completed"
    if any(has_keyword(value, "jobfails") for value in values):
        outcome = outcomes.get("jobfails", outcome)
    elif all(has_keyword(value, "unknown") for value in values):
        outcome = outcomes.get("unknown", outcome)
    seconds = None if outcome == "never" else max(_seconds(salt, value, settings) for value in values)
    return Decision(outcome, seconds)


def has_keyword(value: str, keyword: str) -> bool:
    """Returns whether ``value`` contains the word ``keyword``, or ends with its hex digits."""
    folded = value.casefold()
    if _HEX_ONLY.fullmatch(folded):
        return folded.endswith(KEYWORDS[keyword])
    return keyword in folded


def _seconds(salt: str, value: str, settings: SandboxSettings) -> float:
    if has_keyword(value, "slow"):
        return settings.slow_seconds
    digest = hashlib.sha256(f"{salt}|{value}".encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    return settings.min_seconds + share * (settings.max_seconds - settings.min_seconds)
