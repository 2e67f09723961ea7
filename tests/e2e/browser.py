"""Runs an installed browser with playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VARIABLE = "DSAR_TEST_BROWSER"
ARGUMENTS = [
    "--no-sandbox",  # needed as root, as in most containers; only local pages are opened
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def executable() -> str:
    """Returns the path of the browser. Raises RuntimeError if no browser is installed."""
    given = os.environ.get(VARIABLE)
    found = shutil.which(given) if given else next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise RuntimeError(
            "the tests of the UI need a browser: install one (Debian, Ubuntu: apt-get install chromium), "
            f"or set {VARIABLE} to the Chromium or Chrome that you have"
        )
    return found


@contextmanager
def running() -> Iterator[Browser]:
    """Run a headless browser. This thread cannot run another asyncio loop until the block ends."""
    path = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()
