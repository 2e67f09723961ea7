"""Checks whether the API of an account still matches the declaration in its vendor's module. Uses no data
subject.

The check asks for a job that does not exist, for the list of jobs, and for what the API supports. It also
reads the differences that the stages found in the real replies of the last days.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from include.dsar.errors import (
    ConfigurationError,
    DsarError,
    JobUnknown,
    NotTaken,
    OperatorActionRequired,
    ProtocolError,
    ReplyLost,
    UnexpectedAnswer,
    VendorBusy,
    VendorUnavailable,
)
from include.dsar.execution.account_work import AccountWork
from include.dsar.execution.observed_replies import replies_remembered
from include.dsar.http.messages import HttpReply, HttpRequest
from include.dsar.ledger.reply_shapes import ContractCheck, Kind, Observation, put_check, recent
from include.dsar.vendors.reply_shape import Route
from include.dsar.vendors.vendor import NO_JOB_ID, Vendor

log = logging.getLogger(__name__)

DRIFT = (
    "The API of {account} (connection {connection}) differs from what this version expects. {drift}. Compare "
    "this with the vendor's documentation. Then upgrade this project, or report the difference to its "
    "maintainers."
)


@dataclass(frozen=True)
class Probed:
    """Counts of one check. `routes` counts the routes with a reply in the last days, including this check."""

    calls: int
    routes: int
    differences: int


async def probe_contract(work: AccountWork) -> Probed:
    """Compares the API of an account with its vendor's declaration, and records the result.

    Raises OperatorActionRequired if they differ. Raises CredentialsRefused or ConfigurationError if an
    operator must fix the account's connection. Raises VendorUnavailable if the vendor gave no usable
    answer.
    """
    with work.naming_the_connection():
        async with replies_remembered(work):
            drift = [*await _unknown_job(work), *await _list(work), *await _unsupported(work)]
    now = work.clock()
    observed = await work.ledger(recent, work.account, now=now)
    drift += differences(work.vendor, observed)
    await work.ledger(put_check, ContractCheck(work.account, now, drift))
    if drift:
        raise OperatorActionRequired(drift_text(work.account, drift, work.settings.connection))
    probed = Probed(work.client.calls, len({one.route for one in observed}), len(drift))
    log.info("%s: %d calls, %d routes compared, no difference", work.account, probed.calls, probed.routes)
    return probed


def drift_text(account: str, drift: Sequence[str], connection: str) -> str:
    """Returns a text for the operator: each difference, and what to do."""
    return DRIFT.format(account=account, connection=connection, drift=". ".join(drift))


def differences(vendor: Vendor, observed: Sequence[Observation]) -> list[str]:
    """Returns a text for each observation that still differs from the declaration."""
    named = {one[:3] for one in observed if one.word}
    return [
        f"Route {one.route}: {_TEXTS[one.kind].format(one.name, one.word or 'one that we do not repeat')}"
        for one in observed
        if not _is_declared(vendor, one) and (one.word or one[:3] not in named)
    ]


_TEXTS = {
    Kind.FIELD: "the field {0} is missing",
    Kind.WORD: "the field {0} has a new value ({1})",
    Kind.STATUS: "{0} is new",
    Kind.CODE: "{0} has a new error code ({1})",
}


def _is_declared(vendor: Vendor, one: Observation) -> bool:
    """Returns whether this version declares the observed value, or no longer needs the missing field."""
    shape = vendor.shapes.get(Route(one.route))
    match one.kind:
        case Kind.FIELD:
            return shape is None or not shape.declares(one.name)
        case Kind.WORD:
            return shape is None or shape.knows(one.name, one.word)
        case Kind.CODE:
            return one.word in vendor.codes
    return one.kind is Kind.REPLY


async def _unknown_job(work: AccountWork) -> list[str]:
    try:
        reply = await _call(work, work.vendor.status(work.settings, NO_JOB_ID))
    except ProtocolError as error:  # only a successful reply is verified
        return [f"For a job that does not exist, the API does not answer with an error, and {error}"]
    if 200 <= reply.status < 300:
        return [f"For a job that does not exist, the API answers HTTP {reply.status}"]
    work.replies.observe(work.vendor, Route.STATUS, reply)
    try:
        work.vendor.read_status(min(work.vendor.actions), reply)
    except UnexpectedAnswer as error:
        return [f"For a job that does not exist, the API answers {error}"]
    except (ReplyLost, VendorBusy) as error:
        raise _unavailable(work, error) from None
    except (JobUnknown, ProtocolError):
        pass  # a ProtocolError is about a new HTTP status, which is observed
    return []


async def _list(work: AccountWork) -> list[str]:
    if Route.LIST not in work.vendor.shapes:
        return []
    reply = await _call(work, work.vendor.listing(work.settings))
    work.replies.observe(work.vendor, Route.LIST, reply, about=NO_JOB_ID)
    try:
        work.vendor.read_listing(reply)
    except (UnexpectedAnswer, ProtocolError) as error:
        return [f"The list of jobs cannot be read: {error}"]
    except (ReplyLost, VendorBusy) as error:
        raise _unavailable(work, error) from None
    return []


async def _unsupported(work: AccountWork) -> list[str]:
    request = work.vendor.discovery(work.settings)
    if request is None:
        return []
    try:
        missing = work.vendor.unsupported(work.settings, await _call(work, request))
    except (ConfigurationError, ProtocolError, UnexpectedAnswer, ReplyLost):
        return []  # a processor need not have this route
    return [f"The API does not list what the connection needs: {', '.join(missing)}"] if missing else []


async def _call(work: AccountWork, request: HttpRequest) -> HttpReply:
    try:
        return await work.client.send(request)
    except (NotTaken, ReplyLost) as error:
        raise _unavailable(work, error) from None


def _unavailable(work: AccountWork, error: DsarError) -> VendorUnavailable:
    if isinstance(error, VendorBusy):
        work.client.honour(error)
    return VendorUnavailable(f"{work.account}: the API could not be compared ({error}).")
