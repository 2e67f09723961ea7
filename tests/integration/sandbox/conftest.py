"""A sandbox with the default durations. A job is pending until the test advances the clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.sandbox import Sandbox, run_in_thread


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with run_in_thread() as running:
        yield running
