"""The error of a submit call decides what happens to its submissions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from include.dsar import errors
from include.dsar.ledger.claiming import Claim
from include.dsar.ledger.transitions import Move
from include.dsar.model import Action, IdentityKind, State, Subject
from include.dsar.sending.calls import Call
from include.dsar.sending.consequences import OTHER_JOB_DELAY, consequence_of

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)


def moves(error: Exception, size: int = 1, uncertain_reason: str | None = None) -> list[Move]:
    subjects = [Subject(n, {IdentityKind.USER_ID: f"u{n}"}, "GDPR", f"r-{n}", NOW) for n in range(size)]
    claims = tuple(Claim(Action.ERASURE, None, subject, uncertain_reason) for subject in subjects)
    return consequence_of(error).moves(Call(Action.ERASURE, claims), error, NOW)


@pytest.mark.parametrize(
    ("error", "uncertain_reason", "state", "not_before"),
    [
        (errors.Refused("HTTP 400"), None, State.REJECTED, None),
        (errors.VendorBusy("HTTP 429", retry_after=60), None, State.PLANNED, NOW + timedelta(seconds=60)),
        (errors.NotTaken("no connection"), None, State.PLANNED, NOW + timedelta(seconds=5)),
        (errors.AccountQuota("HTTP 403"), None, State.PLANNED, MIDNIGHT),
        (errors.IdentifierQuota("HTTP 403"), None, State.PLANNED, MIDNIGHT),
        (errors.IdentifierQuota("HTTP 403"), "no reply", State.UNCERTAIN, None),
        (errors.AlreadyRunning("HTTP 409"), None, State.UNCERTAIN, None),
        (errors.AlreadyRunning("HTTP 409"), "no reply", State.UNCERTAIN, None),
        (errors.AlreadyRunning("HTTP 409"), "HTTP 409", State.PLANNED, NOW + OTHER_JOB_DELAY),
        (errors.ReplyLost("no reply"), None, State.UNCERTAIN, None),
        (errors.ProtocolError("HTTP 200"), None, State.UNCERTAIN, None),
        (errors.JobUnknown("HTTP 404"), None, State.UNCERTAIN, None),  # this error is not in the table
        (KeyError("u0"), None, State.UNCERTAIN, None),
    ],
    ids=lambda value: f"{value!r}" if isinstance(value, Exception) else None,
)
def test_the_error_and_an_earlier_attempt_decide(
    error: Exception, uncertain_reason: str | None, state: State, not_before: datetime | None
) -> None:
    """A submission is sent again only if the vendor certainly did not accept it. A submission becomes
    `rejected` only if the vendor refused it.
    """
    (found,) = moves(error, uncertain_reason=uncertain_reason)
    assert (found.to, found.not_before) == (state, not_before)
    assert found.reason and "u0" not in found.reason


def test_only_a_documented_answer_ends_a_row_of_strikes() -> None:
    """An unusable reply counts as five strikes, and a busy vendor counts as one strike. Neither of them
    ends the row of strikes.
    """
    answers = (errors.Refused, errors.IdentifierQuota, errors.AccountQuota, errors.AlreadyRunning)
    assert all(consequence_of(kind("")).ends_strikes for kind in answers)
    for kind, strikes in ((errors.VendorBusy, 1), (errors.NotTaken, 5), (errors.ReplyLost, 5)):
        consequence = consequence_of(kind(""))
        assert (consequence.strikes, consequence.ends_strikes) == (strikes, False)


def test_a_refused_batch_is_planned_in_smaller_calls() -> None:
    """The submissions of a refused batch get a new batch limit: a tenth of the batch size, but at least
    one.
    """
    for size, limit in ((1000, 100), (9, 1)):
        assert {(m.to, m.batch_limit) for m in moves(errors.Refused("HTTP 400"), size)} == {
            (State.PLANNED, limit)
        }
