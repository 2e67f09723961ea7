"""The task that asks an operator about an unusual number of submissions, in Airflow's Required Actions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowSkipException, DagRunTriggerException

from dsar_airflow.params import RunParams
from dsar_airflow.time_limits import says_what_it_waits_for

if TYPE_CHECKING:
    from airflow.sdk import Context

APPROVE, DENY, ASK_AGAIN = "Approve", "Deny", "Ask again"
NO_REASON = "no reason was given"


class ApproveVolumeOperator(HITLOperator):
    """Waits for an operator's answer if an unusual number of submissions is on hold. Otherwise the task is
    skipped.

    The task needs neither a worker nor the triggerer while it waits. No other task waits for this task:
    other submissions are sent meanwhile. After an approval, this task triggers a new run, which sends the
    approved submissions. The task fails if nobody answers in time.
    """

    ui_color = "#fce8e6"

    def __init__(self, *, answer_within: timedelta, params: Any = None, **kwargs: Any) -> None:
        super().__init__(
            subject="Privacy requests: an unusual number of submissions",
            options=[APPROVE, DENY, ASK_AGAIN],
            defaults=ASK_AGAIN,  # Airflow chooses it when nobody has answered in time
            params={
                "reason": Param(
                    "",
                    type="string",
                    maxLength=300,
                    title="Reason",
                    description="Why you approve or deny. The reason is recorded with your name. "
                    "Name no data subject.",
                )
            },
            response_timeout=answer_within,
            **kwargs,
        )

    @says_what_it_waits_for
    def execute(self, context: Context) -> None:
        from dsar_airflow.connections.ledger import ledger
        from include.dsar.stages.approve_volume import question

        params = RunParams.of(context)
        params.skip_unless_real()
        if params.request_ids or params.accounts:
            raise AirflowSkipException("a run that is limited to requests or accounts asks nobody")
        with ledger() as db:
            asked = question(db, now=datetime.now(UTC))
        if asked is None:
            raise AirflowSkipException("no unusual number of submissions waits for an answer")
        self.subject, self.body = asked.subject, asked.body
        self.log.warning("%s. An operator must answer under Required Actions of this DAG", asked.summary)
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, int]:
        """Records the answer. Returns how many submissions the answer is about. Triggers a new run if the
        submissions are approved. Raises OperatorActionRequired if the question is still open.
        """
        from dsar_airflow.connections.ledger import ledger
        from include.dsar.errors import OperatorActionRequired
        from include.dsar.ledger import approvals
        from include.dsar.stages.approve_volume import summary, undecided

        answer = super().execute_complete(context, event)
        (choice,), now = answer["chosen_options"], datetime.now(UTC)
        user = answer["responded_by_user"] or {}
        with ledger() as db:
            if choice == ASK_AGAIN:
                if waiting := undecided(db):
                    said = (
                        f"{user['name']} chose to be asked again" if user else "nobody has answered in time"
                    )
                    raise OperatorActionRequired(
                        f"{said}, so these submissions stay {summary(waiting)}. "
                        "The next run asks again. To be asked now, clear this task"
                    )
                return {"decided": 0}
            decided = approvals.decide(
                db,
                approve=choice == APPROVE,
                by=f"{user.get('name') or 'unknown user'} in run {context['dag_run'].run_id}",
                reason=str(answer["params_input"].get("reason") or "").strip() or NO_REASON,
                now=now,
            )
        self.log.info("%s: %d submissions", "approved" if choice == APPROVE else "denied, on hold", decided)
        if choice == APPROVE and decided:
            raise DagRunTriggerException(
                trigger_dag_id=self.dag_id,
                dag_run_id=f"approved__{now.isoformat()}",
                conf={},
                logical_date=now,
                reset_dag_run=False,
                skip_when_already_exists=False,
                wait_for_completion=False,
                allowed_states=[],
                failed_states=[],
                poke_interval=60,
                deferrable=False,
                note="Sends the submissions that an operator approved",
            )
        return {"decided": decided}
