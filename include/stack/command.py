"""`bin/airflow …` runs one Airflow command in the stack's environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

from include.stack import metadata, postgres
from include.stack.environment import environment, needs_postgres
from include.stack.home import Home

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def run(home: Home, environ: Mapping[str, str], arguments: list[str]) -> int:
    """Runs the command. Returns its exit status, or the negative signal number if a signal ended it.

    The command uses the embedded PostgreSQL of a running stack, or starts one until the command ends.
    """
    wanted = needs_postgres(environ) and _needs_database(arguments)
    with postgres.running(home) if wanted else nullcontext():
        variables = environment(home, environ)
        if wanted and arguments[0] != "db":
            metadata.migrate(home, environ, variables)
        return _child([sys.executable, "-m", "airflow", *arguments], variables)


def _needs_database(arguments: list[str]) -> bool:
    return bool(arguments) and arguments[0] != "version" and not {"-h", "--help"} & set(arguments)


def _child(command: list[str], variables: Mapping[str, str]) -> int:
    waiting: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        # The terminal sends Ctrl-C to the whole process group, so the command has it already.
        # The command must be in our group; otherwise it could not read from the terminal.
        if number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground():
            return
        for pid in waiting:
            os.kill(pid, number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        with subprocess.Popen(command, env=variables) as child:
            waiting.append(child.pid)
            status = child.wait()
            waiting.clear()
            return status
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    try:
        with Path("/dev/tty").open() as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
