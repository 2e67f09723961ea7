"""Removes collected files that are no longer needed. A killed `collect` may leave such files."""

from __future__ import annotations

from collections import defaultdict

from include.dsar.delivery.deliver import COLLECTED
from include.dsar.delivery.storage import Storage
from include.dsar.ledger.collected_files import collected_of
from include.dsar.ledger.database import Database

REQUESTS_PER_STATEMENT = 1000


def remove_leftovers(db: Database, storage: Storage) -> int:
    """Removes the collected files of closed requests, and files that the ledger does not name. Returns the
    number of removed files.

    Keeps the files of a request while one of its results is ready, because a worker may be writing the file
    of this result. Also keeps the files of requests that the ledger does not have.
    """
    # The files are listed before the ledger is read. So the ledger already names each of these files, or no
    # worker will name it any more.
    found: dict[str, list[str]] = defaultdict(list)
    for path in storage.files(COLLECTED):
        found[path.split("/")[1]].append(path)
    removed = 0
    names = list(found)
    for start in range(0, len(names), REQUESTS_PER_STATEMENT):
        for request_id, known in collected_of(db, names[start : start + REQUESTS_PER_STATEMENT]).items():
            paths = found[request_id]
            if not known.is_open:
                storage.remove_tree(f"{COLLECTED}/{request_id}")
                removed += len(paths)
            elif not known.is_collecting:
                unnamed = [path for path in paths if path not in known.paths]
                removed += sum(map(storage.remove, unnamed))
    return removed
