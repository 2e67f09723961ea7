"""An append-only file of JSON lines. A job is in the file before the vendor replies, so the job survives a
restart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Journal:
    """The file at ``path``. It is created if it does not exist."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")

    def replay(self) -> Iterator[dict[str, Any]]:
        """Yields every complete line, oldest first. Read all lines before you call ``write``."""
        self._file.seek(0)
        complete = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            complete += len(line)
            yield json.loads(line)
        # A process killed during a write leaves half a line. Remove it, so that the next line starts fresh.
        self._file.truncate(complete)

    def write(self, line: Mapping[str, object]) -> None:
        """Appends ``line`` and flushes it to the operating system, so that the line survives a kill."""
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
