"""`make up` runs the stack in the foreground until it is interrupted."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from include.stack.environment import OF_REAL_REQUESTS, SANDBOX_CONNECTIONS
from include.stack.home import Home
from include.stack.stack import Stack, running


def run(home: Home, environ: Mapping[str, str]) -> None:
    """Runs the stack until Interrupted is raised. Raises StackError if a process ends."""
    print("Starting Airflow and everything it needs …", flush=True)
    with running(home, environ, any_port=False) as stack:
        print(_welcome(stack, environ), flush=True)
        print("ready", flush=True)
        while True:
            stack.processes.check()
            time.sleep(1)


def _welcome(stack: Stack, environ: Mapping[str, str]) -> str:
    passwords = Path(stack.variables["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    own = [name for name in (*SANDBOX_CONNECTIONS, *OF_REAL_REQUESTS) if name in environ]
    return f"""
  UI         {stack.api.url}
  user       admin
  password   {json.loads(passwords.read_text())["admin"]}

  vendors    {_vendors(stack, environ)}
  yours      {", ".join(own) or "none: every connection is the stack's; set AIRFLOW_CONN_… to replace one"}
  logs       {stack.logs}
  storage    {stack.storage}

  The daily schedule is off here (AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE=True turns it on).
  To start a run, use the UI's Trigger button, or in another terminal  bin/airflow dags trigger dsar_daily
  Ctrl-C ends everything.
"""


def _vendors(stack: Stack, environ: Mapping[str, str]) -> str:
    if stack.sandbox_url:
        return f"the sandbox, {stack.sandbox_url}, for all accounts without a connection of yours"
    if SANDBOX_CONNECTIONS.keys() <= environ.keys():
        return "your own connections"
    return (
        "your own connections: requests may be real, so the sandbox simulates no vendor.\n"
        "             An account without a connection fails and names it; the other accounts continue"
    )
