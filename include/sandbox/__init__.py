"""Simulates the vendors' APIs over HTTP from their documentation, for the tests and the demo.

The sandbox simulates the outside world, so it shares no code with the client that it tests.
"""

from include.sandbox.decision import Decision
from include.sandbox.faults import Fault
from include.sandbox.jobs import Job, Subject
from include.sandbox.registry import VENDORS, decide
from include.sandbox.settings import SandboxSettings
from include.sandbox.thread import Sandbox, run_in_thread
from include.sandbox.vendor import SandboxVendor

__all__ = [
    "VENDORS",
    "Decision",
    "Fault",
    "Job",
    "Sandbox",
    "SandboxSettings",
    "SandboxVendor",
    "Subject",
    "decide",
    "run_in_thread",
]
