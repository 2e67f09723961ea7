"""``python -m include.sandbox`` runs the simulated vendors until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from pathlib import Path

from include.sandbox.server import World, serve
from include.sandbox.settings import SandboxSettings


def main() -> None:
    defaults = SandboxSettings()
    parser = ArgumentParser(
        prog="python -m include.sandbox", description=__doc__, formatter_class=ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--host", default=defaults.host)
    parser.add_argument("--port", type=int, default=defaults.port, help="0 chooses a free port")
    parser.add_argument("--state", type=Path, help="file that keeps jobs across restarts")
    parser.add_argument("--min-seconds", type=float, default=defaults.min_seconds, help="shortest job")
    parser.add_argument("--max-seconds", type=float, default=defaults.max_seconds, help="longest job")
    asyncio.run(_run(SandboxSettings(**vars(parser.parse_args()))))


async def _run(settings: SandboxSettings) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with serve(World(settings)) as url:
        print(f"sandbox ready on {url}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    main()
