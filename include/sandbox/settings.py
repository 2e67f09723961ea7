"""What a sandbox can be told; every field is an option of ``python -m include.sandbox`` too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SandboxSettings:
    """How one sandbox listens and how long its jobs take. Times are in seconds."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free port."""
    state: Path | None = None
    """Where jobs are journalled, so that they survive a restart; none: they live in memory."""
    secret: str = "sandbox-secret"  # noqa: S105 - it guards nothing
    """The one secret that all four vendors accept."""
    min_seconds: float = 2.0
    max_seconds: float = 6.0
    slow_seconds: float = 3600.0
    """How long a job marked ``slow`` takes."""
    slow_share: float = 0.0
    """Share (0 to 1) of the unmarked subjects that take ``slow_seconds`` as well."""
    seed: int = 0
    """Another seed deals out other times."""
    rate_limit: int | None = None
    """Calls a second that each route of a vendor takes before it answers 429; none: no limit."""
    id5_daily_limit: int = 3000
    """ID5's limit per partner and UTC day."""
    batch_one_at_a_time: bool = False
    """Batch answers 409 while any request of the user runs, not only one of the same type."""
