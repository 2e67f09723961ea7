"""`python -m include.stack …` as a person runs it: what it says, how it exits, and that nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import psutil
import pytest

from include.stack import postgres
from include.stack.home import PROJECT, Home, free_port
from include.stack.stack import COMPONENTS

START_SECONDS, END_SECONDS = 300.0, 120.0


def environ(home: Path, **own: str) -> dict[str, str]:
    """That of a person who has set only `own`."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("AIRFLOW", "_AIRFLOW", "DSAR", "PG"))}
    return {**kept, "DSAR_HOME": str(home), **own}


def stack(command: str, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A command that is to end by itself."""
    call = [sys.executable, "-m", "include.stack", command]
    return subprocess.run(
        call, env=given, cwd=PROJECT, capture_output=True, text=True, timeout=END_SECONDS, check=False
    )


@pytest.mark.parametrize("name", ["AIRFLOW_CONN_DSAR_DB", "AIRFLOW_CONN_ID5_DEFAULT"])
def test_the_demo_refuses_what_may_be_real(tmp_path: Path, name: str) -> None:
    """It says which variable, exits 1, and has started nothing."""
    done = stack("demo", environ(tmp_path, **{name: "postgresql://u:zq7x-pw@db.example/real"}))
    assert done.returncode == 1
    assert f"{name} is set: unset it for the demo" in done.stderr
    assert "zq7x-pw" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class Up:
    """`make up` beside a ledger of one's own, from its start until it is ready."""

    home: Path
    given: dict[str, str]
    process: subprocess.Popen[str]
    said: str

    def leaders(self) -> set[int]:
        """The sessions of what it started, each of which is one part's; and PostgreSQL's."""
        parts = {each["pid"] for each in json.loads((self.home / "processes.json").read_text())}
        server = int((self.home / "postgres" / "postmaster.pid").read_text().split()[0])
        return parts | {os.getsid(server)}


def members(sessions: set[int]) -> set[psutil.Process]:
    """The processes of these sessions, and their descendants in sessions of their own."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) in sessions:
                found |= {process, *process.children(recursive=True)}
    return found


def alive(processes: set[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    ledger, home = Home(tmp_path_factory.mktemp("ledger")), tmp_path_factory.mktemp("home")
    with postgres.running(ledger):
        given = environ(
            home,
            AIRFLOW__API__PORT=str(free_port()),
            AIRFLOW_CONN_DSAR_DB=postgres.url(ledger, "dsar"),
            AIRFLOW_CONN_BATCH_DEFAULT='{"conn_type": "batch", "password": "zq7x-key"}',
        )
        call = [sys.executable, "-m", "include.stack", "up"]
        with subprocess.Popen(
            call, env=given, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        ) as process:  # fmt: skip
            late = Timer(START_SECONDS, process.terminate)
            late.start()
            assert process.stdout
            said = ""
            for line in process.stdout:
                said += line
                if line == "ready\n":
                    break
            late.cancel()
            yield Up(home, given, process, said)
            process.terminate()


def test_up_starts_no_sandbox_beside_a_ledger_of_ones_own(up: Up) -> None:
    """It says so, names what is the user's by name alone, and tells where the UI is."""
    assert up.said.endswith("ready\n"), up.said
    assert f"http://127.0.0.1:{up.given['AIRFLOW__API__PORT']}\n" in up.said
    assert "the sandbox simulates no vendor" in up.said
    assert "AIRFLOW_CONN_BATCH_DEFAULT, AIRFLOW_CONN_DSAR_DB\n" in up.said
    assert "zq7x-key" not in up.said
    assert len(up.leaders()) == len(COMPONENTS) + 1  # PostgreSQL, and no sandbox
    assert [each for each in members(up.leaders()) if "include.sandbox" in each.cmdline()] == []


def test_a_second_one_in_the_same_directory_is_refused(up: Up) -> None:
    """It exits 1 with what to do, and the first goes on."""
    done = stack("up", up.given)
    assert done.returncode == 1
    assert "a stack is running in" in done.stderr
    assert up.process.poll() is None


def test_ctrl_c_leaves_nothing(up: Up) -> None:
    """It exits by the same signal, and no process of it is left: neither Airflow nor PostgreSQL."""
    sessions = up.leaders()
    started = members(sessions)
    assert len(started) > len(sessions)
    up.process.send_signal(signal.SIGINT)
    rest, _ = up.process.communicate(timeout=END_SECONDS)
    assert up.process.returncode == -signal.SIGINT
    assert "SIGINT: all processes have ended." in rest
    assert alive(started | members(sessions)) == []
