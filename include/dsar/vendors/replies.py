"""Maps the HTTP status and the error code of a reply to an error.

The same status can mean one error after a POST and another after a GET. After a POST, the vendor may have
accepted the call, so each unknown reply is ReplyLost. A GET changes nothing at the vendor, so an unknown
reply is a ProtocolError.

An error message contains the HTTP status, and the vendor's code if its documentation lists that code. It
contains no other text of the reply, because that text may quote an identifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from include.dsar.errors import (
    ConfigurationError,
    CredentialsRefused,
    DsarError,
    JobUnknown,
    NotTaken,
    ProtocolError,
    Refused,
    ReplyLost,
    VendorBusy,
)
from include.dsar.http.messages import HttpReply
from include.dsar.http.retry_after import retry_after

MAX_ID_LENGTH = 200


@dataclass(frozen=True)
class Meaning:
    """The error class for a reply, and what the operator should check."""

    error: type[DsarError]
    check: str = ""


# By HTTP status and documented code. The entry without a code is for all other codes of that status.
Key = tuple[int, str | None]
ErrorTable = Mapping[Key, Meaning]

OTHERWISE: Key = (0, None)  # the entry for every status that has none of its own
NO_ROUTE = Meaning(ConfigurationError, "no such API route, check Host of the connection")
OUR_CALL = Meaning(ConfigurationError, "this is about the form of our call, not about the data subject")


def errors(base: ErrorTable, own: Mapping[Key, type[DsarError] | Meaning]) -> ErrorTable:
    """Returns the table `base`, with the entries of `own` added or replaced."""
    meanings = {key: one if isinstance(one, Meaning) else Meaning(one) for key, one in own.items()}
    return MappingProxyType({**base, **meanings})


# After a POST that creates a job.
CREATE_ERRORS = errors(
    {},
    {
        (400, None): Refused,
        (401, None): CredentialsRefused,
        (403, None): CredentialsRefused,
        (404, None): NO_ROUTE,
        (405, None): NO_ROUTE,
        (413, None): Refused,
        (422, None): Refused,
        (429, None): VendorBusy,
        OTHERWISE: ReplyLost,
    },
)
# For a vendor that documents a code for each refusal. A refusal without such a code rejects no data subject,
# because a proxy or another fault can be its cause.
CODED_CREATE_ERRORS = errors(CREATE_ERRORS, {(400, None): ReplyLost, (422, None): ReplyLost})
# After a GET that asks about a job.
STATUS_ERRORS = errors(
    {},
    {
        (401, None): CredentialsRefused,
        (403, None): CredentialsRefused,
        (404, None): JobUnknown,
        (410, None): JobUnknown,
        (429, None): VendorBusy,
        **{(status, None): ReplyLost for status in (408, *range(500, 600))},
        OTHERWISE: ProtocolError,
    },
)
# After a GET that is not about a job: a list, or a probe.
ROUTE_ERRORS = errors(STATUS_ERRORS, {(404, None): NO_ROUTE, (405, None): NO_ROUTE, (410, None): NO_ROUTE})


def check(reply: HttpReply, errors: ErrorTable, code: str | None = None) -> None:
    """Raises the error that `errors` lists for the reply. Does nothing if the status is 2xx."""
    if 200 <= reply.status < 300:
        return
    meaning = errors.get((reply.status, code)) or errors.get((reply.status, None)) or errors[OTHERWISE]
    message = f"HTTP {reply.status}" if code is None else f"HTTP {reply.status}, code {code}"
    if meaning.check:
        message += f": {meaning.check}"
    if issubclass(meaning.error, NotTaken):
        raise meaning.error(message, retry_after=retry_after(reply))
    raise meaning.error(message)


def created_object(reply: HttpReply) -> dict[str, Any]:
    """Returns the body of a reply to a POST as an object. Raises ReplyLost if the body is not an object,
    because the vendor may have accepted the call.
    """
    try:
        return reply.object()
    except ProtocolError:
        raise ReplyLost(f"HTTP {reply.status} without a readable body") from None


def created_id(value: object) -> str:
    """Returns a job's id from the reply to a POST. Raises ReplyLost if the reply has no id, because the
    vendor may have accepted the call.
    """
    try:
        return opaque_id(value)
    except ProtocolError:
        raise ReplyLost("the vendor seems to have accepted the call, but the reply has no job id") from None


def opaque_id(value: object) -> str:
    """Returns the id if it can be part of a path after percent-encoding. Raises ProtocolError otherwise."""
    if type(value) is int and 0 <= value < 10**MAX_ID_LENGTH:
        return str(value)
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= MAX_ID_LENGTH
        or not value.isprintable()  # refuses control characters and lone surrogates
        or value != value.strip()
        or value in (".", "..")  # clients resolve these even if they are percent-encoded
    ):
        raise ProtocolError("the id is empty, too long or unsafe")
    return value


def error_object(reply: HttpReply) -> dict[str, Any]:
    """Returns the object that describes an error: the field `error`, or the body itself. Empty if there is
    none.
    """
    try:
        body = reply.object()
    except ProtocolError:
        return {}
    nested = body.get("error")
    return nested if isinstance(nested, dict) else body
