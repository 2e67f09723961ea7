"""The truth about an outcome: what the vendors really did, and whether a lie explains an outcome."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from include.dsar.accounts import OutcomeBreaker
from tests.model.deployment import Deployment
from tests.model.jobs import Job

RUN = timedelta(days=1)
MIN_HISTORY = 50
MIN_UNKNOWN = timedelta(days=1)
CLOCK_SKEW = timedelta(minutes=2)
MAX_STAGE = timedelta(hours=13)  # from the reply of an account that works to the end of the stage
LOST_RESULTS = re.compile(r"5 jobs in a row gave no usable result")

Row = Mapping[str, Any]


class Truth:
    """Compares outcomes in the ledger with the records of the vendors."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment, self._world = deployment, deployment.world

    def lie_behind(self, row: Row, key: str) -> str | None:
        """Returns the lie that explains a false outcome. None if the outcome is true.

        Fails if no lie of a wrong key explains a false outcome.
        """
        match row["state"]:
            case "completed":
                job = self.job_of(row, key)
                assert not job.is_foreign and self._world.outcome(job, key) == "completed"
                self._has_ended(job, row)
                if row["action"] == "access":
                    data = self._world.data(row["account"], key)
                    assert row["file_sha256"] == hashlib.sha256(data).hexdigest()
            case "no_data":
                job = self.job_of(row, key)
                self._has_ended(job, row)
                if self._world.outcome(job, key) != "no_data":
                    assert job.id in self._world.lies.no_data, "no_data, although there is data"
                    return "nobody is known"
            case "rejected" if (row["account"], key) not in self._world.refused:
                assert (row["account"], key) in self._world.lies.refused, "rejected, and never refused"
                return "refused"
            case "failed":
                return self._lie_behind_failure(row, key)
        return None

    def job_of(self, row: Row, key: str) -> Job:
        """Returns the vendor's job of a submission, even if the vendor no longer shows the job."""
        job = self._world.jobs.get(row["job_id"])
        assert job is not None, f"the vendor never had the job of {row['id']}"
        assert (job.account, job.action) == (row["account"], row["action"])
        assert key in job.keys, "the job is another data subject's"
        return job

    def _lie_behind_failure(self, row: Row, key: str) -> str | None:
        job, reason, ended = self.job_of(row, key), row["reason"], row["finished_at"]
        limit = timedelta(days=self._deployment.settings[row["account"]].give_up_after_days)
        is_denied = job.id in self._world.lies.no_job
        if reason.startswith("the job did not end"):  # its age counts: a later request may share it
            assert ended - job.taken_at > limit
        elif reason.startswith(("the vendor does not have the job", "the vendor no longer has the job")):
            assert job.denied_at and ended - job.denied_at >= MIN_UNKNOWN, "failed at the first denial"
            assert job.forgotten or job.is_foreign or is_denied
            return None if job.forgotten or job.is_foreign else "the job is not there"
        elif reason.startswith("the result could not be fetched"):
            assert ended - row["submitted_at"] > limit
        elif LOST_RESULTS.match(reason):  # the documented limit for exports that contradict themselves
            return None
        else:
            assert job.failed and job.ends_at <= ended, reason
            return None
        if not is_denied and not job.is_foreign:
            worked_at = self._world.worked_at.get(row["account"])
            assert worked_at and worked_at >= ended - MAX_STAGE, "given up while the account did not work"
        return "the job is not there" if is_denied else None

    @staticmethod
    def _has_ended(job: Job, row: Row) -> None:
        assert job.ends_at <= row["finished_at"], "an outcome of a job that has not ended"
        assert job.taken_at >= row["planned_at"] - CLOCK_SKEW, "an older job served it"


def must_wait(outcomes: Sequence[Row], breaker: OutcomeBreaker, now: datetime) -> bool:
    """Returns whether the outcome breaker must hold the outcomes of an account, by its documented limits.

    `outcomes` are all outcomes of the account. Returns False if the account has a history to compare with.
    """
    if sum(not row["is_open"] for row in outcomes) >= MIN_HISTORY:
        return False
    of_all = [row for row in outcomes if row["is_open"]]
    of_run = [row for row in of_all if row["finished_at"] >= now - RUN]
    return any(
        len(seen) >= breaker.min_count
        and sum(row["state"] != "completed" for row in seen)
        >= breaker.max_share * max(len(seen), breaker.min_count)
        for seen in (of_all, of_run)
    )
