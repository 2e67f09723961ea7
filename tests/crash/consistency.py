"""Checks the ledger, the source and the storage against the sandbox's jobs after a case."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyrage

from include.dsar.ledger import database
from include.sandbox import Job, decide
from tests.crash.laboratory import World
from tests.crash.scenario import sent

SUBMISSIONS = """
SELECT s.id, r.request_id, r.action, s.account, s.identity_hash, s.state, s.job_id, s.attempts,
       s.identifiers IS NOT NULL AS named,
       (SELECT count(*) FROM dsar.event e
         WHERE e.submission = s.id AND e.enters = 'planned' AND e.reason IS NOT NULL
           AND e.leaves IN ('uncertain', 'submitted', 'failed', 'completed')) AS repeats
  FROM dsar.submission s JOIN dsar.request r ON r.id = s.request ORDER BY s.id
"""
REQUESTS = "SELECT * FROM dsar.request ORDER BY id"
SOURCE = "SELECT * FROM public.dsar_requests ORDER BY request_id"

CLAIMS = {
    "completed": "completed",
    "no_data": "no_data",
    "failed": "failed",
}  # our state: the sandbox's outcome

Outcomes = Counter[tuple[str, str, str, str]]


class Ending:
    """The final state of a case in the ledger, the source, the storage and the vendors' jobs."""

    def __init__(self, world: World) -> None:
        self.world = world
        with database.connect(world.dsn) as db:
            self.submissions = db.execute(SUBMISSIONS).fetchall()
            self.requests = db.execute(REQUESTS).fetchall()
            self.source = {row["request_id"]: row for row in db.execute(SOURCE).fetchall()}
        self.api_jobs = [job for job in world.sandbox.jobs() if job.trigger_type == "api"]
        self.jobs = {(job.vendor, job.job_id): job for job in world.sandbox.jobs()}
        self._sent = sent()

    def values(self, submission: dict[str, Any]) -> frozenset[str]:
        return self._sent[submission["request_id"], submission["account"], submission["identity_hash"]]

    def outcomes(self) -> Outcomes:
        """Returns how often each submission reached each state. A kill must not change these numbers."""
        return Counter(
            (s["request_id"], s["account"], " ".join(sorted(self.values(s))), s["state"])
            for s in self.submissions
        )

    def members(self) -> dict[str, list[str]]:
        """Returns the files of each package, with digits removed from their names. A kill must not change
        the files.
        """
        return {
            package.parent.name: sorted(
                "".join(c for c in name if not c.isdigit()) for name in self._opened(package).namelist()
            )
            for package in self.world.storage.glob(f"bucket/requests/*/{self._package_name}")
        }

    @property
    def _package_name(self) -> str:
        return "package.zip.age" if self.world.key else "package.zip"

    def _opened(self, package: Path) -> zipfile.ZipFile:
        content = package.read_bytes()
        return zipfile.ZipFile(
            io.BytesIO(pyrage.decrypt(content, [self.world.key]) if self.world.key else content)
        )

    def problems(self) -> list[str]:
        """Returns a description of everything that is wrong."""
        if not self.world.finished:
            open_ = [(s["account"], s["state"]) for s in self.submissions if s["named"]]
            return [f"not finished after {len(self.world.runs)} runs: {open_}"]
        return [
            *(
                f"run {n} raised an error that it did not foresee"
                for n, s in enumerate(self.world.statuses)
                if s > 0
            ),
            *self._lost(),
            *self._repeated(),
            *self._claimed(),
            *self._kept(),
            *self._files(),
        ]

    def _lost(self) -> Iterator[str]:
        """Yields requests that are lost, or that have a wrong status in the source."""
        told = {name: row["status"] for name, row in self.source.items()}
        if told.pop("x-1") != "invalid":
            yield "the bad row is not marked"
        if told != {request["request_id"]: request["status"] for request in self.requests}:
            yield f"the source says {told}"
        for request in self.requests:
            row = self.source[request["request_id"]]
            if (row["export_uri"], row["closed_at"]) != (request["export_uri"], request["closed_at"]):
                yield f"the source has another end of {request['request_id']}"
        for key, count in Counter(
            (s["request_id"], s["account"], s["identity_hash"]) for s in self.submissions
        ).items():
            if count > 1:
                yield f"{key[:2]} is planned twice"
        planned = {(s["request_id"], s["account"], s["identity_hash"]) for s in self.submissions}
        if missing := self._sent.keys() - planned:
            yield f"never planned: {[key[:2] for key in missing]}"

    def _repeated(self) -> Iterator[str]:
        """Yields calls that the vendor accepted more often than the events explain."""
        allowed: Counter[tuple[str, str, str]] = Counter()
        for s in self.submissions:
            for value in self.values(s):
                allowed[s["account"], s["action"], value] += 1 + s["repeats"]
        taken = Counter((e.vendor, e.action, value) for e in self.api_jobs for value in e.values)
        for key, count in taken.items():
            if count > allowed[key]:
                yield f"{key} was taken {count} times, explained are {allowed[key]}"
        for s in self.submissions:
            times = max((taken[s["account"], s["action"], value] for value in self.values(s)), default=0)
            if s["state"] in CLAIMS and not times and (s["account"], s["job_id"]) not in self.jobs:
                yield f"{s['request_id']} was never taken by {s['account']}"

    def _claimed(self) -> Iterator[str]:
        """Yields outcomes that the vendor did not report."""
        for s in self.submissions:
            values, where = self.values(s), f"{s['request_id']} at {s['account']}"
            job = self.jobs.get((s["account"], s["job_id"]))
            if s["state"] in CLAIMS:
                if job is None or job.action != s["action"] or not values <= set(job.values):
                    yield f"{where}: job {s['job_id']} is not one for it"
                elif not _gave(job, values, CLAIMS[s["state"]]):
                    yield f"{where}: {s['state']}, but the vendor says {job.outcome}"
            elif s["state"] == "rejected":
                if decide(s["account"], s["action"], sorted(values)).outcome != "refused":
                    yield f"{where}: rejected, but the vendor does not refuse it"
            elif s["state"] != "not_applicable":
                yield f"{where}: ended as {s['state']}"

    def _kept(self) -> Iterator[str]:
        """Yields identifiers that are still in the ledger, and requests that are not closed."""
        if named := [s["id"] for s in self.submissions if s["named"]]:
            yield f"{len(named)} submissions still have identifiers"
        for request in self.requests:
            if request["status"] == "in_progress" or not request["source_updated"]:
                updated = request["source_updated"]
                yield f"{request['request_id']} is {request['status']}, source updated: {updated}"

    def _files(self) -> Iterator[str]:
        """Yields files that are missing, incomplete, or belong to no request."""
        if left := [path.name for path in self.world.temporary.iterdir()]:
            yield f"temporary files are left: {left}"
        root = self.world.storage / "bucket"
        there = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
        wanted = set()
        for request in self.requests:
            name, access = request["request_id"], request["action"] == "access"
            last = self._package_name if access else "receipt.json"
            wanted |= {f"requests/{name}/receipt.json", f"requests/{name}/{last}"}
            if not str(request["export_uri"]).endswith(f"/requests/{name}/{last}"):
                yield f"{name} points at {request['export_uri']}"
        if missing := wanted - there:
            yield f"missing: {sorted(missing)}"
            return
        orphans = [
            path for path in there - wanted if not (path.startswith("register/") and path.endswith(".csv"))
        ]
        if orphans:
            yield f"not of a request: {sorted(orphans)}"
        if left := [str(path.relative_to(root)) for path in root.glob("work/*")]:
            yield f"left below work: {left}"
        for request in self.requests:
            yield from self._package(root / "requests" / request["request_id"], request)

    def _package(self, folder: Path, request: dict[str, Any]) -> Iterator[str]:
        receipt = json.loads((folder / "receipt.json").read_bytes())
        if receipt["status"] != request["status"] or receipt["request_id"] != folder.name:
            yield f"{folder.name}: its receipt says {receipt['status']}"
        told = defaultdict(list)
        for account in receipt["accounts"]:
            for submission in account["submissions"]:
                told[account["account"]].append((submission["outcome"], submission["job_id"]))
        known = defaultdict(list)
        for s in self.submissions:
            if s["request_id"] == folder.name and s["state"] != "not_applicable":
                known[s["account"]].append((s["state"], s["job_id"]))
        if told != known:
            yield f"{folder.name}: its receipt says {dict(told)}, the ledger {dict(known)}"
        files = [file for account in receipt["accounts"] for file in account["files"]]
        if request["action"] == "access":
            with self._opened(folder / self._package_name) as package:
                for file in files:
                    if sha256(package.read(file["path"])).hexdigest() != file["sha256"]:
                        yield f"{folder.name}: {file['path']} is not what the receipt says"


def _gave(job: Job, values: frozenset[str], outcome: str) -> bool:
    return any(
        subject.outcome == outcome or (outcome == "failed" and job.outcome == "failed")
        for subject in job.subjects
        if subject.value in values
    )
