"""`python -m include.stack …` is tested: its output, its exit status, and the processes that it leaves."""

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
from tests.e2e.conftest import own_environment

START_SECONDS, END_SECONDS = 300.0, 120.0


def stack(command: str, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a stack command that ends without a signal."""
    call = [sys.executable, "-m", "include.stack", command]
    return subprocess.run(
        call, env=given, cwd=PROJECT, capture_output=True, text=True, timeout=END_SECONDS, check=False
    )


@pytest.mark.parametrize("name", ["AIRFLOW_CONN_DSAR_DB", "AIRFLOW_CONN_ID5_DEFAULT"])
def test_the_demo_refuses_a_users_connection(tmp_path: Path, name: str) -> None:
    """The demo names the variable of the user's connection, exits with 1 and starts nothing."""
    done = stack(
        "demo", own_environment(DSAR_HOME=str(tmp_path), **{name: "postgresql://u:zq7x-pw@db.example/real"})
    )
    assert done.returncode == 1
    assert f"{name} is set. Unset it for the demo" in done.stderr
    assert "zq7x-pw" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class Up:
    """A running `make up` that is ready and uses a ledger of the user, and its output so far."""

    home: Path
    given: dict[str, str]
    process: subprocess.Popen[str]
    output: str

    def leaders(self) -> set[int]:
        """Returns the session ids of the started components and of PostgreSQL."""
        parts = {each["pid"] for each in json.loads((self.home / "processes.json").read_text())}
        server = int((self.home / "postgres" / "postmaster.pid").read_text().split()[0])
        return parts | {os.getsid(server)}


def members(sessions: set[int]) -> set[psutil.Process]:
    """Returns the processes of these sessions, and their descendants in other sessions."""
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
        given = own_environment(
            DSAR_HOME=str(home),
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
            output = ""
            for line in process.stdout:
                output += line
                if line == "ready\n":
                    break
            late.cancel()
            yield Up(home, given, process, output)
            process.terminate()


def test_up_starts_no_sandbox_with_a_users_ledger(up: Up) -> None:
    """The output says that no sandbox was started, names the user's connections without their values, and
    has the URL of the UI.
    """
    assert up.output.endswith("ready\n"), up.output
    assert f"http://127.0.0.1:{up.given['AIRFLOW__API__PORT']}\n" in up.output
    assert "the sandbox simulates no vendor" in up.output
    assert "AIRFLOW_CONN_BATCH_DEFAULT, AIRFLOW_CONN_DSAR_DB\n" in up.output
    assert "zq7x-key" not in up.output
    assert len(up.leaders()) == len(COMPONENTS) + 1  # plus PostgreSQL, without a sandbox
    assert [each for each in members(up.leaders()) if "include.sandbox" in each.cmdline()] == []


def test_a_second_stack_in_the_same_directory_is_refused(up: Up) -> None:
    """The second stack exits with 1 and says what to do. The first stack keeps running."""
    done = stack("up", up.given)
    assert done.returncode == 1
    assert "a stack is running in" in done.stderr
    assert up.process.poll() is None


def test_ctrl_c_ends_all_processes(up: Up) -> None:
    """Ctrl-C ends the command by SIGINT. No process of Airflow or PostgreSQL is left."""
    sessions = up.leaders()
    started = members(sessions)
    assert len(started) > len(sessions)
    up.process.send_signal(signal.SIGINT)
    rest, _ = up.process.communicate(timeout=END_SECONDS)
    assert up.process.returncode == -signal.SIGINT
    assert "SIGINT: all processes have ended." in rest
    assert alive(started | members(sessions)) == []
