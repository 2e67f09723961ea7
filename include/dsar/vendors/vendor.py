"""What a vendor module promises: facts first, then requests built and replies read, without I/O.

A new vendor is one module with one subclass of `Vendor`, one test of literal replies, and one line
in the registry (`vendors/__init__.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from include.dsar.accounts import AccountSettings
from include.dsar.errors import JobUnknown, ProtocolError
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.model import Action, IdentityKind, Outcome, Subject

NIL_JOB_ID = "00000000-0000-0000-0000-000000000000"  # RFC 9562's nil UUID


class OnUncertain(StrEnum):
    """How a submission whose reply was lost is settled."""

    ASK = "ask"  # the vendor lists what it has
    NEXT_DAY = "next_day"  # sent again on the next UTC day
    REPEAT = "repeat"  # sent again after a pause: repeating does no harm
    HOLD = "hold"  # a person decides


@dataclass(frozen=True)
class JobStatus:
    """What a status reply says. `outcomes` maps an identifier to what differs from `outcome`.

    A reply that names its only subject says nothing of any other: it has no `outcome`, and one in
    `outcomes`.
    """

    ended: bool
    outcome: Outcome | None = None
    outcomes: Mapping[str, Outcome] = field(default_factory=dict, repr=False)
    retry_alone: bool = False  # the batch failed, not saying for whom: worth another try in smaller ones

    def outcome_of(self, identifier: str) -> Outcome:
        """The outcome on one subject, by the identifier that was sent. Raises ProtocolError where the
        job is about somebody else (a person may have entered the wrong one)."""
        outcome = self.outcomes.get(identifier, self.outcome)
        if outcome is None:
            raise ProtocolError("the job is about somebody else")
        return outcome


RUNNING = JobStatus(ended=False)


@dataclass(frozen=True)
class Result:
    """A person's data at a vendor: the bytes themselves, where to download them, or why there are none."""

    file_name: str
    content: bytes | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    unreadable: str | None = None  # the reply may hold this person's data, but not so that we can tell


@dataclass(frozen=True)
class ListedJob:
    """One entry of a vendor's list route."""

    job_id: str
    action: Action
    identifiers: Mapping[IdentityKind, str] = field(repr=False)
    requested_at: datetime
    running: bool


class Vendor(ABC):
    """A kind of API. Class attributes are the facts that the stages act on."""

    name: ClassVar[str]
    title: ClassVar[str]
    service: ClassVar[str]  # what it is, for the person whose data it holds
    base_url: ClassVar[str]
    actions: ClassVar[frozenset[Action]]
    identities: ClassVar[tuple[IdentityKind, ...]]  # what an account holds unless it says otherwise
    optional_identities: ClassVar[tuple[IdentityKind, ...]] = ()  # taken, where an account lists them
    joins_identities: ClassVar[bool] = False  # one submission carries one value of each kind
    users_per_call: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset()  # settings that must be in the connection's Extra
    requests_per_second: ClassVar[float] = 10.0
    max_concurrency: ClassVar[int] = 16
    daily_quota: ClassVar[int | None] = None
    one_job_per_subject: ClassVar[bool] = False  # refuses a second one while it works on the first
    poll_min: ClassVar[timedelta]
    poll_max: ClassVar[timedelta]
    give_up_after: ClassVar[timedelta]  # an open job older than this has failed
    on_uncertain: ClassVar[OnUncertain]

    @abstractmethod
    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        """The POST that submits these subjects; never more than `users_per_call` of them."""

    @abstractmethod
    def read_created(self, reply: HttpReply) -> str:
        """The job's id.

        Raises ConfigurationError and CredentialsRefused, NotTaken and its kinds, Refused, or
        OutcomeUnknown and its kinds; the stage decides what follows from each. A reply of an unknown
        shape is ReplyLost, never ProtocolError: the vendor may have taken the call.
        """

    @abstractmethod
    def status(self, settings: AccountSettings, job_id: str) -> HttpRequest:
        """The GET that asks how a job stands."""

    @abstractmethod
    def read_status(self, action: Action, reply: HttpReply) -> JobStatus:
        """How the job stands.

        Raises ConfigurationError and CredentialsRefused, VendorBusy, JobUnknown, ReplyLost or
        ProtocolError. An unknown status or shape raises: it is never taken for success.
        """

    def probe(self, settings: AccountSettings) -> HttpRequest:
        """A GET that changes nothing, and that only our credentials open: the status of nobody's job."""
        return self.status(settings, NIL_JOB_ID)

    def read_probe(self, reply: HttpReply) -> None:
        """Returns where the vendor took our credentials; the same errors as `read_status` where not."""
        try:
            self.read_status(min(self.actions), reply)
        except JobUnknown:
            reply.object()  # any web server answers 404, but not in JSON

    def identifier_of(self, identifiers: Mapping[IdentityKind, str]) -> str:
        """The identifier by which a reply names the subject of a submission."""
        return next(iter(identifiers.values()))

    def read_results(self, reply: HttpReply, identifiers: Sequence[str]) -> Mapping[str, Result]:
        """The result of each identifier that has one, from a status reply of an ended access job."""
        raise NotImplementedError(f"{self.name} returns no data")

    def listing(self, settings: AccountSettings) -> HttpRequest:
        """The GET that lists what the vendor has; only where `on_uncertain` is ASK."""
        raise NotImplementedError(f"{self.name} has no list route")

    def read_listing(self, reply: HttpReply) -> Sequence[ListedJob]:
        """The entries of the list route that we can read; the same errors as `read_status`."""
        raise NotImplementedError(f"{self.name} has no list route")
