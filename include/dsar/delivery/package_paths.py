"""The paths of files inside the package, for the package and for the receipt."""

from __future__ import annotations

import re
from dataclasses import dataclass

from include.dsar.model import AccountRecord, Action, CollectedFile, RequestRecord, SubmissionRecord

MAX_NAME = 100  # characters. Windows allows 260 for the path, with the folder where the zip is unpacked
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)  # by Windows


@dataclass(frozen=True)
class PackagedFile:
    """A vendor's answer and its place in the package."""

    path: str
    account: AccountRecord
    submission: SubmissionRecord
    file: CollectedFile


def packaged_files(request: RequestRecord) -> tuple[PackagedFile, ...]:
    """Returns the files `data/<account>/<name>` of a request, in the order of its record. An erasure has no
    files.

    All paths differ, even on a file system that ignores case.
    """
    if request.action is not Action.ACCESS:
        return ()
    taken: set[str] = set()
    return tuple(
        PackagedFile(_free(f"data/{account.account}", submission.file.name, taken), account, submission,
                     submission.file)
        for account in request.accounts
        for submission in account.submissions
        if submission.file is not None
    )  # fmt: skip


def table_path(account: str, table: str, taken: set[str]) -> str:
    """Returns the path `tables/<account>_<table>.csv`. `taken` is the set of paths that the package already
    uses.
    """
    name = re.sub(r"[^a-z0-9]+", "_", table.lower()).strip("_")[:MAX_NAME] or "table"
    return _free("tables", f"{account}_{name}.csv", taken)


def _free(folder: str, name: str, taken: set[str]) -> str:
    stem, dot, suffix = _plain(name).rpartition(".")
    if not stem:
        stem, dot, suffix = suffix, "", ""
    path = f"{folder}/{stem}{dot}{suffix}"
    count = 1
    while path.casefold() in taken:
        count += 1
        path = f"{folder}/{stem}_{count}{dot}{suffix}"
    taken.add(path.casefold())
    return path


def _plain(name: str) -> str:
    """Returns the name without characters that are special in a file system, a shell or a web address."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-").rstrip(".")
    if len(plain) > MAX_NAME:
        stem, _, suffix = plain.rpartition(".")
        plain = f"{stem[: MAX_NAME - 10]}.{suffix[:9]}" if stem else plain[:MAX_NAME]
    return f"_{plain}" if _RESERVED.match(plain) else plain or "file"
