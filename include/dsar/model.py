"""The basic types of this project. `docs/glossary.md` explains the words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Action(StrEnum):
    """What the data subject asks for. The values are the words of OpenDSR."""

    ACCESS = "access"
    ERASURE = "erasure"


class IdentityKind(StrEnum):
    """The kinds of identifiers. The values are also the names of the source's columns."""

    EMAIL = "email"
    PHONE = "phone"
    USER_ID = "user_id"
    ADVERTISING_ID = "advertising_id"
    INSTALL_ID = "install_id"
    ID5_ID = "id5_id"


class State(StrEnum):
    """The state of a submission. `ledger/transitions.py` shows which state follows which."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    UNCERTAIN = "uncertain"
    SUBMITTED = "submitted"
    READY = "ready"
    COMPLETED = "completed"
    NO_DATA = "no_data"
    NOT_APPLICABLE = "not_applicable"
    REJECTED = "rejected"
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        """Returns whether the account still has work to do. SQL function: `dsar.is_open(state)`."""
        return self in _OPEN_STATES

    @property
    def is_terminal(self) -> bool:
        return not self.is_open


_OPEN_STATES = {State.PLANNED, State.SUBMITTING, State.UNCERTAIN, State.SUBMITTED, State.READY}


class Status(StrEnum):
    """The status of a request, as in the source's column `status`."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    INVALID = "invalid"


@dataclass(frozen=True)
class Subject:
    """One submission as a vendor module sees it: the identifiers of a data subject and the action."""

    submission: int  # the ledger's id
    identifiers: Mapping[IdentityKind, str] = field(repr=False)
    regulation: str  # its name
    request_id: str
    received_at: datetime  # of the request
    earlier_jobs: int = 0  # jobs of this submission that ended without success
    jurisdiction: str | None = None  # the regulation as ID5 calls it


@dataclass(frozen=True)
class Outcome:
    """What the vendor reports about one data subject. `READY` means that a result can be collected."""

    state: State
    reason: str | None = None


@dataclass(frozen=True)
class CollectedFile:
    """The file in storage with a vendor's result for one submission."""

    path: str  # below the storage's root
    name: str  # its name in the package
    sha256: str
    bytes: int


@dataclass(frozen=True)
class SubmissionRecord:
    """How one submission ended, without identifiers."""

    identity: str  # the kinds of identifiers that were sent, joined by "+"
    outcome: State
    reason: str | None
    job_id: str | None
    submitted_at: datetime | None
    finished_at: datetime | None
    attempts: int
    file: CollectedFile | None = None


@dataclass(frozen=True)
class AccountRecord:
    """How a request ended at one account."""

    account: str
    vendor: str
    outcome: State | Status
    reason: str | None
    submissions: tuple[SubmissionRecord, ...]


@dataclass(frozen=True)
class RequestRecord:
    """A request whose submissions have all ended. A receipt and a package are made from it."""

    id: int  # the ledger's
    request_id: str
    action: Action
    regulation: str
    received_at: datetime
    due_at: datetime
    status: Status
    status_reason: str | None
    accounts: tuple[AccountRecord, ...]
    law: str = ""  # the text that names the law to the data subject
