"""The sensor that waits for the vendor of one account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from dsar_airflow.params import RunParams
from dsar_airflow.triggers import PollTrigger
from include.dsar.accounts import WHOLE, Shard

if TYPE_CHECKING:
    from airflow.sdk import Context

GRACE = timedelta(minutes=15)  # for a triggerer to come back, before the deferral counts as lost


class PollSensor(BaseSensorOperator):
    """Waits until no open job of an account (or a shard of it) is due for a poll in the run's window.

    It looks at the ledger once on the worker and defers only where there is something to wait for.
    Ending with jobs still open is normal: they are carried over to the next run.
    """

    ui_color = "#e6f4ea"

    def __init__(self, *, account: str, shard: Sequence[int] = WHOLE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.account, self.shard = account, Shard(*shard)

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: RET503 - defer() raises
        params = RunParams.of(context)
        params.skip_unless_wanted(self.account)
        since = datetime.now(UTC)
        until = since + params.window
        due, request_pks = self._look(params, since)
        if due is None:
            self.log.info("%s: no open job", self.account)
            return {"open_jobs": 0}
        if due > until:
            self.log.info(
                "%s: no open job is due for a poll before %s; the first is at %s. "
                "All are carried over to the next run.",
                self.account, f"{until:%H:%M:%S} UTC", f"{due:%Y-%m-%d %H:%M:%S} UTC",
            )  # fmt: skip
            return {"next_poll_at": due.isoformat(timespec="seconds")}
        waiting = (
            f"{self.account}: open jobs are watched from the triggerer until {until:%H:%M:%S} UTC at the "
            f"latest; the first poll is at {due:%H:%M:%S} UTC"
        )
        self.log.info(waiting)
        # Airflow keeps no reason with a deferral; the task's XCom tab shows this one while it waits.
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

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """What the trigger found. Raises ConfigurationError, or VendorUnavailable where no poll succeeded."""
        from dsar_airflow.metrics import count_calls
        from include.dsar.errors import ConfigurationError, ProtocolError, VendorUnavailable

        count_calls(self.account, event.get("calls", 0), event.get("refused_calls", 0))
        match event:
            case {"status": "refused", "message": message}:
                raise ConfigurationError(message)
            case {"status": "ended", "polls": polls, "failed_polls": failed, "open_jobs": still_open}:
                counts = {name: value for name, value in event.items() if name != "status"}
                self.log.info("%s: %s", self.account, _told(counts))
                if polls and polls == failed:
                    raise VendorUnavailable(
                        f"{self.account}: none of {polls} polls brought a usable answer. "
                        f"{still_open} jobs are still open; a retry, or the next run, goes on."
                    )
                return counts
        raise ProtocolError(f"{self.account}: an event that this sensor does not understand")

    def _look(self, params: RunParams, since: datetime) -> tuple[datetime | None, list[int] | None]:
        """When the first poll is due, and the ledger's ids of the requests that the run is limited to.

        Without the account's client: whoever only reads the ledger need not wait for aiohttp's import.
        """
        from dsar_airflow.connections.accounts import settings_of
        from dsar_airflow.connections.ledger import ledger, only
        from include.dsar.stages.poll import next_poll

        settings = settings_of(self.account)
        with ledger() as db:
            request_pks = only(db, params.request_ids)
            return next_poll(db, settings, since, request_pks=request_pks, shard=self.shard), request_pks


def _told(counts: Mapping[str, Any]) -> str:
    """The counts of an event as a person says them."""
    said = [f"{counts['ended']:,} ended", f"{counts['ready']:,} have a result to collect"]
    if counts["planned_again"]:
        said.append(f"{counts['planned_again']:,} failed with their batch and will be sent in smaller ones")
    if not counts["open_jobs"]:
        return ", ".join([*said, "no job is left open"])
    return (
        ", ".join([*said, f"{counts['open_jobs']:,} jobs go on at the vendor"])
        + f", the oldest since {counts['oldest_submitted_at']}. "
        + f"They are carried over to the next run; the next poll is due at {counts['next_poll_at']}."
    )
