"""The jobs of the simulated vendors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass
class Job:
    """A job at a vendor, with the vendor's keys of its data subjects."""

    id: str
    account: str
    action: str
    keys: tuple[str, ...]
    taken_at: datetime
    ends_at: datetime
    failed: bool
    echo: bool = False  # created by a call that a proxy repeated
    is_ours: bool = True  # False: somebody else began it, for example in the vendor's dashboard
    is_foreign: bool = False  # in another company's account, because our key was another company's
    forgotten: bool = False
    denied_at: datetime | None = None  # when the vendor first answered that it does not have this job
