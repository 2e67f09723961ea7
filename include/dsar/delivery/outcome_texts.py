"""The texts about an account on the page for the data subject: short sentences without technical words.

The reasons in the ledger are written for operators, so the page does not show them.
"""

from __future__ import annotations

from include.dsar.model import AccountRecord, Action, State, Status
from include.dsar.vendors import VENDORS

NO_IDENTIFIER = "none of the identifiers"  # how intake's reason begins

_LABELS: dict[str, str] = {
    State.COMPLETED: "Has data about you",
    State.NO_DATA: "Has no data about you",
    State.NOT_APPLICABLE: "Not asked",
    State.REJECTED: "Refused our request",
    State.FAILED: "No usable answer",
    Status.PARTIAL: "Answered in part",
}
_SENTENCES: dict[str, str] = {
    State.COMPLETED: "{title} has data about you. This is what {title} sent us.",
    State.NO_DATA: "{title} told us that it has no data about you.",
    State.NOT_APPLICABLE: "We did not ask {title} for your data.",
    State.REJECTED: "{title} refused our request. We do not know whether it has data about you.",
    State.FAILED: "We got no usable answer from {title}. We do not know whether it has data about you.",
    Status.PARTIAL: "{title} answered only a part of our request.",
}
_NOT_OFFERED = "We could not ask {title} for your data, because {title} does not offer this."
_NOT_FOUND_BY = "We did not ask {title}, because {title} cannot find you with the details in your request."
_WITH_IDENTITY: dict[str, str] = {
    State.COMPLETED: "{title} found data about you.",
    State.NO_DATA: "{title} found no data about you.",
    State.NOT_APPLICABLE: "We did not ask {title}.",
    State.REJECTED: "{title} refused our request.",
    State.FAILED: "We got no usable answer.",
}


def label(account: AccountRecord) -> str:
    """Returns the answer of an account in a few words."""
    return _LABELS[account.outcome]


def sentence(account: AccountRecord, title: str) -> str:
    """Returns a sentence with the answer of an account to an access request."""
    text = _SENTENCES[account.outcome]
    if account.outcome is State.NOT_APPLICABLE:
        vendor = VENDORS.get(account.vendor)
        if vendor and Action.ACCESS not in vendor.actions:
            text = _NOT_OFFERED
        elif account.reason and account.reason.startswith(NO_IDENTIFIER):
            text = _NOT_FOUND_BY
    return text.format(title=title)


def sentence_for_identity(outcome: State, title: str) -> str:
    """Returns a sentence with the answer for one of several identities."""
    return _WITH_IDENTITY[outcome].format(title=title)
