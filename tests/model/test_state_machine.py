"""A model of everything that may happen to a deployment, step by step. The invariants must hold after each
step.

The ledger (a real PostgreSQL), the source, the storage and the stages are real. Time is virtual and the
vendors are simulated in this process (`vendor_world.py`), so a step takes milliseconds.

`make test` runs a fixed choice of EXAMPLES. To search further, with another choice in every run:

    DSAR_MODEL_EXAMPLES=2000 .venv/bin/python -m pytest tests/model
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import sql
from sqlalchemy import create_engine

from include.dsar.accounts import OutcomeBreaker
from tests.model.data_subjects import SUBJECTS, email, phone
from tests.model.deployment import NAMES, RETURNING, Deployment
from tests.model.faults import FAULTS
from tests.model.invariants import Invariants
from tests.model.lies import LIES, Lie
from tests.model.sessions import Sessions
from tests.model.virtual_time import Clock

EXAMPLES = 40
STEPS = 25
MOST_DAYS = 20  # from the recovery of the vendors until everything is closed

STAGES = ("intake", "submit", "poll", "collect", "package")
accounts = st.sampled_from(NAMES)
returning = st.sampled_from(RETURNING)  # accounts whose vendor returns data
batch_accounts = st.sampled_from([name for name in NAMES if name.startswith("batch")])
deaths = st.integers(0, 25)
# The default limits; limits for few requests; and limits that hold every outcome but `completed`.
DEFAULT = OutcomeBreaker()
breakers = st.sampled_from([DEFAULT, OutcomeBreaker(2, 0.6), OutcomeBreaker(1, 0.01)])

FORMS = {"user_id": str, "email": email, "phone": phone}


@dataclass(frozen=True)
class Ask:
    """A row of the source. An access request has a user id, because all vendors need it."""

    action: str
    subjects: list[str]
    kinds: set[str]


asks = st.builds(
    lambda action, subjects, kinds: Ask(
        action, subjects, kinds | ({"user_id"} if action == "access" else set())
    ),
    st.sampled_from(["erasure", "access"]),
    st.lists(st.sampled_from(SUBJECTS), min_size=1, max_size=2, unique=True),
    st.sets(st.sampled_from(["user_id", "email", "phone"]), min_size=1),
)


class DeploymentMachine(RuleBasedStateMachine):
    """A state machine. Each example is a sequence of steps of a deployment."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__()
        self.deployment = deployment
        self.world, self.clock = deployment.world, deployment.clock
        self.held = Invariants(deployment)
        self.retried = False
        self.count = 0

    @initialize(asked=st.lists(asks, min_size=2, max_size=5), breaker=breakers)
    def there_are_requests(self, asked: list[Ask], breaker: OutcomeBreaker = DEFAULT) -> None:
        self.deployment.break_at(breaker)
        for ask in asked:
            self.a_request_arrives(ask)

    @rule(ask=asks)
    def a_request_arrives(self, ask: Ask) -> None:
        """Add a request of one data subject, or of two that share an identifier."""
        row = {kind: [FORMS[kind](subject) for subject in ask.subjects] for kind in sorted(ask.kinds)}
        self._put(request_type=ask.action, **row)

    @rule(row=st.sampled_from([{"request_type": "nonsense"}, {"request_type": "erasure", "email": ["@"]}]))
    def a_bad_row_arrives(self, row: dict[str, object]) -> None:
        self._put(**row)

    @rule(minutes=st.sampled_from([1, 10, 60, 6 * 60, 24 * 60, 3 * 24 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.clock.advance(minutes * 60)

    @rule()
    def intake_runs(self) -> None:
        self.deployment.intake()
        self.held.arrived.clear()

    @rule()
    def an_operator_retries_failed_requests(self) -> None:
        self.deployment.intake(retry_failed=True)
        self.held.arrived.clear()
        self.retried = True

    @rule(account=accounts)
    def submit_runs(self, account: str) -> None:
        self.deployment.submit(account)

    @rule(account=accounts, hours=st.sampled_from([0.1, 1, 12]))
    def the_vendor_is_polled(self, account: str, hours: float) -> None:
        self.deployment.poll(account, hours=hours)

    @rule(account=returning)
    def collect_runs(self, account: str) -> None:
        self.deployment.collect(account)

    @rule()
    def package_runs(self) -> None:
        self.deployment.package()

    @rule()
    def a_whole_run(self) -> None:
        self.deployment.day()
        self.held.arrived.clear()

    @rule(data=st.data())
    def a_run_for_one_request(self, data: st.DataObject) -> None:
        """Run the stages for one request. The request may share jobs with other requests."""
        request_id = data.draw(st.sampled_from([f"r-{n}" for n in range(1, self.count + 1)]))
        self.deployment.day(only=request_id)
        self.held.arrived.discard(request_id)

    @rule(account=accounts)
    def two_workers_at_once(self, account: str) -> None:
        """Run two workers at the same time, as a manual run and a scheduled run do."""
        self.held.contended |= {f"{self.clock():%Y-%m-%d}"}
        self.deployment.submit(account, account)
        self.deployment.poll(account, account, hours=2)
        if account in RETURNING:
            self.deployment.collect(account, account)

    @rule(account=accounts, stage=st.sampled_from(STAGES), at=deaths)
    def a_worker_dies(self, account: str, stage: str, at: int) -> None:
        """Let a worker die before its step number `at`, or between a call and its reply."""
        match stage:
            case "intake":
                self.deployment.intake(dies_at=at)
            case "submit":
                self.deployment.submit(account, dies_at=at)
            case "poll":
                self.deployment.poll(account, hours=1, dies_at=at)
            case "collect" if account in RETURNING:
                self.deployment.collect(account, dies_at=at)
            case "package":
                self.deployment.package(dies_at=at)

    @rule(account=accounts, held=st.booleans())
    def uncertain_submissions_wait_for_an_operator(self, account: str, held: bool) -> None:
        self.deployment.hold(account, held=held)

    @rule(data=st.data())
    def an_operator_decides(self, data: st.DataObject) -> None:
        """Ask the vendor about an uncertain submission and then decide, as an operator does."""
        uncertain = self.held.uncertain()
        if uncertain:
            request_id, account, identity = data.draw(st.sampled_from(sorted(uncertain)))
            job_id = self.held.job_that_took(uncertain[request_id, account, identity])
            decision = f"taken {job_id}" if job_id else "send_again"
            assert self.deployment.decide(f"{request_id} {account} {decision} {identity}")

    @rule(account=accounts)
    def an_operator_looks_at_outcomes(self, account: str) -> None:
        """Ask the vendor about the outcomes that wait, and then confirm or discard them."""
        if decision := self.held.decision_about_outcomes(account):
            assert self.deployment.decide(decision)
            self.held.discarded = True

    @rule(
        account=accounts, kind=st.sampled_from(LIES), after=st.integers(0, 4), hours=st.sampled_from([1, 30])
    )
    def a_vendor_lies(self, account: str, kind: str, after: int, hours: float) -> None:
        self.world.lies.tell(account, Lie(kind, after, self.clock() + timedelta(hours=hours)))

    @rule(
        account=batch_accounts,
        subject=st.sampled_from(SUBJECTS),
        action=st.sampled_from(["access", "erasure"]),
        age=st.sampled_from([0, 1, 100]),
    )
    def somebody_else_begins_a_job(self, account: str, subject: str, action: str, age: float) -> None:
        """Add a job to the vendor's list that we did not ask for. It may be older than any request."""
        self.world.take(account, action, [subject], age=timedelta(hours=age), is_ours=False)

    @rule(account=accounts, faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=4))
    def a_vendor_misbehaves(self, account: str, faults: list[str]) -> None:
        self.world.faults[account].extend(faults)

    @rule(account=accounts, kind=st.sampled_from(["503", "429", "reset_before", "reset_after", "401"]))
    def a_vendor_has_a_bad_hour(self, account: str, kind: str) -> None:
        self.world.bad(account, kind, hours=1)

    @rule(account=accounts, hours=st.sampled_from([0.01, 1, 30]))
    def a_vendor_takes_its_time(self, account: str, hours: float) -> None:
        self.world.minutes[account] = hours * 60

    @precondition(lambda self: self.world.open_jobs())
    @rule(data=st.data())
    def a_vendor_forgets_a_job(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.world.open_jobs())).forgotten = True

    @invariant()
    def the_rules_hold(self) -> None:
        self.held.check(retried=self.retried)
        self.retried = False

    def teardown(self) -> None:
        """Check that everything closes when the vendors work again, and that the source has each status."""
        self.world.get_well()
        for account in NAMES:
            self.deployment.hold(account, held=False)
        self.held.contended.add(f"{self.clock():%Y-%m-%d}")
        for _ in range(MOST_DAYS):
            self.deployment.day()
            self.held.arrived.clear()
            self.held.check(retried=False)
            if not self._open():
                break
            for account in NAMES:
                self.an_operator_looks_at_outcomes(account)
            self.held.check(retried=False)
            self.clock.advance(23 * 3600)
        assert not self._open(), "not closed in the end"
        assert not self.deployment.files.find("/storage/work"), "a collected file is orphaned"

    def _open(self) -> list[dict[str, str]]:
        with self.deployment.sessions.open() as db:
            return db.execute(
                "SELECT request_id, status FROM public.dsar_requests"
                " WHERE status IN ('pending', 'in_progress')"
            ).fetchall()

    def _put(self, **given: object) -> None:
        self.count += 1
        request_id = f"r-{self.count}"
        row = {"request_id": request_id, "regulation": "GDPR", "received_at": self.clock(), **given}
        with self.deployment.sessions.open() as db:
            db.execute(
                sql.SQL("INSERT INTO public.dsar_requests ({}) VALUES ({})").format(
                    sql.SQL(", ").join(map(sql.Identifier, row)),
                    sql.SQL(", ").join(map(sql.Placeholder, row)),
                ),
                row,
            )
        self.held.expect(row, self.clock())


def test_the_invariants_always_hold(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any order of requests, faults, deaths and time, the invariants hold and everything is closed."""
    info = f"{dsn}?options=-c%20synchronous_commit%3Doff"
    engine = create_engine(info.replace("postgresql://", "postgresql+psycopg://"))
    # Real clocks are replaced only here and in the loop of `Deployment`.
    clock = Clock()
    monkeypatch.setattr("include.dsar.http.pacing.time", clock)
    monkeypatch.setattr("include.dsar.execution.progress.time", clock)
    more = int(os.environ.get("DSAR_MODEL_EXAMPLES", "0"))
    sessions = Sessions(info)
    try:
        run_state_machine_as_test(
            lambda: DeploymentMachine(Deployment(sessions, engine, clock)),
            settings=settings(
                max_examples=more or EXAMPLES,
                stateful_step_count=2 * STEPS if more else STEPS,
                derandomize=not more,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        sessions.close()
        engine.dispose()
