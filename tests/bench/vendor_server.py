"""A minimal server for all vendors. It counts calls, checks nothing and always succeeds.

It must not slow down the measured code. Therefore it is an `asyncio.Protocol` on uvloop that sends prepared
bytes and delays replies without tasks. It reports its processor usage and the delays of its replies.

    python -m tests.bench.vendor_server '{"latency": 0.05, "job_seconds": 0.5, "record_bytes": 500}'

prints its URL.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

import uvloop

HEAD = "HTTP/1.1 {} OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


def reply(body: bytes, status: int = 200) -> bytes:
    return HEAD.format(status, len(body)).encode() + body


def as_json(value: object) -> bytes:
    return reply(json.dumps(value).encode())


NOT_FOUND = reply(b'{"error": "not found"}', 404)
BATCH_PENDING = {"review": as_json({"request_type": "review", "status": "pending"}),
                 "remove": as_json({"request_type": "remove", "status": "pending"})}  # fmt: skip
BATCH_REMOVED = as_json({"request_type": "remove", "status": "done"})
ID5_STARTED = as_json({"jobStatus": "STARTED", "processingResult": "NONE"})
ID5_DONE = as_json({"jobStatus": "DONE", "processingResult": "DELETE_DELETED"})
ATTENTIVE_RUNNING = as_json({"processed": False})
ATTENTIVE_DONE = as_json({"processed": True})


@dataclass
class Vendors:
    """The jobs of all vendors. A job has an id, an action, users and an end time."""

    latency: float = 0.0
    job_seconds: float = 0.0
    record_bytes: int = 500
    address: str = ""
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._ids = map("{:08x}-0000-4000-8000-000000000000".format, count(1))
        self._jobs: dict[str, tuple[str, list[str], float]] = {}
        self._replies: dict[str, bytes] = {}
        self._asked: defaultdict[str, list[float]] = defaultdict(list)  # times of the polls, by job
        self._record = "x" * self.record_bytes
        self._archive = reply(archive(self.record_bytes))
        self._late = self._replied = 0.0
        self.reset()

    def reset(self) -> None:
        self.calls.clear()
        self._jobs.clear()
        self._replies.clear()
        self._asked.clear()
        self._began, self._used = time.monotonic(), time.process_time()
        self._late = self._replied = 0.0

    def asked(self, what: str) -> dict[str, Any]:
        """Reply to the benchmark: `counted` returns counts, `jobs` end and poll times. `reset` clears all."""
        if what == "reset":
            self.reset()
        if what == "jobs":
            ahead = time.time() - time.monotonic()
            return {
                job: {"ends": ends_at + ahead, "asked": [at + ahead for at in self._asked[job]]}
                for job, (_, _, ends_at) in self._jobs.items()
            }
        return {
            "calls": dict(self.calls),
            "busy": (time.process_time() - self._used) / (time.monotonic() - self._began),
            "late_ms": 1000 * self._late / max(self._replied, 1),
        }

    def replied(self, late: float) -> None:
        self._late += late
        self._replied += 1

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        parts = path.partition("?")[0].split("/")
        match method, parts[1:]:
            case "POST", ["data", "partner", verb, _, "users"]:
                job = self._take("besitos create", verb, json.loads(body)["user_ids"])
                return as_json({"success": True, "request_id": job, "status": "pending"})
            case "GET", ["data", "partner", "gdpr", _, job]:
                return self._besitos(job)
            case "POST", ["1.0", _, "gdpr", "request"]:
                return as_json({"token": self._take("batch create", json.loads(body)["request_type"], [])})
            case "GET", ["1.0", _, "gdpr", "request", job]:
                return self._batch(job)
            case "GET", ["download", _]:
                self.calls["batch download"] += 1
                return self._archive
            case "POST", ["partners", "v1", _, "privacy", "requests", "deletion"]:
                return as_json({"id": self._take("id5 create", "delete", [])})
            case "GET", ["partners", "v1", _, "privacy", "requests", job]:
                return ID5_DONE if self._ended("id5 status", job) else ID5_STARTED
            case "POST", ["v1", "privacy", "delete-request"]:
                return as_json({"id": self._take("attentive create", "delete", [])})
            case "GET", ["v1", "privacy", "delete-request", job]:
                return ATTENTIVE_DONE if self._ended("attentive status", job) else ATTENTIVE_RUNNING
        return NOT_FOUND

    def _take(self, call: str, action: str, users: list[str]) -> str:
        self.calls[call] += 1
        job = next(self._ids)
        self._jobs[job] = (action, users, time.monotonic() + self.job_seconds)
        return job

    def _ended(self, call: str, job: str) -> bool:
        """Returns whether the job has ended. An unknown job never ends."""
        self.calls[call] += 1
        self._asked[job].append(now := time.monotonic())
        return job in self._jobs and self._jobs[job][2] <= now

    def _batch(self, job: str) -> bytes:
        action = self._jobs[job][0]
        if not self._ended("batch status", job):
            return BATCH_PENDING[action]
        if action == "remove":
            return BATCH_REMOVED
        url = f"{self.address}/download/{job}"
        return as_json({"request_type": "review", "status": "done", "data_url": url})

    def _besitos(self, job: str) -> bytes:
        ended = self._ended("besitos status", job)
        if not ended:
            return as_json({"success": True, "request": {"status": "pending"}, "data": None})
        if job not in self._replies:
            self._replies[job] = as_json(self._besitos_ended(*self._jobs[job][:2]))
        return self._replies[job]

    def _besitos_ended(self, verb: str, users: list[str]) -> dict[str, Any]:
        if verb == "export":
            data: Any = [{"partner_user_id": user, "record": self._record} for user in users]
        else:
            summary = {"success": True, "found_partner_user_ids": users, "not_found_partner_user_ids": []}
            data = {"summary": summary, "verification": {"deletion_completed": True}}
        return {"success": True, "request": {"status": "completed"}, "data": {"data": data}}


def archive(size: int) -> bytes:
    """Returns a zip like a Batch download, with a CSV of about `size` bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("events.csv", "date,name\r\n" + "2026-01-03,cart_add\r\n" * (size // 21))
    return buffer.getvalue()


class Connection(asyncio.Protocol):
    """One keep-alive connection. A request may arrive in several pieces."""

    def __init__(self, vendors: Vendors, loop: asyncio.AbstractEventLoop) -> None:
        self._vendors, self._loop = vendors, loop
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class is not a subclass

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for method, path, body in self._requests():
            if path.startswith("/_bench/"):
                self._transport.write(as_json(self._vendors.asked(path.rpartition("/")[2])))
                continue
            answer = self._vendors.answer(method, path, body)
            due = self._loop.time() + self._vendors.latency
            self._loop.call_at(due, self._send, answer, due)

    def _requests(self) -> Iterator[tuple[str, str, bytes]]:
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].decode("latin-1")
            length = head.lower().partition("content-length:")[2].partition("\r\n")[0]
            total = end + 4 + int(length or 0)
            if len(self._buffer) < total:
                return
            body, self._buffer = self._buffer[end + 4 : total], self._buffer[total:]
            method, path, _ = head.split(" ", 2)
            yield method, path, body

    def _send(self, answer: bytes, due: float) -> None:
        self._vendors.replied(self._loop.time() - due)
        if not self._transport.is_closing():
            self._transport.write(answer)


async def serve(vendors: Vendors) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(vendors, loop), "127.0.0.1", 0)
    vendors.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(vendors.address, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(Vendors(**json.loads(sys.argv[1]))))
