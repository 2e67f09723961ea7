"""What an HTTP reply says where the vendors mean the same by it: errors, patience, ids.

Two readings, since the same status weighs differently. After a POST the question is whether the
vendor may have taken the call, so whatever is not surely a refusal ends as ReplyLost. After a GET
nothing is at stake, so what no page documents is a ProtocolError.

A message names the HTTP status, and the vendor's code where its page documents that code: anything
else in a reply is the vendor's text, which may quote an identifier.
"""

from __future__ import annotations

from typing import Any

from include.dsar.errors import (
    ConfigurationError,
    CredentialsRefused,
    JobUnknown,
    ProtocolError,
    Refused,
    ReplyLost,
    VendorBusy,
)
from include.dsar.http.messages import HttpReply
from include.dsar.http.retry_after import retry_after

NO_CODES: frozenset[str] = frozenset()
REFUSALS = frozenset({400, 413, 422})  # the input is at fault, perhaps only its size
LONGEST_ID = 200


def created(reply: HttpReply, codes: frozenset[str] = NO_CODES) -> dict[str, Any]:
    """The body of a reply to a POST that the vendor took.

    Raises CredentialsRefused, ConfigurationError (no such route), VendorBusy, Refused, and ReplyLost
    for all that leaves open whether the call was taken: 3xx, 5xx, an empty or unreadable body.
    """
    if 200 <= reply.status < 300:
        try:
            return reply.object()
        except ProtocolError:
            raise ReplyLost(f"HTTP {reply.status} without a readable body") from None
    said = says(reply, codes)
    if reply.status in (401, 403):
        raise CredentialsRefused(said)
    if reply.status in (404, 405):
        raise ConfigurationError(f"{said}: no such route, look at the connection's host")
    if reply.status == 429:
        raise VendorBusy(said, retry_after=retry_after(reply))
    if reply.status in REFUSALS:
        raise Refused(said)
    raise ReplyLost(said)


def answered(reply: HttpReply, codes: frozenset[str] = NO_CODES) -> HttpReply:
    """The reply to a GET, given back where it is a success with a body.

    Raises CredentialsRefused, JobUnknown, VendorBusy, ReplyLost (5xx, empty body) or ProtocolError.
    """
    if 200 <= reply.status < 300:
        if not reply.body.strip():
            raise ReplyLost(f"HTTP {reply.status} with an empty body")
        return reply
    said = says(reply, codes)
    if reply.status in (401, 403):
        raise CredentialsRefused(said)
    if reply.status in (404, 410):
        raise JobUnknown(said)
    if reply.status == 429:
        raise VendorBusy(said, retry_after=retry_after(reply))
    if reply.status == 408 or reply.status >= 500:
        raise ReplyLost(said)
    raise ProtocolError(said)


def created_id(value: object) -> str:
    """A job's id from the reply to a POST. Raises ReplyLost: the call may have been taken without one."""
    try:
        return opaque_id(value)
    except ProtocolError:
        raise ReplyLost("the call seems taken, but its reply names no job") from None


def opaque_id(value: object) -> str:
    """An id that can stand in a path once it is percent-encoded. Raises ProtocolError."""
    if type(value) is int and 0 <= value < 10**LONGEST_ID:
        return str(value)
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= LONGEST_ID
        or not value.isprintable()  # refuses control characters and lone surrogates
        or value != value.strip()
        or value in (".", "..")  # clients resolve these even where they are percent-encoded
    ):
        raise ProtocolError("an id of a shape that cannot be used")
    return value


def says(reply: HttpReply, codes: frozenset[str]) -> str:
    """`HTTP 400, code 31`: the code only where it is one of the documented ones."""
    code = error_code(reply, codes)
    return f"HTTP {reply.status}" if code is None else f"HTTP {reply.status}, code {code}"


def error_code(reply: HttpReply, codes: frozenset[str]) -> str | None:
    """The vendor's error code where it is one of `codes`."""
    code = error_object(reply).get("code")
    return str(code) if type(code) in (int, str) and str(code) in codes else None


def error_object(reply: HttpReply) -> dict[str, Any]:
    """The object that describes an error: under `error`, or the body itself; empty where there is none."""
    try:
        body = reply.object()
    except ProtocolError:
        return {}
    nested = body.get("error")
    return nested if isinstance(nested, dict) else body
