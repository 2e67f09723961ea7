"""``python -m include.sandbox``: the sandbox as a process of its own, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from pathlib import Path

from include.sandbox.server import World, serve
from include.sandbox.settings import SandboxSettings


def main(arguments: list[str] | None = None) -> None:
    asyncio.run(_run(parse(arguments)))


def parse(arguments: list[str] | None = None) -> SandboxSettings:
    usual = SandboxSettings()
    parser = ArgumentParser(
        prog="python -m include.sandbox", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--host", default=usual.host)
    parser.add_argument("--port", type=int, default=usual.port, help="0 takes a free port")
    parser.add_argument("--state", type=Path, help="journal of the jobs, so that they survive a restart")
    parser.add_argument("--secret", default=usual.secret, help="what all vendors accept")
    parser.add_argument("--min-seconds", type=float, default=usual.min_seconds, help="shortest job")
    parser.add_argument("--max-seconds", type=float, default=usual.max_seconds, help="longest job")
    parser.add_argument("--slow-seconds", type=float, default=usual.slow_seconds, help="a slow job")
    parser.add_argument("--slow-share", type=float, default=usual.slow_share, help="share of slow jobs")
    parser.add_argument("--seed", type=int, default=usual.seed, help="another seed deals out other times")
    parser.add_argument("--rate-limit", type=int, help="calls a second per route, then 429")
    parser.add_argument("--id5-daily-limit", type=int, default=usual.id5_daily_limit)
    parser.add_argument(
        "--batch-one-at-a-time", action="store_true", help="409 for a user's other requests too"
    )
    return SandboxSettings(**vars(parser.parse_args(arguments)))


async def _run(settings: SandboxSettings) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with serve(World(settings)) as url:
        print(f"sandbox ready on {url}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    main()
