"""The settings of a sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SandboxSettings:
    """The address of a sandbox, and the settings of its vendors. Times are in seconds."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 chooses a free port."""
    state: Path | None = None
    """The file that keeps jobs across restarts. None keeps them in memory."""
    secret: str = "sandbox-secret"  # noqa: S105 - it protects nothing
    """The secret that all vendors accept."""
    min_seconds: float = 2.0
    max_seconds: float = 6.0
    slow_seconds: float = 3600.0
    """The duration of a job with the keyword ``slow``."""
    rate_limit: int | None = None
    """Calls per second and route before the vendor returns 429. None means no limit."""
    id5_daily_limit: int = 3000
    """ID5's limit per partner and UTC day."""
    batch_one_at_a_time: bool = False
    """Batch returns 409 while any request of the user runs, not only one of the same type."""
