"""Measures wall time, processor time and memory of one run in a new process.

The project and its baseline import their modules before the clock starts. Processor time includes all
threads and child processes of the run. It does not include PostgreSQL and the vendor server.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc/self")


@dataclass(frozen=True)
class Measured:
    """The measurements of one run: three times in seconds, memory in MB, and the result.

    `system` is a part of `processor`.
    """

    wall: float
    processor: float
    system: float
    memory: float
    result: Any = None


def measure(function: Callable[..., Any], *args: Any) -> Measured:
    """Run the function in a new interpreter, so that no run inherits the memory of another run."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as child:
        return child.submit(_measured, function, args).result()


def _measured(function: Callable[..., Any], args: tuple[Any, ...]) -> Measured:
    gc.collect()
    _reset_peak_memory()
    began, (user, system) = time.perf_counter(), _processor()
    result = function(*args)
    wall, (user_after, system_after) = time.perf_counter() - began, _processor()
    system = system_after - system
    return Measured(wall, user_after - user + system, system, _peak_memory(), result)


def _reset_peak_memory() -> None:
    """Reset the peak memory, so that it does not include the imports."""
    if PROC.exists():
        (PROC / "clear_refs").write_text("5")


def _peak_memory() -> float:
    """Returns the peak memory of this process in MB.

    On Linux, `ru_maxrss` is not used because it includes the peak of the parent process.
    """
    status = PROC / "status"
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024  # macOS reports bytes


def _processor() -> tuple[float, float]:
    """Returns the user time and the system time, in seconds."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime for usage in usages), sum(usage.ru_stime for usage in usages)
