"""A minimal script with the same calls as the project, but without a ledger and without checks.

It reads data subjects from a file, POSTs, polls until each job has ended, and writes the results to files.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

USERS_PER_CALL = 100
PAUSE = 0.1  # seconds between two polls of a job


@dataclass(frozen=True)
class Script:
    vendors: str
    subjects: Path  # JSON: a list of {id, access, email, phone}
    folder: Path
    concurrency: int


def pass_on(script: Script) -> None:
    asyncio.run(_run(script))


async def _run(script: Script) -> None:
    subjects = json.loads(script.subjects.read_text())
    access = [subject for subject in subjects if subject["access"]]
    erasure = [subject for subject in subjects if not subject["access"]]
    await asyncio.gather(
        _besitos(script, access, erasure),
        _batch(script, access, erasure),
        _id5(script, erasure),
        _attentive(script, erasure),
    )


async def _besitos(script: Script, access: list[Any], erasure: list[Any]) -> None:
    posts = [
        (
            f"/data/partner/{verb}/bench/users",
            {"user_ids": [p["id"] for p in subjects[at : at + USERS_PER_CALL]]},
        )
        for verb, subjects in (("export", access), ("delete", erasure))
        for at in range(0, len(subjects), USERS_PER_CALL)
    ]
    async with aiohttp.ClientSession(script.vendors) as session:
        jobs = [reply["request_id"] for reply in await _post_all(session, script, posts)]
        paths = {job: f"/data/partner/gdpr/bench/{job}" for job in jobs}
        await _poll_all(session, script, paths, lambda reply: reply["request"]["status"] == "completed")
        exports = jobs[: -(-len(access) // USERS_PER_CALL)]

        async def collect(job: str) -> None:
            async with session.get(paths[job]) as reply:
                data = (await reply.json())["data"]["data"]
            for record in data:
                target = script.folder / f"besitos_{record['partner_user_id']}.json"
                target.write_text(json.dumps(record))

        await _each(script, exports, collect)


async def _batch(script: Script, access: list[Any], erasure: list[Any]) -> None:
    posts = [
        (
            "/1.0/bench/gdpr/request",
            {
                "request_type": "review" if subject["access"] else "remove",
                "id": {"type": "custom_id", "value": subject["id"]},
            },
        )
        for subject in access + erasure
    ]
    async with aiohttp.ClientSession(script.vendors) as session:
        jobs = [reply["token"] for reply in await _post_all(session, script, posts)]
        paths = {job: f"/1.0/bench/gdpr/request/{job}" for job in jobs}
        await _poll_all(session, script, paths, lambda reply: reply["status"] == "done")

        async def collect(job: str) -> None:
            async with session.get(paths[job]) as reply:
                url = (await reply.json())["data_url"]
            async with session.get(url) as reply:
                (script.folder / f"batch_{job}.zip").write_bytes(await reply.read())

        await _each(script, jobs[: len(access)], collect)


async def _id5(script: Script, subjects: list[Any]) -> None:
    route = "/partners/v1/173/privacy/requests"
    posts = [
        (f"{route}/deletion?token=secret", {"email": subject["email"], "jurisdiction": "GDPR"})
        for subject in subjects
    ]
    async with aiohttp.ClientSession(script.vendors) as session:
        jobs = [reply["id"] for reply in await _post_all(session, script, posts)]
        paths = {job: f"{route}/{job}?token=secret" for job in jobs}
        await _poll_all(session, script, paths, lambda reply: reply["jobStatus"] == "DONE")


async def _attentive(script: Script, subjects: list[Any]) -> None:
    route = "/v1/privacy/delete-request"
    posts = [
        (route, {"subjectEmail": subject["email"], "subjectPhone": subject["phone"]}) for subject in subjects
    ]
    async with aiohttp.ClientSession(script.vendors) as session:
        jobs = [reply["id"] for reply in await _post_all(session, script, posts)]
        paths = {job: f"{route}/{job}" for job in jobs}
        await _poll_all(session, script, paths, lambda reply: reply["processed"])


async def _post_all(
    session: aiohttp.ClientSession, script: Script, posts: list[tuple[str, Any]]
) -> list[Any]:
    replies: list[Any] = [None] * len(posts)

    async def post(number: int) -> None:
        path, body = posts[number]
        async with session.post(path, json=body, headers={"Authorization": "Bearer secret"}) as reply:
            replies[number] = await reply.json()

    await _each(script, range(len(posts)), post)
    return replies


async def _poll_all(
    session: aiohttp.ClientSession, script: Script, paths: dict[str, str], is_done: Callable[[Any], bool]
) -> None:
    waiting = deque(paths.values())

    async def poll() -> None:
        while waiting:
            path = waiting.popleft()
            async with session.get(path, headers={"Authorization": "Bearer secret"}) as reply:
                done = is_done(await reply.json())
            if not done:
                waiting.append(path)
                await asyncio.sleep(PAUSE)

    await asyncio.gather(*(poll() for _ in range(script.concurrency)))


async def _each(script: Script, items: Iterable[Any], do: Callable[[Any], Any]) -> None:
    left = iter(items)

    async def work() -> None:
        for item in left:
            await do(item)

    await asyncio.gather(*(work() for _ in range(script.concurrency)))
