"""Everything that can go wrong, as one tree.

    DsarError
    ├── InvalidRow                a row of the source that cannot be accepted, with the reason
    ├── ConfigurationError        a connection, account or setting to mend; a retry does not help
    │   └── CredentialsRefused    the vendor refused our secret, or our right to the route
    ├── ConnectionMissing         Airflow gives us no such connection; a retry may help
    ├── SettingDiffers            a variable is not what the ledger remembers; a retry may help
    ├── NotTaken                  the vendor surely took nothing: safe to send again
    │   ├── VendorBusy            429, or the vendor's own maintenance answer
    │   ├── IdentifierQuota       this identifier has used its share of the day
    │   └── AccountQuota          this account has used its share of the day
    ├── Refused                   the vendor refused our input
    ├── OutcomeUnknown            the call may or may not have been taken
    │   ├── ReplyLost             time-out, reset, 5xx of a proxy, unreadable reply
    │   └── AlreadyRunning        the vendor works on this person already, under a job we must look up
    ├── JobUnknown                the vendor knows no such job (any more)
    ├── ProtocolError             a reply of a shape or status that no page of the vendor documents
    ├── UnsafeDownload            a result that must not be fetched or opened as it stands
    ├── RequestsRefused           refused as if for our credentials, though others were not
    ├── VendorUnavailable         an account gave no usable answer for too long; the next run goes on
    ├── OperatorActionRequired              a run did what it could; the rest is for a person
    ├── NotDelivered              requests that could not be closed, each named in the log
    ├── LedgerUnavailable         the ledger's PostgreSQL does not answer; a retry may help
    │   ├── LedgerMissing         no run has made the ledger yet
    │   └── LedgerSlow            the board gave up on a statement
    ├── LedgerFault               the ledger's PostgreSQL refused a statement of ours
    ├── SourceUnavailable         the source's database does not answer; a retry may help
    └── TransitionLost            a guarded update met a row in another state than it must leave

A message holds what a person needs to act: account, request id, the vendor's status and code.
It never holds an identifier of a person, a secret, a URL, or a vendor's free text.
"""

from __future__ import annotations


class DsarError(Exception):
    """Base of all errors of this project."""


class InvalidRow(DsarError):
    """A row of the source that cannot be accepted; the text is its `status_reason`."""


class ConfigurationError(DsarError):
    """Something a person has to mend in a connection, an account or a setting."""


class CredentialsRefused(ConfigurationError):
    """The vendor refused our secret, or says that it has no right to this route."""


class ConnectionMissing(DsarError):
    """Airflow gives us no such connection. It says the same where a secrets backend does not answer."""


class SettingDiffers(DsarError):
    """A variable is lost or changed on which what was done before depends: nothing was done with another.

    Airflow says the same where a secrets backend does not answer.
    """


class NotTaken(DsarError):
    """The vendor surely took nothing of this call, so it is safe to send it again."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds; a floor that the vendor named


class VendorBusy(NotTaken):
    """The vendor asks for fewer calls, or for patience."""


class IdentifierQuota(NotTaken):
    """The vendor takes no further call for this identifier today (ID5: one a day, in UTC)."""


class AccountQuota(NotTaken):
    """The vendor takes no further call from this account today (ID5: 3,000 a day, in UTC)."""


class Refused(DsarError):
    """The vendor refused our input: alone in its call, the submission is rejected."""


class OutcomeUnknown(DsarError):
    """The vendor may or may not have taken the call."""


class ReplyLost(OutcomeUnknown):
    """No reply, or one that says nothing: time-out, reset, empty body, a proxy's 5xx."""


class AlreadyRunning(OutcomeUnknown):
    """The vendor is at work on this person already, perhaps for another action, and names no job
    (Batch: 409)."""


class JobUnknown(DsarError):
    """The vendor knows no job of this id: never, not yet, or not any more."""


class ProtocolError(DsarError):
    """A reply of a shape that we do not know. Never taken for success."""


class UnsafeDownload(DsarError):
    """A result that must not be fetched or opened: its address, size or content is refused."""


class RequestsRefused(DsarError):
    """Calls were refused as if for our credentials, though the vendor takes those: it is about what the
    calls held. Nothing is lost; a retry sends it in smaller calls."""


class VendorUnavailable(DsarError):
    """An account gave no usable answer for too long. Nothing is lost; the next run goes on."""


class OperatorActionRequired(DsarError):
    """The run did what it could; the message says what is left for a person."""


class NotDelivered(DsarError):
    """Requests that could not be closed; a retry tries them again."""


class LedgerUnavailable(DsarError):
    """The ledger's PostgreSQL does not answer."""


class LedgerMissing(LedgerUnavailable):
    """There is a PostgreSQL, but no ledger in it: no run has made it yet."""


class LedgerSlow(LedgerUnavailable):
    """A page of the board would take too long."""


class LedgerFault(DsarError):
    """The ledger's PostgreSQL refused a statement. Its own text quotes rows, and is left out."""


class SourceUnavailable(DsarError):
    """The source's database does not answer, or did not let us do our work."""


class TransitionLost(DsarError):
    """A guarded update matched fewer rows than it was given: somebody else moved them."""


def describe(error: Exception) -> str:
    """The text of one of our own errors. Only the type of any other: its text may quote personal data."""
    return str(error) if isinstance(error, DsarError) else type(error).__name__
