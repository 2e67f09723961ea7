"""Starts processes, each with its own session and log, and ends them with all their descendants."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from include.stack.home import PROJECT, StackError

GRACE_SECONDS = 15.0


class Interrupted(BaseException):
    """A signal asked this program to end. It is not an Exception, so that no handler swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises Interrupted at the first SIGINT, SIGTERM or SIGHUP. Later signals do not disturb the cleanup."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(number: int, _: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Running:
    name: str
    command: list[str]
    env: Mapping[str, str]
    popen: subprocess.Popen[bytes]
    log: Path


class Processes:
    """The processes that one stack started. Their ids are in the file `record`.

    If the stack itself is killed, its processes keep running. The next start finds them in `record` and ends
    them with `end_leftovers`.
    """

    def __init__(self, record: Path) -> None:
        self._record = record
        self._running: list[Running] = []

    def start(self, name: str, command: list[str], env: Mapping[str, str], log: Path) -> None:
        """Starts a process in the project's root and in its own session. Its output goes to `log`."""
        log.touch(mode=0o600)
        with log.open("wb") as output:
            popen = subprocess.Popen(
                command,
                env=env,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # The session identifies all descendants at the end, including orphans. It also keeps
                # the terminal's Ctrl-C away, so that the stack can end the process in order.
                start_new_session=True,
            )
        self._running.append(Running(name, command, env, popen, log))
        self._write_record()

    def check(self) -> None:
        """Raises StackError with the end of the log if a process has ended."""
        for each in self._running:
            status = each.popen.poll()
            if status is not None:
                raise StackError(
                    f"{each.name} ended with status {status}. The end of {each.log}:\n{tail(each.log)}"
                )

    def kill(self, name: str, *, for_good: bool = False) -> None:
        """Sends SIGKILL to a process and its descendants, as if its machine had crashed.

        If `for_good` is true, `check` and `restart_ended` ignore the process from now on.
        """
        (one,) = [each for each in self._running if each.name == name]
        for process in _family([one.popen.pid]):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        one.popen.wait()
        if for_good:
            self._running.remove(one)
            self._write_record()

    def restart_ended(self) -> None:
        """Starts every ended process again, with a new log, as a supervisor does."""
        for each in [each for each in self._running if each.popen.poll() is not None]:
            self._running.remove(each)
            log = each.log.with_name(f"{each.name}-{time.time_ns()}.log")
            self.start(each.name, each.command, each.env, log)

    def pid_of(self, title: str) -> int | None:
        """Returns the id of a process with this text in its title or arguments. None if there is none."""
        for process in _family([each.popen.pid for each in self._running]):
            with suppress(psutil.Error):
                if title in " ".join(process.cmdline()):
                    return process.pid
        return None

    def stop(self) -> None:
        """Ends all processes and their descendants: first with SIGTERM, then with SIGKILL."""
        _end([each.popen.pid for each in self._running])
        for each in self._running:
            each.popen.wait()
        self._running.clear()
        self._record.unlink(missing_ok=True)

    def end_leftovers(self) -> None:
        """Ends the processes of an earlier stack that was killed before it could end them."""
        if not self._record.exists():
            return
        _end([leader["pid"] for leader in json.loads(self._record.read_text()) if _is_still(leader)])
        self._record.unlink()

    def _write_record(self) -> None:
        leaders = []
        for each in self._running:
            with suppress(psutil.NoSuchProcess):
                leaders.append(
                    {"pid": each.popen.pid, "created": psutil.Process(each.popen.pid).create_time()}
                )
        self._record.write_text(json.dumps(leaders))


def tail(log: Path, lines: int = 30) -> str:
    with suppress(FileNotFoundError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return ""


def _end(leaders: list[int]) -> None:
    family = _family(leaders)
    # Each leader's group first, so that a leader can end its children in its own order.
    for leader in leaders:
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline and _alive(family | _family(leaders)):
        time.sleep(0.1)
    for process in _alive(family | _family(leaders)):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=5)


def _family(leaders: list[int]) -> set[psutil.Process]:
    """Returns all processes in the leaders' sessions, and their descendants in other sessions."""
    family = set()
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getsid(process.pid) in leaders:
                family |= {process, *process.children(recursive=True)}
    return family


def _alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    alive = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def _is_still(leader: Mapping[str, float]) -> bool:
    """Returns whether this is the recorded session, and not a later session with the same number."""
    try:
        created: float = psutil.Process(int(leader["pid"])).create_time()
    except psutil.NoSuchProcess:
        # The kernel does not reuse the number while the session has members.
        return psutil.boot_time() < leader["created"]
    return abs(created - leader["created"]) < 1
