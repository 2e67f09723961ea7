"""Calls that are refused as if for our credentials: the account's trouble, or one request's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from include.dsar.accounts import AccountSettings
from include.dsar.errors import CredentialsRefused, RequestsRefused
from include.dsar.http.messages import HttpRequest
from include.dsar.ledger.database import Database
from include.dsar.model import Action, Subject
from include.dsar.sending import refused_calls
from include.dsar.stages import submit as submit_module
from include.dsar.stages.submit import submit
from include.dsar.vendors.batch import Batch
from include.dsar.vendors.besitos import Besitos
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork
from tests.integration.requests_given import (
    NOW,
    Clock,
    events,
    plan,
    put_into,
    request,
    rows,
    states,
    submission,
)

pytestmark = pytest.mark.asyncio

POISON = "poison"


def walled(call: HttpRequest, subjects: Sequence[Subject]) -> HttpRequest:
    """What a firewall before the vendor's API does to a call that it takes for an attack."""
    if any(POISON in value for subject in subjects for value in subject.identifiers.values()):
        return replace(call, headers={**call.headers, "Authorization": "no", "X-Authorization": "no"})
    return call


class WalledBesitos(Besitos):
    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        return walled(super().create(settings, action, subjects), subjects)


class WalledBatch(Batch):
    def create(self, settings: AccountSettings, action: Action, subjects: Sequence[Subject]) -> HttpRequest:
        return walled(super().create(settings, action, subjects), subjects)


WALLED = {"besitos": WalledBesitos(), "batch": WalledBatch()}
Run = Callable[..., Awaitable[str | None]]


@pytest.fixture
def run(open_work: OpenWork, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A submit stage behind the firewall, and what it says about refused requests."""
    monkeypatch.setattr(submit_module, "MAX_WAIT", timedelta(0))

    async def run_one(account: str, walled: bool = True, **extra: Any) -> str | None:
        async with open_work(account, max_concurrency=1, **extra) as work:
            vendor = WALLED[account] if walled else work.vendor
            try:
                await submit(replace(work, vendor=vendor, clock=Clock()))
            except RequestsRefused as error:
                return str(error)
        return None

    return run_one


def given(db: Database, account: str, *names: str) -> None:
    """A request for each name, due in this order; who is called poison is refused."""
    plan(
        db,
        *(
            request(f"r-{name}", submission(name, account), due_at=NOW + timedelta(days=9, hours=n))
            for n, name in enumerate(names)
        ),
    )


def limits(db: Database) -> set[int | None]:
    return {row["batch_limit"] for row in rows(db) if row["state"] == "planned"}


async def test_the_only_call_of_an_account(db: Database, sandbox: Sandbox, run: Run) -> None:
    """Where nobody else is answered, the vendor is asked whether it takes our credentials; each next
    try sends smaller calls. The others get their outcome, and the bad one stays alone and is named."""
    given(db, "besitos", "poison-1", *(f"u{n}" for n in range(4)))
    said = await run("besitos")
    assert said and "the vendor refused 5 submissions (HTTP 401: 5), but it accepts our cred" in said
    assert "alone:" not in said and "Password" not in said
    assert set(states(db).values()) == {"planned"} and limits(db) == {1}
    for _ in range(3):
        said = await run("besitos")
        assert said and "the vendor refused 1 submission (HTTP 401: 1)" in said
        assert said.count("r-") == 1 and "Refused alone: r-poison-1." in said
        assert [name for name, state in states(db).items() if state != "submitted"] == ["r-poison-1"]
    (bad,) = (row for row in rows(db) if row["state"] == "planned")
    assert (bad["attempts"], bad["reason"]) == (0, "HTTP 401, but the vendor accepts our credentials")
    assert events(db) == []
    assert await run("besitos", walled=False) is None
    assert set(states(db).values()) == {"submitted"}
    assert [len(entry.subjects) for entry in sandbox.book()] == [1] * 5


async def test_a_person_alone(db: Database, run: Run) -> None:
    """With nobody else to compare with it may be the account: a person hears of that at once. By the
    next try it is known that the vendor takes our credentials elsewhere, and the request is named."""
    given(db, "batch", "poison-1")
    with pytest.raises(CredentialsRefused):
        await run("batch")
    assert limits(db) == {1}
    assert "Refused alone: r-poison-1." in str(await run("batch"))


async def test_one_call_of_many(db: Database, sandbox: Sandbox, run: Run) -> None:
    """A refused batch is divided by ten, run by run, while the other batches are taken."""
    given(db, "besitos", *(f"u{n}" for n in range(50)), "poison-1", *(f"v{n}" for n in range(49)))
    for planned, limit in ((20, 2), (2, 1), (1, 1), (1, 1)):
        said = await run("besitos", users_per_call=20)
        assert said and f"besitos: the vendor refused {planned} submission" in said
        assert list(states(db).values()).count("planned") == planned and limits(db) == {limit}
    assert "Refused alone: r-poison-1." in said
    assert states(db)["r-poison-1"] == "planned"


async def test_three_in_a_row_that_are_due_soonest(db: Database, run: Run) -> None:
    """They stop the account once; as suspects they stop nobody at the next try."""
    given(db, "batch", *(f"poison-{n}" for n in range(4)), *(f"u{n}" for n in range(5)))
    said = await run("batch")
    assert said and "r-poison-0, r-poison-1, r-poison-2" in said
    assert list(states(db).values()).count("planned") == 9
    said = await run("batch")
    assert said and "4 submissions" in said and "but it took others" in said
    assert {name for name, state in states(db).items() if state == "planned"} == {
        f"r-poison-{n}" for n in range(4)
    }


@pytest.mark.parametrize(
    "poisoned", [refused_calls.MAX_SUSPECTS_IN_A_ROW - 1, 2 * refused_calls.MAX_SUSPECTS_IN_A_ROW]
)
async def test_many_suspects_that_are_due_soonest(
    db: Database, sandbox: Sandbox, run: Run, poisoned: int
) -> None:
    """However many they are, the others are sent; some of them wait for the next try."""
    given(db, "batch", *(f"poison-{n}" for n in range(poisoned)), *(f"u{n}" for n in range(5)))
    put_into(db, [row["id"] for row in rows(db)][:poisoned], {"batch_limit": 1})
    said = await run("batch")
    assert said and "but it took others" in said
    assert list(states(db).values()).count("submitted") == 5
    assert sandbox.calls()["batch"]["create"] == 5 + min(poisoned, refused_calls.MAX_SUSPECTS_IN_A_ROW)
    assert {row["attempts"] for row in rows(db) if row["state"] == "planned"} == {0}


@pytest.mark.parametrize("suspects", [0, 30])
async def test_credentials_that_nobody_takes(db: Database, sandbox: Sandbox, run: Run, suspects: int) -> None:
    """That is the account's trouble, however few go in a call; it is said so, and nothing is marked."""
    given(db, "batch", *(f"u{n}" for n in range(30)))
    put_into(db, [row["id"] for row in rows(db)][:suspects], {"batch_limit": 1})
    with pytest.raises(CredentialsRefused, match="Password of connection batch_default"):
        await run("batch", secret="no")
    assert sandbox.calls()["batch"]["create"] == (refused_calls.MAX_SUSPECTS_IN_A_ROW if suspects else 3)
    assert limits(db) == ({1} if suspects else {None})
    assert {row["attempts"] for row in rows(db)} == {0}


async def test_credentials_that_end_before_the_last_calls(
    db: Database, sandbox: Sandbox, open_work: OpenWork, run: Run
) -> None:
    """What looks like some requests' own trouble is told as the account's by the next try."""
    given(db, "batch", "u1", "poison-1", "poison-2")
    assert "took others" in str(await run("batch"))
    with pytest.raises(CredentialsRefused, match="Password of connection batch_default"):
        await run("batch", secret="no")
