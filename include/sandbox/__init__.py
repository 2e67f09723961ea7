"""The four vendors' APIs over HTTP, simulated from what they document: for tests and the demo.

It stands for the outside world, so it shares no code with the client that it meets.
"""

from include.sandbox.book import Entry, Subject
from include.sandbox.decision import Decision, decide
from include.sandbox.faults import Fault
from include.sandbox.settings import SandboxSettings
from include.sandbox.thread import Sandbox, run_in_thread

__all__ = ["Decision", "Entry", "Fault", "Sandbox", "SandboxSettings", "Subject", "decide", "run_in_thread"]
