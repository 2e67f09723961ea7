"""The sandbox has its own routes, a rate limit and a state file."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from include.sandbox import Sandbox, SandboxSettings, run_in_thread
from tests.integration.sandbox.calls import BEARER, batch_body, batch_create, batch_get, call

ROOT = Path(__file__).parents[3]


async def test_jobs_and_calls(sandbox: Sandbox) -> None:
    """``jobs`` lists accepted calls only. ``calls`` counts all calls."""
    body = {"user_ids": ["ada", "unknown-1"]}
    await call(sandbox.url, "POST", "/data/partner/export/CwI606dZ/users", body, headers=BEARER)
    await batch_create(sandbox.url, b"{")
    job = (await call(sandbox.url, "GET", "/_sandbox/jobs")).json()[0]
    assert (job["vendor"], job["account"], job["action"]) == ("besitos", "CwI606dZ", "access")
    assert [(s["kind"], s["value"], s["outcome"]) for s in job["subjects"]] == [
        ("user_id", "ada", "completed"),
        ("user_id", "unknown-1", "no_data"),
    ]
    assert job["job_id"] == sandbox.jobs()[0].job_id and job["seconds"] > 0
    counts = {"besitos": {"create": 1}, "batch": {"create": 1}}
    assert (await call(sandbox.url, "GET", "/_sandbox/calls")).json() == counts == sandbox.calls()


async def test_calls_over_the_rate_limit_get_429() -> None:
    """The rate limit applies per second and route."""
    with run_in_thread(SandboxSettings(rate_limit=2)) as sandbox:
        statuses = [(await call(sandbox.url, "GET", "/v1/me", headers=BEARER)).status for _ in range(6)]
    assert statuses[:2] == [200, 200] and 429 in statuses


async def test_jobs_and_clock_survive_a_kill(tmp_path: Path) -> None:
    """A new process reads jobs and clock from the state file, even if the last line of the file is
    incomplete.
    """
    state = tmp_path / "state" / "jobs.jsonl"
    with process(state) as (first, url):
        token = (await batch_create(url, batch_body("slow-ada"))).json()["token"]
        await call(url, "POST", "/_sandbox/clock", {"advance": 3590})
        first.kill()
    with state.open("a") as journal:
        journal.write('{"vendor": "bat')

    with process(state) as (second, url):
        assert (await batch_get(url, f"request/{token}")).json()["status"] == "pending"
        assert (await batch_create(url, batch_body("slow-ada"))).status == 409
        await call(url, "POST", "/_sandbox/clock", {"advance": 60})
        assert (await batch_get(url, f"request/{token}")).json()["status"] == "done"
        assert (await batch_create(url, batch_body("bob"))).status == 202
        second.send_signal(signal.SIGTERM)
        output, _ = second.communicate(timeout=5)
        assert (second.returncode, output) == (0, "")
    assert len(state.read_text().splitlines()) == 4


@contextmanager
def process(state: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "include.sandbox", "--port", "0", "--state", str(state)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            assert line.startswith("sandbox ready on http://127.0.0.1:")
            yield running, line.split()[-1]
        finally:
            running.kill()
