"""`python -m include.stack demo | up | fill | airflow …`."""

from __future__ import annotations

import os
import signal
import sys

from include.stack import command, demo, demo_data, up
from include.stack.home import Home, StackError
from include.stack.processes import Interrupted, interruptible


def main(arguments: list[str]) -> int:
    home = Home.from_environment(os.environ)
    try:
        with interruptible():
            match arguments:
                case ["airflow", *rest]:
                    return command.run(home, os.environ, rest)
                case ["demo"]:
                    _be_private()
                    return 0 if demo.run(home, os.environ) else 1
                case ["fill"]:
                    demo_data.fill(os.environ)
                    return 0
                case ["up"]:
                    _be_private()
                    up.run(home, os.environ)
                    return 0
                case _:
                    print(__doc__, file=sys.stderr)
                    return 2
    except StackError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except Interrupted as signalled:
        print(f"\n{signalled}: all processes have ended.", file=sys.stderr)
        return -signalled.number


def _be_private() -> None:
    """Makes new files readable only by their owner. The stack's processes inherit this."""
    os.umask(0o077)


def end(status: int) -> None:
    """Ends this program as the command ended: with the same exit status, or by the same signal if `status`
    is negative.
    """
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


end(main(sys.argv[1:]))
