"""All errors of this project, as one tree.

    DsarError
    ├── InvalidRow                a row of the source that cannot be accepted, with the reason
    ├── ConfigurationError        an operator must correct a connection, account or setting
    │   └── CredentialsRefused    the vendor refused our secret, or our access to the route
    ├── ConnectionMissing         Airflow gives us no such connection; a retry may help
    ├── SettingDiffers            a variable differs from the ledger's copy; a retry may help
    ├── NotTaken                  the vendor certainly did not accept the call: safe to send again
    │   ├── VendorBusy            429, or the vendor's own maintenance answer
    │   ├── WindowOver            the window ends before the call could start
    │   ├── IdentifierQuota       the daily quota of this identifier is used up
    │   └── AccountQuota          the daily quota of this account is used up
    ├── Refused                   the vendor refused our input
    ├── OutcomeUnknown            the vendor may or may not have accepted the call
    │   ├── ReplyLost             time-out, reset, 5xx of a proxy, unreadable reply
    │   └── AlreadyRunning        the vendor has a job for this data subject, perhaps ours
    ├── JobUnknown                the vendor has no such job
    ├── UnexpectedAnswer          an error reply that is not the vendor's own, such as a proxy's 404
    ├── ProtocolError             a reply that the vendor's documentation does not describe
    ├── UnsafeDownload            a result that must not be fetched or opened
    ├── RequestsRefused           401 or 403 for some calls, although the credentials work
    ├── VendorUnavailable         an account gave no usable answer for too long; the next run continues
    ├── OperatorActionRequired    a run did what it could; an operator must do the rest
    ├── NotDelivered              requests that could not be closed, each named in the log
    ├── LedgerUnavailable         the ledger's PostgreSQL does not answer; a retry may help
    │   ├── LedgerMissing         no run has created the ledger yet
    │   └── LedgerSlow            a statement of the board took too long
    ├── LedgerFault               the ledger's PostgreSQL refused a statement of ours
    ├── SourceUnavailable         the source's database does not answer; a retry may help
    └── TransitionLost            a guarded update found a row in another state

A message contains what an operator needs: account, request id, the vendor's status and code.
It never contains an identifier of a data subject, a secret, a URL, or a vendor's free text.
"""

from __future__ import annotations


class DsarError(Exception):
    """Base of all errors of this project."""


class InvalidRow(DsarError):
    """A row of the source that cannot be accepted. The text is stored as the row's `status_reason`."""


class ConfigurationError(DsarError):
    """An operator must correct a connection, an account or a setting."""


class CredentialsRefused(ConfigurationError):
    """The vendor refused our secret, or our access to this API route."""


class ConnectionMissing(DsarError):
    """Airflow has no connection with this id, or its secrets backend does not answer."""


class SettingDiffers(DsarError):
    """A variable that earlier work depends on is missing or has changed. Nothing was done with the new
    value.

    Airflow also reports a variable as missing if its secrets backend does not answer.
    """


class NotTaken(DsarError):
    """The vendor certainly did not accept any part of this call, so it is safe to send the call again."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds; the vendor asks to wait at least so long


class VendorBusy(NotTaken):
    """The vendor asks us to send fewer calls, or to try again later."""


class WindowOver(NotTaken):
    """The time window of the stage ends before the call can start."""


class IdentifierQuota(NotTaken):
    """The vendor accepts no more calls for this identifier today (ID5: one per UTC day)."""


class AccountQuota(NotTaken):
    """The vendor accepts no more calls from this account today (ID5: 3,000 per UTC day)."""


class Refused(DsarError):
    """The vendor refused our input. If the call had only one submission, that submission is rejected."""


class OutcomeUnknown(DsarError):
    """The vendor may or may not have accepted the call."""


class ReplyLost(OutcomeUnknown):
    """There was no usable reply: time-out, connection reset, empty body, or a 5xx of a proxy."""


class AlreadyRunning(OutcomeUnknown):
    """The vendor already has a job for this data subject, or with this job id (409 of Batch, 400 or 409 of
    OpenDSR). The reply does not say whether this job is ours, or belongs to another request or action.
    """


class JobUnknown(DsarError):
    """The vendor has no job with this id. The job never existed, is not visible yet, or was deleted."""


class UnexpectedAnswer(DsarError):
    """An error reply that does not have the vendor's shape. A proxy, a gateway or another server sent it."""


class ProtocolError(DsarError):
    """A reply that the vendor's documentation does not describe. It never counts as success."""


class UnsafeDownload(DsarError):
    """A result that must not be downloaded or opened because of its address, size or content."""


class RequestsRefused(DsarError):
    """The vendor accepts our credentials, but answered some calls with 401 or 403. So the content of those
    calls is the cause. No submission is lost. A retry sends the submissions in smaller calls.
    """


class VendorUnavailable(DsarError):
    """An account gave no usable answer for too long. No work is lost: the next run continues."""


class OperatorActionRequired(DsarError):
    """An operator must do the remaining work. The message says what to do."""


class NotDelivered(DsarError):
    """Some requests could not be closed. A retry tries to close them again."""


class LedgerUnavailable(DsarError):
    """The ledger's PostgreSQL does not answer."""


class LedgerMissing(LedgerUnavailable):
    """PostgreSQL answers but has no ledger: no run has created the ledger yet."""


class LedgerSlow(LedgerUnavailable):
    """A statement for a page of the board took too long and was cancelled."""


class LedgerFault(DsarError):
    """The ledger's PostgreSQL refused a statement. The message omits PostgreSQL's text because that text
    quotes rows.
    """


class SourceUnavailable(DsarError):
    """The source's database does not answer, or it closed the connection."""


class TransitionLost(DsarError):
    """A guarded update matched fewer rows than expected, because another session changed some rows."""


def describe(error: Exception) -> str:
    """Returns the text of an error for logs. For an error that is not ours, returns only its type, because
    its text may quote personal data.
    """
    return str(error) if isinstance(error, DsarError) else type(error).__name__
