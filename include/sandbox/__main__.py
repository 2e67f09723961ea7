"""``python -m include.sandbox`` runs the simulated vendors until SIGTERM or Ctrl-C."""

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
    defaults = SandboxSettings()
    parser = ArgumentParser(
        prog="python -m include.sandbox", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--host", default=defaults.host)
    parser.add_argument("--port", type=int, default=defaults.port, help="0 chooses a free port")
    parser.add_argument("--state", type=Path, help="file that keeps jobs across restarts")
    parser.add_argument("--secret", default=defaults.secret, help="the secret that all vendors accept")
    parser.add_argument("--min-seconds", type=float, default=defaults.min_seconds, help="shortest job")
    parser.add_argument("--max-seconds", type=float, default=defaults.max_seconds, help="longest job")
    parser.add_argument("--slow-seconds", type=float, default=defaults.slow_seconds, help="a slow job")
    parser.add_argument("--slow-share", type=float, default=defaults.slow_share, help="share of slow jobs")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="another seed gives other durations")
    parser.add_argument("--rate-limit", type=int, help="calls per second and route before 429")
    parser.add_argument("--id5-daily-limit", type=int, default=defaults.id5_daily_limit)
    parser.add_argument(
        "--batch-one-at-a-time",
        action="store_true",
        help="Batch: 409 while any request of the user runs",
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
