"""OpenDSR passes through every stage, with signed replies, ids that we choose, and results of any file
type.
"""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from include.dsar.accounts import Account
from include.dsar.delivery.storage import Storage
from include.dsar.errors import CredentialsRefused, ProtocolError, Refused
from include.dsar.intake.source import Source
from include.dsar.ledger.database import Database
from include.dsar.ledger.transitions import Move, move
from include.dsar.model import Action, State
from include.dsar.sending.consequences import OTHER_JOB
from include.dsar.sending.reconcile import FOUND_JOB, NO_JOB
from include.dsar.stages.package import Package
from include.sandbox import Sandbox
from tests.integration.conftest import OpenWork
from tests.integration.requests_given import rows, states
from tests.integration.stage_runs import Stages, plan_each, reasons, sent

OPENDSR = "opendsr"


@pytest.fixture
def accounts() -> dict[str, Account]:
    return {OPENDSR: Account(OPENDSR, vendor=OPENDSR)}


async def test_access_and_erasure_end_in_packages_and_receipts(
    db: Database, source_table: Source, storage: Storage, stages: Stages
) -> None:
    """The package of an access request contains its result. A cancelled job has failed."""
    plan_each(db, OPENDSR, "ann@example.com", "unknown@example.com", action=Action.ACCESS)
    plan_each(db, OPENDSR, "bob@example.com", "jobfails@example.com")
    await stages.submit(OPENDSR)
    await stages.poll(OPENDSR)
    await stages.collect(OPENDSR)
    assert states(db) == {
        "ann@example.com": "completed",
        "unknown@example.com": "no_data",
        "bob@example.com": "completed",
        "jobfails@example.com": "failed",
    }
    Package(db, source_table, storage).run()
    with storage.open("requests/ann@example.com/package.zip") as stream:
        archive = zipfile.ZipFile(io.BytesIO(stream.read()))
    (name,) = [name for name in archive.namelist() if name.startswith("data/opendsr/")]
    assert name.endswith(".json")
    assert json.loads(archive.read(name)) == {"email": "ann@example.com", "nickname": "Zoë ☂"}
    with storage.open("requests/bob@example.com/receipt.json") as stream:
        (account,) = json.load(stream)["accounts"]
    assert (account["vendor"], account["outcome"]) == (OPENDSR, "completed")


async def test_a_lost_reply_is_reconciled_by_asking_for_the_id(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The id of the lost call is asked for. If the vendor accepted the call, the job is found at once.
    Otherwise the call is sent again.
    """
    plan_each(db, OPENDSR, "taken@example.com", "lost@example.com")
    sandbox.inject("reset_after", vendor=OPENDSR, route="create")
    sandbox.inject("reset_before", vendor=OPENDSR, route="create")
    await stages.submit(OPENDSR, max_concurrency=1)
    assert states(db) == {"taken@example.com": "submitted", "lost@example.com": "uncertain"}
    stages.advance(minutes=2)
    await stages.submit(OPENDSR)
    assert set(states(db).values()) == {"submitted"}
    assert sent(sandbox) == ["taken@example.com", "lost@example.com"]
    assert {FOUND_JOB, NO_JOB} <= {reason for _, _, reason in reasons(db)}


async def test_a_repeated_call_finds_the_job_of_the_first(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The processor answers that the id exists. This answer is not a refusal, because the job can be found
    by its id.
    """
    plan_each(db, OPENDSR, "ann@example.com")
    sandbox.inject("reset_after", vendor=OPENDSR, route="create")
    sandbox.inject("status", vendor=OPENDSR, route="status", status=404)  # the job is not visible yet
    await stages.submit(OPENDSR)
    assert states(db) == {"ann@example.com": "uncertain"}
    sandbox.inject("status", vendor=OPENDSR, route="status", status=404)
    stages.advance(minutes=2)
    await stages.submit(OPENDSR)
    assert states(db) == {"ann@example.com": "submitted"}
    assert len(sandbox.jobs()) == 1


async def test_a_failed_job_that_is_sent_again_has_a_new_id(db: Database, stages: Stages) -> None:
    """A failed job is sent again with a new id, because the old id would only lead to the failed job."""
    plan_each(db, OPENDSR, "jobfails@example.com")
    await stages.submit(OPENDSR)
    await stages.poll(OPENDSR)
    first = rows(db)[0]["job_id"]
    assert set(states(db).values()) == {"failed"}
    move(db, [Move(rows(db)[0]["id"], State.PLANNED, "retried")], leave=State.FAILED, now=stages.clock())
    await stages.submit(OPENDSR)
    second = rows(db)[0]["job_id"]
    assert states(db) == {"jobfails@example.com": "submitted"}
    assert first != second


async def test_a_wrong_signature_is_never_believed(db: Database, stages: Stages) -> None:
    """The job stays open, although the reply with the wrong signature says that it is completed."""
    plan_each(db, OPENDSR, "forged@example.com", "ann@example.com")
    await stages.submit(OPENDSR)
    polled = await stages.poll(OPENDSR, seconds=2)
    assert polled.failed_polls > 0
    assert states(db) == {"forged@example.com": "submitted", "ann@example.com": "completed"}


async def test_a_wrong_secret_is_red_at_once(db: Database, stages: Stages) -> None:
    """A wrong Password fails submit at once. The discovery is public, so its success does not prove that
    the credentials are right.
    """
    plan_each(db, OPENDSR, "ann@example.com", "bob@example.com")
    for _ in range(2):
        with pytest.raises(CredentialsRefused, match="HTTP 401"):
            await stages.submit(OPENDSR, secret="wrong")
        assert set(states(db).values()) == {"planned"}
        assert {row["batch_limit"] for row in rows(db)} == {None}


async def test_a_pending_job_can_be_cancelled(
    db: Database, sandbox: Sandbox, stages: Stages, open_work: OpenWork
) -> None:
    """The reply to the DELETE must be signed. A later status says that the job is cancelled."""
    plan_each(db, OPENDSR, "slow@example.com")
    await stages.submit(OPENDSR)
    async with open_work(OPENDSR) as work:
        cancel = work.vendor.cancel(work.settings, rows(db)[0]["job_id"])
        sandbox.inject("status", vendor=OPENDSR, route="cancel", status=202, body="{}")
        with pytest.raises(ProtocolError, match="no signature"):
            await work.client.send(cancel)
        work.vendor.read_cancelled(await work.client.send(cancel))
        late = await work.client.send(cancel)
        with pytest.raises(Refused, match="HTTP 400"):
            work.vendor.read_cancelled(late)
    await stages.poll(OPENDSR)
    assert [(row["state"], row["reason"]) for row in rows(db)] == [("failed", "the job was cancelled")]


async def test_a_409_about_a_job_of_another_id_is_retried_later(
    db: Database, sandbox: Sandbox, stages: Stages
) -> None:
    """The job belongs to another id, so the call is repeated later. The processor has no list of jobs, so
    the reason must not mention a list.
    """
    await stages.others_job(OPENDSR, "slow@example.com")
    plan_each(db, OPENDSR, "slow@example.com")
    for state in ("uncertain", "planned"):
        await stages.submit(OPENDSR)
        assert states(db) == {"slow@example.com": state}
        stages.clock.advance(minutes=2)
    (reason,) = [reason for *_, reason in reasons(db)][-1:]
    assert reason == OTHER_JOB.format(error="HTTP 409")
    assert "list" not in reason
    assert len(sandbox.jobs()) == 1
