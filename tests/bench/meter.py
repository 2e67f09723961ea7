"""Wall time, processor time and memory of one run, in a process of its own.

What is imported for the run is imported before the clock starts, on both sides of a comparison.
Processor time is that of the process with all its threads and of the processes that it started and
waited for; neither PostgreSQL nor the vendor server is among these.
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
    """One run: seconds, seconds, those of them in the system, megabytes, and what the function returned."""

    wall: float
    processor: float
    system: float
    memory: float
    result: Any = None


def measure(function: Callable[..., Any], *args: Any) -> Measured:
    """Runs the function in a fresh interpreter, so that no run inherits another's memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as child:
        return child.submit(_measured, function, args).result()


def _measured(function: Callable[..., Any], args: tuple[Any, ...]) -> Measured:
    gc.collect()
    _forget_most_memory()
    began, (user, system) = time.perf_counter(), _processor()
    result = function(*args)
    wall, (user_after, system_after) = time.perf_counter() - began, _processor()
    system = system_after - system
    return Measured(wall, user_after - user + system, system, _most_memory(), result)


def _forget_most_memory() -> None:
    """What the imports needed for a moment says nothing of the run."""
    if PROC.exists():
        (PROC / "clear_refs").write_text("5")


def _most_memory() -> float:
    """The most megabytes that this process had. Linux counts its parent's into `ru_maxrss`, so that a case
    which follows a large one would find no difference between its own."""
    status = PROC / "status"
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024  # macOS: bytes


def _processor() -> tuple[float, float]:
    """User and system time."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime for usage in usages), sum(usage.ru_stime for usage in usages)
