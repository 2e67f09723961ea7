"""The Params of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True)
class RunParams:
    """The Params that an operator can set when they trigger the DAG. A scheduled run has the defaults."""

    request_ids: tuple[str, ...]
    accounts: tuple[str, ...]
    dry_run: bool
    await_minutes: int
    retry_failed: bool
    decisions: tuple[str, ...]

    @classmethod
    def of(cls, context: Context) -> RunParams:
        given = context["params"]
        return cls(
            request_ids=tuple(given["request_ids"] or ()),
            accounts=tuple(given["accounts"] or ()),
            dry_run=bool(given["dry_run"]),
            await_minutes=int(given["await_minutes"]),
            retry_failed=bool(given["retry_failed"]),
            decisions=tuple(given["decisions"] or ()),
        )

    @property
    def window(self) -> timedelta:
        """Returns how long the run polls vendors."""
        return timedelta(minutes=self.await_minutes)

    def skip_unless_real(self) -> None:
        """Skips the task in a dry run, which ends with intake."""
        if self.dry_run:
            raise AirflowSkipException("dry run: the log of intake shows what would be sent")

    def skip_unless_wanted(self, account: str) -> None:
        """Skips the task if the run is limited to other accounts."""
        self.skip_unless_real()
        if self.accounts and account not in self.accounts:
            raise AirflowSkipException(f"this run is limited to {', '.join(self.accounts)}")
