"""If a vendor refuses the credentials of a call, the cause may be the account or one request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from include.dsar.accounts import AccountSettings
from include.dsar.errors import CredentialsRefused, RequestsRefused
from include.dsar.http.messages import HttpRequest
from include.dsar.ledger.database import Database
from include.dsar.model import Action, Subject
from include.dsar.sending.refused_calls import MAX_SUSPECTS_IN_A_ROW
from include.dsar.vendors.batch import Batch
from include.dsar.vendors.besitos import Besitos
from include.dsar.vendors.vendor import Vendor
from include.sandbox import Sandbox
from tests.integration.requests_given import events, put_into, rows, states
from tests.integration.stage_runs import Stages, plan_each


class Firewall(Vendor):
    """A firewall in front of the vendor's API that refuses calls which look like an attack."""

    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        call = super().create(settings, action, subjects)
        if any("poison" in value for subject in subjects for value in subject.identifiers.values()):
            return replace(call, headers={**call.headers, "Authorization": "no", "X-Authorization": "no"})
        return call


class BesitosBehindFirewall(Firewall, Besitos):
    pass


class BatchBehindFirewall(Firewall, Batch):
    pass


BEHIND_FIREWALL = {"besitos": BesitosBehindFirewall(), "batch": BatchBehindFirewall()}
Run = Callable[..., Awaitable[str | None]]


@pytest.fixture
def run(stages: Stages) -> Run:
    """Runs submit behind the firewall. Returns the text of RequestsRefused."""

    async def run_one(account: str, firewall: bool = True, **extra: Any) -> str | None:
        vendor = BEHIND_FIREWALL[account] if firewall else None
        try:
            await stages.submit(account, vendor=vendor, max_concurrency=1, **extra)
        except RequestsRefused as error:
            return str(error)
        return None

    return run_one


def limits(db: Database) -> set[int | None]:
    return {row["batch_limit"] for row in rows(db) if row["state"] == "planned"}


async def test_the_only_call_of_an_account_is_sent_again_in_smaller_ones(
    db: Database, sandbox: Sandbox, run: Run
) -> None:
    """The probe shows that the credentials work. The bad request is finally sent alone and named."""
    plan_each(db, "besitos", "poison-1", *(f"u{n}" for n in range(4)))
    text = await run("besitos")
    assert text and "the vendor refused 5 submissions (HTTP 401: 5), but it accepts our credentials." in text
    assert "alone:" not in text and "Password" not in text
    assert set(states(db).values()) == {"planned"} and limits(db) == {1}
    for _ in range(3):
        text = await run("besitos")
        assert text and "the vendor refused 1 submission (HTTP 401: 1)" in text
        assert "Refused alone: poison-1." in text
        assert [name for name, state in states(db).items() if state != "submitted"] == ["poison-1"]
    (bad,) = (row for row in rows(db) if row["state"] == "planned")
    assert (bad["attempts"], bad["reason"]) == (0, "HTTP 401, but the vendor accepts our credentials")
    assert events(db) == []
    assert await run("besitos", firewall=False) is None
    assert set(states(db).values()) == {"submitted"}
    assert [len(job.subjects) for job in sandbox.jobs()] == [1] * 5


async def test_a_single_request_reports_the_account_first(db: Database, run: Run) -> None:
    """The first error names only the account, so an operator can act at once. The second error names the
    request.
    """
    plan_each(db, "batch", "poison-1")
    with pytest.raises(CredentialsRefused):
        await run("batch")
    assert limits(db) == {1}
    assert "Refused alone: poison-1." in str(await run("batch"))


async def test_a_refused_batch_is_split_by_ten_while_the_others_are_sent(db: Database, run: Run) -> None:
    """A refused batch is split into ten smaller batches, and other batches are sent meanwhile. Finally only
    the bad request remains.
    """
    plan_each(db, "besitos", *(f"u{n}" for n in range(50)), "poison-1", *(f"v{n}" for n in range(49)))
    for planned, limit in ((20, 2), (2, 1), (1, 1), (1, 1)):
        text = await run("besitos", users_per_call=20)
        assert text and f"besitos: the vendor refused {planned} submission" in text
        assert list(states(db).values()).count("planned") == planned and limits(db) == {limit}
    assert "Refused alone: poison-1." in text
    assert states(db)["poison-1"] == "planned"


async def test_three_refusals_in_a_row_stop_the_account_only_once(db: Database, run: Run) -> None:
    """After three refusals in a row, the account stops and the refused requests become suspects. Refusals
    of suspects do not stop the account again.
    """
    plan_each(db, "batch", *(f"poison-{n}" for n in range(4)), *(f"u{n}" for n in range(5)))
    text = await run("batch")
    assert text and "poison-0, poison-1, poison-2" in text
    assert list(states(db).values()).count("planned") == 9
    text = await run("batch")
    assert text and "4 submissions" in text and "but it took others" in text
    assert {name for name, state in states(db).items() if state == "planned"} == {
        f"poison-{n}" for n in range(4)
    }


@pytest.mark.parametrize("suspects", [MAX_SUSPECTS_IN_A_ROW - 1, 2 * MAX_SUSPECTS_IN_A_ROW])
async def test_many_suspects_do_not_stop_the_others(
    db: Database, sandbox: Sandbox, run: Run, suspects: int
) -> None:
    """If there are too many suspects, some of them wait for the next attempt."""
    plan_each(db, "batch", *(f"poison-{n}" for n in range(suspects)), *(f"u{n}" for n in range(5)))
    put_into(db, [row["id"] for row in rows(db)][:suspects], {"batch_limit": 1})
    text = await run("batch")
    assert text and "but it took others" in text
    assert list(states(db).values()).count("submitted") == 5
    assert sandbox.calls()["batch"]["create"] == 5 + min(suspects, MAX_SUSPECTS_IN_A_ROW)
    assert {row["attempts"] for row in rows(db) if row["state"] == "planned"} == {0}


@pytest.mark.parametrize("suspects", [0, 30])
async def test_wrong_credentials_are_reported_as_the_account_is_the_cause(
    db: Database, sandbox: Sandbox, run: Run, suspects: int
) -> None:
    """Wrong credentials are reported even if each call contains one suspect. The batches do not get
    smaller.
    """
    plan_each(db, "batch", *(f"u{n}" for n in range(30)))
    put_into(db, [row["id"] for row in rows(db)][:suspects], {"batch_limit": 1})
    with pytest.raises(CredentialsRefused, match="Password of connection batch_default"):
        await run("batch", secret="no")
    assert sandbox.calls()["batch"]["create"] == (MAX_SUSPECTS_IN_A_ROW if suspects else 3)
    assert limits(db) == ({1} if suspects else {None})
    assert {row["attempts"] for row in rows(db)} == {0}


async def test_credentials_that_expire_before_the_last_calls_are_reported_next_time(
    db: Database, run: Run
) -> None:
    """The first run assumes that the requests cause the refusals. The next run reports that the credentials
    are refused.
    """
    plan_each(db, "batch", "u1", "poison-1", "poison-2")
    assert "took others" in str(await run("batch"))
    with pytest.raises(CredentialsRefused, match="Password of connection batch_default"):
        await run("batch", secret="no")
