"""An append-only file of JSON lines: what was taken before a reply was sent is there after a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Journal:
    """The journal at ``path``, which is created if there is none."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")

    def replay(self) -> Iterator[dict[str, Any]]:
        """Every whole line, oldest first; then the journal is ready for more."""
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            yield json.loads(line)
        # A process that is killed while it writes leaves half a line: the next must not be glued to it.
        self._file.truncate(whole)

    def write(self, line: Mapping[str, object]) -> None:
        """Append ``line`` and hand it to the operating system, so that it outlives this process."""
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
