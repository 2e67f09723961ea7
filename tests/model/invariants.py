"""Invariants that hold after every step. They compare the ledger with the vendors' own records.

One invariant is the principle of `docs/faults.md`: a request is closed, and its identifiers are erased,
only if each of its outcomes is true. The only exceptions are lies of a wrong key that are too few for the
outcome breaker.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from include.dsar.errors import InvalidRow
from include.dsar.ledger.claiming import LAST_DAYS
from include.dsar.model import State
from tests.model.data_subjects import wire_key
from tests.model.deployment import QUOTA, RULES, Deployment
from tests.model.truth import Truth, must_wait

ENDED = {state for state in State if state.is_terminal}
TERMINAL = {"completed", "partial", "failed"}
# For each state that a submission enters: the states that its next event may leave.
# Ordinary moves have no event.
LEADS_TO = {
    "planned": {"planned", "submitting", "submitted", "ready", "no_data"},
    "submitted": {"submitted", "ready", "no_data"},
    "no_data": {"no_data"},  # the outcome breaker holds it
    "uncertain": {"uncertain"},
    "failed": {"failed"},
    "rejected": {"rejected"},
}
UNEXPECTED = re.compile(r"\([A-Z]\w+\)")  # the type of an error that no vendor here may cause
# After these events the vendor may accept a submission again. Each event has a reason.
# (If a proxy repeats a call, ID5 accepts the first call and answers the second call with 403.)
AGAIN = """
SELECT submission, count(*) AS n FROM dsar.event
 WHERE enters = 'planned' AND reason IS NOT NULL
   AND (leaves IN ('uncertain', 'submitted', 'ready', 'no_data', 'failed')
        OR leaves = 'submitting' AND reason LIKE 'HTTP 403%')
 GROUP BY submission
"""
MAX_REFUSALS = 5  # identical ones in a row, before the account is stopped
MAX_SUBMIT = timedelta(minutes=20)  # of one submit stage
UNCONFIRMED = """
SELECT s.*, r.request_id, r.action, r.planned_at
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.is_unconfirmed AND s.account = %s ORDER BY s.id
"""
UNCERTAIN = """
SELECT s.*, r.request_id, r.action FROM dsar.submission s JOIN dsar.request r ON r.id = s.request
 WHERE s.state = 'uncertain' ORDER BY s.id
"""


class Invariants:
    """Checks the invariants. Remembers the previous state, and each submission's key at its vendor."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment, self.world = deployment, deployment.world
        self.keys: dict[tuple[str, str, str], str] = {}  # request id, account, hash: the vendor's key
        self.arrived: set[str] = set()  # since the last intake
        self.contended: set[str] = set()  # days on which two workers shared the quota
        self._before: tuple[dict[str, str], dict[int, str]] = ({}, {})
        self._rejected: set[int] = set()
        self._delivered: set[str] = set()
        self._closed_once: set[str] = set()  # some are reopened later
        self._ended_once: set[int] = set()  # submissions that have ended once
        self.truth = Truth(deployment)
        self.discarded = False  # whether an operator discarded outcomes since the last check

    def expect(self, row: dict[str, Any], now: datetime) -> None:
        """Record a new row and the keys that its submissions have at the vendors."""
        self.arrived.add(row["request_id"])
        with suppress(InvalidRow):
            for planned in RULES.read(row, now).submissions:
                if planned.identifiers is not None:
                    key = wire_key(planned.account, dict(planned.identifiers))
                    self.keys[row["request_id"], planned.account, planned.identity_hash] = key

    def check(self, *, retried: bool) -> None:
        with self.deployment.sessions.open() as db:
            requests = {row["request_id"]: row for row in db.execute("SELECT * FROM dsar.request").fetchall()}
            rows = db.execute(
                "SELECT s.*, r.request_id, r.action, r.received_at, r.planned_at FROM dsar.submission s"
                " JOIN dsar.request r ON r.id = s.request ORDER BY s.id"
            ).fetchall()
            again = {row["submission"]: row["n"] for row in db.execute(AGAIN).fetchall()}
            events = db.execute("SELECT * FROM dsar.event ORDER BY id").fetchall()
            source = db.execute("SELECT * FROM public.dsar_requests").fetchall()
        self._nothing_is_lost(source, requests)
        self._nothing_is_accepted_twice_without_a_reason(rows, again)
        self._events_follow_each_other(events)
        for row in rows:
            assert not UNEXPECTED.search(row["reason"] or ""), row["reason"]
            self._job_exists(row)
            if row["state"] in ENDED and row["state"] != "not_applicable":
                self.truth.lie_behind(row, self.key_of(row))
        self._few_are_refused_by_a_lie(rows)
        self._no_erasure_overtakes_an_access(rows)
        self._closed_is_closed(requests, rows)
        self._terminal_is_terminal(requests, rows, retried)
        self._quota_is_kept(rows)

    def uncertain(self) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
        """Returns the uncertain submissions by (request id, account, identity)."""
        found = defaultdict(list)
        with self.deployment.sessions.open() as db:
            for row in db.execute(UNCERTAIN).fetchall():
                found[row["request_id"], row["account"], row["identity"]].append(row)
        return dict(found)

    def decision_about_outcomes(self, account: str) -> str | None:
        """Returns the decision of an operator who has asked the vendor. None if no outcome of the account
        waits.
        """
        with self.deployment.sessions.open() as db:
            rows = db.execute(UNCONFIRMED, [account]).fetchall()
        if not rows:
            return None
        untrue = any(self.truth.lie_behind(row, self.key_of(row)) for row in rows)
        return f"{account} {'discard' if untrue else 'confirm'}_outcomes the vendor was asked"

    def job_that_took(self, rows: list[dict[str, Any]]) -> str | None:
        """Returns the job that all these calls created, or None. An operator would get this answer from the
        vendor.
        """
        keys, since = {self.key_of(row) for row in rows}, max(row["attempted_at"] for row in rows)
        jobs = [
            job.id
            for job in self.world.open_jobs()
            if (job.account, job.action) == (rows[0]["account"], rows[0]["action"])
            and keys <= set(job.keys)
            and job.taken_at >= since
        ]
        return jobs[-1] if jobs else None

    def key_of(self, row: dict[str, Any]) -> str:
        return self.keys[row["request_id"], row["account"], row["identity_hash"]]

    def _nothing_is_lost(self, source: list[dict[str, Any]], requests: dict[str, Any]) -> None:
        """Check that every row of the source is in the ledger, or invalid with a reason."""
        for row in source:
            if row["status"] == "invalid":
                assert row["status_reason"] and row["request_id"] not in requests
            elif row["request_id"] not in self.arrived:
                assert row["request_id"] in requests, "a request is lost"

    def _nothing_is_accepted_twice_without_a_reason(
        self, rows: list[dict[str, Any]], again: dict[int, int]
    ) -> None:
        allowed: Counter[tuple[str, str, str]] = Counter()
        for row in rows:
            if row["attempts"]:
                allowed[row["account"], row["action"], self.key_of(row)] += 1 + again.get(row["id"], 0)
        taken = {(job.account, job.action, key) for job in self.world.jobs.values() for key in job.keys}
        for account, action, key in taken:
            jobs = self.world.accepted(account, action, key)
            assert len(jobs) <= allowed[account, action, key], (
                f"{account} has taken the {action} of {key} {len(jobs)} times: {jobs}"
            )

    def _events_follow_each_other(self, events: list[dict[str, Any]]) -> None:
        """Check that a submission makes only ordinary moves between two events."""
        last: dict[int, str] = {}
        for event in events:
            entered = last.get(event["submission"], "planned")
            assert event["leaves"] in LEADS_TO[entered], f"it was {entered}: {event}"
            last[event["submission"]] = event["enters"]

    def _job_exists(self, row: dict[str, Any]) -> None:
        if row["state"] not in ("submitted", "ready"):
            return
        job = self.truth.job_of(row, self.key_of(row))
        if row["state"] == "ready" and not job.is_foreign and job.id not in self.world.lies.no_data:
            assert {self.world.outcome(job, key) for key in job.keys} <= {"completed", "no_data"}

    def _few_are_refused_by_a_lie(self, rows: list[dict[str, Any]]) -> None:
        """Check that many refusals reject a submission only if the vendor accepted a call in this stage."""
        rejected = {row["id"]: row for row in rows if row["state"] == "rejected"}
        new = [row for id, row in rejected.items() if id not in self._rejected]
        self._rejected = set(rejected)
        untrue = Counter(
            (row["account"], row["finished_at"])
            for row in new
            if self.truth.lie_behind(row, self.key_of(row))
        )
        for (account, at), count in untrue.items():
            jobs = [job for job in self.world.jobs.values() if job.account == account]
            accepted = any(at - MAX_SUBMIT <= job.taken_at <= at for job in jobs)
            assert count < MAX_REFUSALS or accepted, f"{account} rejected {count} data subjects in a wave"

    def _no_erasure_overtakes_an_access(self, rows: list[dict[str, Any]]) -> None:
        """Check that no erasure is sent while an earlier access request of the same data subject is open."""
        self._ended_once |= {
            row["id"] for row in rows if row["state"] in ENDED
        }  # some were planned again later
        waiting = [r for r in rows if r["action"] == "access" and r["id"] not in self._ended_once]
        for sent in (r for r in rows if r["action"] == "erasure" and r["attempts"] > 0):
            for shown in waiting:
                if (shown["account"], shown["identity_hash"]) == (sent["account"], sent["identity_hash"]):
                    assert (
                        shown["received_at"] > sent["received_at"]
                        or shown["planned_at"] > sent["attempted_at"]
                        or sent["due_at"] <= sent["attempted_at"] + LAST_DAYS
                    ), "an erasure has overtaken an access"

    def _closed_is_closed(self, requests: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        of_request = defaultdict(list)
        for row in rows:
            of_request[row["request_id"]].append(row)
        for request_id, request in requests.items():
            submissions = of_request[request_id]
            assert submissions, "a request without submissions"
            if request["status"] == "in_progress":
                self._delivered.discard(request_id)
                erased = {row["state"] for row in submissions if row["identifiers"] is None}
                if request_id not in self._closed_once:
                    assert erased <= {"not_applicable"}, "identifiers are erased while the request is open"
                assert erased <= ENDED
                continue
            assert all(row["state"] in ENDED for row in submissions)
            assert not any(row["is_unconfirmed"] for row in submissions), "closed on an implausible outcome"
            assert all(row["identifiers"] is None for row in submissions), "identifiers outlive the request"
            if request_id not in self._delivered:
                self._is_closed_on_the_truth(submissions)
                self._is_delivered(request, submissions)
                self._delivered.add(request_id)
                self._closed_once.add(request_id)

    def _is_closed_on_the_truth(self, submissions: list[dict[str, Any]]) -> None:
        """Check that each outcome is true. Lies that are too few for the outcome breaker are allowed."""
        for row in submissions:
            if row["state"] == "not_applicable" or not (lie := self.truth.lie_behind(row, self.key_of(row))):
                continue
            of_account = [one for one in self.deployment.outcomes if one["account"] == row["account"]]
            breaker = self.deployment.settings[row["account"]].breaker
            held = must_wait(of_account, breaker, self.deployment.packaged_at)
            assert not held, f"{row['account']}: closed as {row['state']} because of a lie: {lie}"

    def _is_delivered(self, request: dict[str, Any], submissions: list[dict[str, Any]]) -> None:
        """Check that the delivered files agree with the ledger and contain the vendors' data."""
        storage, folder = self.deployment.storage, f"requests/{request['request_id']}"
        receipt = json.loads(storage.open(f"{folder}/receipt.json").read())
        assert receipt["status"] == request["status"]
        told = Counter(
            (account["account"], submission["outcome"], submission["job_id"])
            for account in receipt["accounts"]
            for submission in account["submissions"]
        )
        sent = [row for row in submissions if row["state"] != "not_applicable"]
        assert told == Counter((row["account"], row["state"], row["job_id"]) for row in sent)
        assert storage.exists(f"{folder}/package.zip") == (request["action"] == "access")
        if request["action"] == "access":
            with zipfile.ZipFile(io.BytesIO(storage.open(f"{folder}/package.zip").read())) as package:
                names = [name for name in package.namelist() if name.startswith("data/")]
                given = Counter((name.split("/")[1], package.read(name)) for name in names)
            assert given == Counter(
                (row["account"], self.world.data(row["account"], self.key_of(row)))
                for row in sent
                if row["state"] == "completed"
            )

    def _terminal_is_terminal(
        self, requests: dict[str, Any], rows: list[dict[str, Any]], retried: bool
    ) -> None:
        """Check that only an operator opens a closed request or plans an ended submission again."""
        statuses = {request_id: request["status"] for request_id, request in requests.items()}
        states = {row["id"]: row["state"] for row in rows}
        before_statuses, before_states = self._before
        for request_id, status in before_statuses.items():
            if status in TERMINAL and statuses[request_id] != status:
                assert retried and status in ("failed", "partial"), f"{request_id} was {status}"
        for submission, state in before_states.items():
            if state in ENDED and states[submission] != state:
                again = {"failed", "rejected"} if retried or self.discarded else set()
                again |= {"no_data"} if self.discarded else set()
                assert state in again and states[submission] == "planned"
        self._before, self.discarded = (statuses, states), False

    def _quota_is_kept(self, rows: list[dict[str, Any]]) -> None:
        """Check that ID5's quota is kept. On a day with two workers at once, only the vendor's own limit
        counts.
        """
        days: Counter[str] = Counter(
            _day(row["attempted_at"]) for row in rows if row["account"] == "id5" and row["attempts"]
        )
        for day, count in days.items():
            assert count <= QUOTA or day in self.contended, f"{count} calls on {day}"


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"
