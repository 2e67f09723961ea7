"""The declaration of a vendor: facts first, then requests to build and replies to read. No I/O.

A new vendor is one module with one subclass of `Vendor`, one test with literal replies, and one line
in the registry (`vendors/__init__.py`). Connection type, form, hook, tasks and documentation follow
from the declaration. See `docs/adding-a-vendor.md`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from include.dsar.errors import JobUnknown, ProtocolError, Refused, ReplyLost, UnexpectedAnswer
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.model import Action, IdentityKind, Outcome, Subject
from include.dsar.vendors.fields import ConnectionField
from include.dsar.vendors.replies import (
    CREATE_ERRORS,
    ROUTE_ERRORS,
    STATUS_ERRORS,
    ErrorTable,
    check,
    created_object,
    error_object,
)
from include.dsar.vendors.reply_shape import ReplyShape, Route

if TYPE_CHECKING:
    from include.dsar.accounts import AccountSettings

# The id of a job that no vendor has. OpenDSR demands a UUID of version 4, and the nil UUID is none.
NO_JOB_ID = "6f1c0b52-7d3e-4a9b-8c15-e2a46d90b37f"


class OnUncertain(StrEnum):
    """How to reconcile an uncertain submission."""

    ASK = "ask"  # the vendor lists what it has
    ASK_JOB = "ask_job"  # we choose the job's id, so the vendor can be asked for it
    NEXT_DAY = "next_day"  # sent again on the next UTC day
    REPEAT = "repeat"  # sent again after a pause: repeating does no harm
    HOLD = "hold"  # an operator decides


@dataclass(frozen=True)
class JobStatus:
    """The content of a status reply. `outcome` applies to all identifiers that `outcomes` does not list.

    If a reply is about one named data subject only, `outcome` is None and `outcomes` has one entry.
    """

    ended: bool
    outcome: Outcome | None = None
    outcomes: Mapping[str, Outcome] = field(default_factory=dict, repr=False)
    retry_alone: bool = False  # the batch failed and the reply names no culprit: try smaller batches

    def outcome_of(self, identifier: str) -> Outcome:
        """Returns the outcome for one data subject, by the identifier that was sent.

        Raises ProtocolError if the job is about another data subject. For example, an operator may have
        entered the wrong job id.
        """
        outcome = self.outcomes.get(identifier, self.outcome)
        if outcome is None:
            raise ProtocolError("the job is about another data subject")
        return outcome


RUNNING = JobStatus(ended=False)


@dataclass(frozen=True)
class Result:
    """A data subject's data at a vendor: the bytes, the URL to download, or the reason why there is no
    data.
    """

    file_name: str
    content: bytes | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    unreadable: str | None = None  # the reply may contain this data, but we cannot tell which part
    lost: str | None = None  # the reply is damaged or has expired: there must be a new job


@dataclass(frozen=True)
class ListedJob:
    """One entry of a vendor's list route."""

    job_id: str
    action: Action
    identifiers: Mapping[IdentityKind, str] = field(repr=False)
    requested_at: datetime
    running: bool


class Vendor(ABC):
    """A kind of API. The class attributes are facts that the stages use."""

    name: ClassVar[str]
    title: ClassVar[str]
    service: ClassVar[str]  # what it is, for the data subject
    base_url: ClassVar[str] = ""  # empty: the connection must have a host
    credential: ClassVar[str]  # what the connection's Password holds
    fields: ClassVar[tuple[ConnectionField, ...]] = ()  # of the connection's Extra, beside the pacing

    actions: ClassVar[frozenset[Action]]
    returns_data: ClassVar[bool] = False  # an access job has a result to collect
    identities: ClassVar[tuple[IdentityKind, ...]]  # what an account holds by default
    optional_identities: ClassVar[tuple[IdentityKind, ...]] = ()  # only if the account lists them
    needs_jurisdiction: ClassVar[bool] = False  # it accepts only laws that have an `id5_jurisdiction`
    joins_identities: ClassVar[bool] = False  # one submission carries one value of each kind
    users_per_call: ClassVar[int] = 1
    one_job_per_subject: ClassVar[bool] = False  # refuses a second job while it works on the first

    requests_per_second: ClassVar[float] = 10.0
    max_concurrency: ClassVar[int] = 16
    daily_quota: ClassVar[int | None] = None
    poll_min: ClassVar[timedelta]
    poll_max: ClassVar[timedelta]
    give_up_after: ClassVar[timedelta]  # an open job older than this has failed

    can_cancel: ClassVar[bool] = False  # has `cancel` and `read_cancelled`
    on_uncertain: ClassVar[OnUncertain]
    job_id_path: ClassVar[tuple[str, ...]] = ()  # where a status reply names its job, if it does
    # An error reply of the vendor is a JSON object, and has one of these fields if any is listed.
    error_fields: ClassVar[tuple[str, ...]] = ()
    code_field: ClassVar[str] = "code"  # of an error reply
    statuses_with_any_code: ClassVar[frozenset[int]] = frozenset()  # their codes are not documented
    shapes: ClassVar[Mapping[Route, ReplyShape]] = MappingProxyType({})  # compared by `dsar_upkeep`
    create_errors: ClassVar[ErrorTable] = CREATE_ERRORS
    status_errors: ClassVar[ErrorTable] = STATUS_ERRORS
    route_errors: ClassVar[ErrorTable] = ROUTE_ERRORS  # of the list route and the probe
    cancel_errors: ClassVar[ErrorTable] = STATUS_ERRORS  # only if `can_cancel`

    @abstractmethod
    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        """Returns the POST that submits these data subjects. There are never more than `users_per_call`."""

    @abstractmethod
    def read_created(self, reply: HttpReply) -> str:
        """Returns the id of the new job.

        Raises ConfigurationError, CredentialsRefused, Refused, or a subclass of NotTaken or OutcomeUnknown.
        A reply of an unknown shape is ReplyLost, never ProtocolError, because the vendor may have accepted
        the call.
        """

    @abstractmethod
    def status(self, settings: AccountSettings, job_id: str) -> HttpRequest:
        """Returns the GET that asks for the status of a job."""

    @abstractmethod
    def read_status(self, action: Action, reply: HttpReply) -> JobStatus:
        """Returns the status of the job.

        Raises ConfigurationError, CredentialsRefused, VendorBusy, JobUnknown, UnexpectedAnswer, ReplyLost or
        ProtocolError. An unknown status or shape raises an error. It never counts as success.
        """

    def check_job(self, job_id: str, reply: HttpReply) -> None:
        """Raises ProtocolError if a status reply can be read and names another job."""
        value = reply.json()
        for name in self.job_id_path:
            value = value.get(name) if isinstance(value, dict) else None
        if self.job_id_path and value is not None and str(value) != job_id:
            raise ProtocolError("the reply is about another job")

    def probe(self, settings: AccountSettings) -> HttpRequest:
        """Returns a GET that changes nothing and needs our credentials. By default, it asks for a job id
        that does not exist.
        """
        return self.status(settings, NO_JOB_ID)

    def read_probe(self, settings: AccountSettings, reply: HttpReply) -> str:
        """Returns a sentence about the account, from the reply to the probe. The sentence may be empty.

        Raises the errors of `read_status` if the vendor refuses our credentials or the route.
        """
        with suppress(JobUnknown):
            self.read_status(min(self.actions), reply)
        return ""

    def discovery(self, settings: AccountSettings) -> HttpRequest | None:
        """Returns a GET that asks what the API supports, for the *Test* button. None if the vendor has no
        such route.

        The route may need no credentials, so a reply does not prove that the credentials work.
        """
        return None

    def read_discovery(self, settings: AccountSettings, reply: HttpReply) -> str:
        """Returns a text about what the API supports, and what it lacks for this connection.

        Raises the errors of `read_probe`.
        """
        raise NotImplementedError(f"vendor {self.name} does not implement discovery")

    def unsupported(self, settings: AccountSettings, reply: HttpReply) -> Sequence[str]:
        """Returns everything that the connection needs but the reply to `discovery` does not list. Raises
        the errors of `read_probe`.
        """
        return ()

    def identifier_of(self, identifiers: Mapping[IdentityKind, str]) -> str:
        """Returns the identifier that replies use for the data subject of a submission."""
        return next(iter(identifiers.values()))

    def read_results(self, reply: HttpReply, identifiers: Sequence[str]) -> Mapping[str, Result]:
        """Returns the results from a status reply of an ended access job, by identifier."""
        raise NotImplementedError(f"vendor {self.name} does not implement access requests")

    def job_id_of(self, settings: AccountSettings, subject: Subject) -> str:
        """Returns the id that we choose for the job of a submission. Called only if `on_uncertain` is
        ASK_JOB.
        """
        raise NotImplementedError(f"vendor {self.name} does not let us choose job ids")

    def cancel(self, settings: AccountSettings, job_id: str) -> HttpRequest:
        """Returns the call that cancels a job. Called only if `can_cancel` is true."""
        raise NotImplementedError(f"vendor {self.name} does not implement cancellation")

    def read_cancelled(self, reply: HttpReply) -> None:
        """Returns normally if the vendor accepted the cancellation. Only a later status confirms it.

        Raises Refused if it is too late to cancel, and the errors of `read_status`.
        """
        raise NotImplementedError(f"vendor {self.name} does not implement cancellation")

    def check_settings(  # noqa: B027 - most vendors have nothing to check
        self, settings: AccountSettings, identities: Sequence[IdentityKind]
    ) -> None:
        """Raises ValueError if fields of the connection contradict each other."""

    def listing(self, settings: AccountSettings) -> HttpRequest:
        """Returns the GET that lists the vendor's jobs. Called only if `on_uncertain` is ASK."""
        raise NotImplementedError(f"vendor {self.name} does not implement a list of jobs")

    def read_listing(self, reply: HttpReply) -> Sequence[ListedJob]:
        """Returns the entries of the vendor's list that can be read. Raises the errors of `read_status`."""
        raise NotImplementedError(f"vendor {self.name} does not implement a list of jobs")

    def created(self, reply: HttpReply) -> dict[str, Any]:
        """Returns the body of a successful reply to a POST. Raises the errors that `create_errors` lists."""
        try:
            check(reply, self.create_errors, self.error_code(reply))
        except Refused as error:
            # A call that is too large (413) is often refused by a proxy.
            if reply.status != 413 and reply.body.strip() and not _is_json(reply):
                raise ReplyLost(f"{error}, not in JSON") from None
            raise
        return created_object(reply)

    def answered(self, reply: HttpReply, errors: ErrorTable | None = None) -> HttpReply:
        """Returns the reply to a GET. Raises ReplyLost if it has no body, and the errors that `errors` lists.

        The default table is `status_errors`.
        """
        try:
            check(reply, self.status_errors if errors is None else errors, self.error_code(reply))
        except JobUnknown as error:
            if not self._is_own_error(reply):
                raise UnexpectedAnswer(f"{error}, not in the vendor's own shape") from None
            raise
        if not reply.body.strip():
            raise ReplyLost(f"HTTP {reply.status} with an empty body")
        return reply

    def error_code(self, reply: HttpReply) -> str | None:
        """Returns the code of an error reply if the error tables list this code."""
        code = error_object(reply).get(self.code_field)
        return str(code) if type(code) in (int, str) and str(code) in self.codes else None

    def _is_own_error(self, reply: HttpReply) -> bool:
        """Returns whether the vendor can have sent this error reply. A proxy's reply has another shape."""
        found = error_object(reply)
        return any(field in found for field in self.error_fields or found)

    @cached_property
    def codes(self) -> frozenset[str | None]:
        """Returns all documented error codes."""
        tables = (self.create_errors, self.status_errors, self.route_errors, self.cancel_errors)
        return frozenset(code for table in tables for _, code in table if code)


def _is_json(reply: HttpReply) -> bool:
    try:
        reply.json()
    except ProtocolError:
        return False
    return True
