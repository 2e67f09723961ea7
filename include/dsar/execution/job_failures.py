"""Decides when the submissions of a job fail, although the vendor did not report that the job failed.

A failed submission is final and is recorded in the receipt. Therefore a submission fails only after an
error that one of the two tables below lists, or after the account's `give_up_after_days`. After any other
error, the job is polled or collected again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from include.dsar.errors import JobUnknown, ProtocolError, UnsafeDownload


@dataclass(frozen=True)
class JobFailure:
    """The consequence of an error for the submissions of a job."""

    reason: str  # {error} is the text of the error
    min_age: timedelta = timedelta.min  # an error about a younger job means nothing yet
    min_unknown: timedelta = timedelta.min  # the vendor must have said the same so long ago, in another run
    is_documented: bool = False  # else it counts only if the account works: see trust.py
    splits_batch: bool = False  # for batches only: their submissions are sent again in smaller ones


JobFailures = Mapping[type[Exception], JobFailure]

MIN_UNKNOWN = timedelta(days=1)
JOB_FORGOTTEN = "the vendor does not have the job, or no longer has it"
UNREADABLE = "for a day, no reply about the batch could be read"
RESULT_EXPIRED = "the vendor no longer has the job: its result has expired"

POLL_FAILURES: JobFailures = {
    # A new job may not be visible at once.
    JobUnknown: JobFailure(JOB_FORGOTTEN, min_age=timedelta(hours=1), min_unknown=MIN_UNKNOWN),
    # The record of one data subject may make the reply about its batch unreadable.
    ProtocolError: JobFailure(UNREADABLE, min_age=timedelta(days=1), splits_batch=True),
}
COLLECT_FAILURES: JobFailures = {
    JobUnknown: JobFailure(RESULT_EXPIRED, min_unknown=MIN_UNKNOWN),
    # The vendor's own reply about this job names what cannot be fetched.
    UnsafeDownload: JobFailure("{error}", min_age=timedelta(days=1), is_documented=True),
}
POLL_GAVE_UP = "the job did not end in {days:g} days"
MAX_LOST_RESULTS = 5  # of one submission; each was followed by a new job
LOST_AGAIN = "{count} jobs in a row gave no usable result, and the vendor said of the last one: {reason}"
COLLECT_GAVE_UP = "the result could not be fetched in {days:g} days"
