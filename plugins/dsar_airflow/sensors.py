"""The sensor that polls the jobs of one account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout

from dsar_airflow.params import RunParams
from dsar_airflow.time_limits import says_what_it_waits_for
from dsar_airflow.triggers import PollTrigger
from include.dsar.accounts import WHOLE, Shard

if TYPE_CHECKING:
    from airflow.sdk import Context

GRACE = timedelta(minutes=15)  # for a restart of the triggerer, before the deferral times out


class PollSensor(BaseSensorOperator):
    """Polls the open jobs of an account, or of one shard of it. Stops when the next poll would be due after
    the run's window.

    The sensor first reads the ledger on the worker. It defers only if a poll is due. It is normal that jobs
    are still open at the end: the next run continues with them.
    """

    ui_color = "#e6f4ea"

    def __init__(self, *, account: str, shard: Sequence[int] = WHOLE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.account, self.shard = account, Shard(*shard)

    @says_what_it_waits_for  # noqa: RET503 - defer() raises
    def execute(self, context: Context) -> dict[str, Any]:
        params = RunParams.of(context)
        params.skip_unless_wanted(self.account)
        since = datetime.now(UTC)
        until = since + params.window
        due, request_pks = self._first_poll(params, since)
        if due is None:
            self.log.info("%s: no open job", self.account)
            return {"open_jobs": 0}
        if due > until:
            self.log.info(
                "%s: no poll is due before this run stops polling at %s. The first poll is due at %s.",
                self.account, f"{until:%H:%M:%S} UTC", f"{due:%Y-%m-%d %H:%M:%S} UTC",
            )  # fmt: skip
            return {"next_poll_at": due.isoformat(timespec="seconds")}
        waiting = (
            f"{self.account}: the triggerer polls the open jobs until {until:%H:%M:%S} UTC. "
            f"The first poll is at {due:%H:%M:%S} UTC"
        )
        self.log.info(waiting)
        # Airflow stores no reason with a deferral. The XCom tab of the task shows this one.
        context["ti"].xcom_push(key="waiting_for", value=waiting)
        self.defer(
            trigger=PollTrigger(
                account=self.account,
                shard=self.shard,
                since=since.isoformat(),
                until=until.isoformat(),
                request_pks=request_pks,
            ),
            method_name="resume",
            timeout=params.window + GRACE,
        )

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> dict[str, Any]:
        """Resumes after the deferral. Raises AirflowSensorTimeout if the trigger has not ended in time."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)  # type: ignore[no-any-return]
        except AirflowSensorTimeout:
            raise AirflowSensorTimeout(
                f"{self.task_id} waited for the triggerer, which did not end polling in time. The jobs stay "
                "open, and the next run polls them. Check that a triggerer runs, and its log."
            ) from None

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Returns the trigger's counts.

        Raises ConfigurationError or VendorUnavailable if the trigger reports such an error. Raises
        OperatorActionRequired if outcomes wait for an operator.
        """
        from dsar_airflow.metrics import count_calls
        from include.dsar.errors import (
            ConfigurationError,
            OperatorActionRequired,
            ProtocolError,
            VendorUnavailable,
        )

        count_calls(self.account, event.get("calls", 0), event.get("refused_calls", 0))
        match event:
            case {"status": "refused", "message": message}:
                raise ConfigurationError(message)
            case {"status": "waiting", "message": message}:
                raise OperatorActionRequired(message)
            case {"status": "ended", "polls": polls, "failed_polls": failed, "open_jobs": still_open}:
                counts = {name: value for name, value in event.items() if name != "status"}
                self.log.info("%s: %s", self.account, _sentence(counts))
                if polls and polls == failed:
                    raise VendorUnavailable(
                        f"{self.account}: none of {polls} polls got a usable answer. "
                        f"{still_open} jobs are still open. A retry or the next run continues."
                    )
                return counts
        raise ProtocolError(f"{self.account}: the trigger sent an event that this sensor does not know")

    def _first_poll(self, params: RunParams, since: datetime) -> tuple[datetime | None, list[int] | None]:
        """Returns the time of the first poll, and the ledger ids of the requests in this run.

        This needs no HTTP client, so the worker does not spend time on the import of aiohttp.
        """
        from dsar_airflow.connections.accounts import settings_of
        from dsar_airflow.connections.ledger import ledger, only
        from include.dsar.stages.poll import next_poll

        settings = settings_of(self.account)
        with ledger() as db:
            request_pks = only(db, params.request_ids)
            return next_poll(db, settings, since, request_pks=request_pks, shard=self.shard), request_pks


def _sentence(counts: Mapping[str, Any]) -> str:
    """Returns the counts of an event as text."""
    parts = [f"{counts['ended']:,} jobs ended", f"{counts['ready']:,} have a result to collect"]
    if counts["planned_again"]:
        parts.append(f"{counts['planned_again']:,} failed in a batch and are sent again in smaller batches")
    if n := counts.get("not_reached"):
        parts.append(
            f"{n:,} were due but were not polled before the window ended. The next run polls them first"
        )
    if not counts["open_jobs"]:
        return ", ".join([*parts, "no job is open"])
    return (
        ", ".join([*parts, f"{counts['open_jobs']:,} jobs are open"])
        + f", the oldest since {counts['oldest_submitted_at']}. "
        + f"The next run continues with them. The next poll is due at {counts['next_poll_at']}."
    )
